import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from cinemae import Detector
from cinemae.calibration.outliers import fit_distance, ood_reference
from cinemae.config import AugmentConfig, ExtractorConfig, HeadConfig, ImageConfig, LcasConfig, MaskConfig, TrainConfig
from cinemae.core.backbone import FrozenMAE
from cinemae.core.checkpoint import new_mae, save_pretrained_folder
from cinemae.core.features import FeatureExtractor
from cinemae.core.mahalanobis import view_summary
from cinemae.core.preprocess import preprocess
from cinemae.errors import FingerprintMismatchError, TrainingError
from cinemae.features.extract import extract
from cinemae.features.training_set import TrainingSet
from cinemae.models.bundle import ModelBundle
from cinemae.models.card import MUST_NOT, model_card
from cinemae.models.directory import read_model_config
from cinemae.models.scorers import OnnxScorer, TorchScorer
from cinemae.pictures.image import load_image
from cinemae.pretrain_config import PretrainConfig
from cinemae.sources.datasets import read_records
from cinemae.stores.features import FeatureStore
from cinemae.training.build_model import REFERENCE_LEVELS, ModelRecipe, build_model, lcas_reference
from cinemae.training.train import predict_logits

pytestmark = pytest.mark.usefixtures("one_thread")

ARCHITECTURE = PretrainConfig(
    image_size=32,
    patch_size=8,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    decoder_hidden_size=16,
    decoder_num_hidden_layers=1,
    decoder_num_attention_heads=2,
)
EXTRACTOR = ExtractorConfig(ImageConfig(size=32, resize_to=32), MaskConfig(seed=3))
LCAS = LcasConfig(fidelity_weight=0.2, reduction="literal")
PROVENANCE = {
    "data": [{"set": "phone", "images": 24, "origin": "drawn for tests, CC0"}],
    "licence": "Apache-2.0",
    "notes": ["Too small for any claim."],
    "recipe": ["extracted by a test"],
}


def save_backbone(folder, seed=0):
    save_pretrained_folder(new_mae(dataclasses.replace(ARCHITECTURE, seed=seed)).half(), folder)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory, picture):
    """A backbone and two stores of noisy "photographs" and smooth "fakes"."""
    root = tmp_path_factory.mktemp("build")
    backbone = save_backbone(root / "backbone")
    extractor = FeatureExtractor(FrozenMAE.from_pretrained(backbone), EXTRACTOR)
    sets = {"train": ("phone", ("gan", "diffusion"), 0), "val": ("scan", ("flow", "hybrid"), 500)}
    for name, (source, generators, first) in sets.items():
        for index in range(24):
            kinds = ((f"real/{source}", 4), (f"fake/{generators[index % 2]}", 0))
            for folder, noise in kinds:
                (root / name / folder).mkdir(parents=True, exist_ok=True)
                picture(first + 5 * index + noise).save(root / name / folder / f"{index}.png")
        (root / name / "real" / source / "broken.png").touch()
        extract(read_records(root / name), root / f"{name}-store", extractor)
    return root


def make_recipe(root, **changes):
    recipe = ModelRecipe(
        stores=[root / "train-store"],
        backbone=root / "backbone",
        val_stores=[root / "val-store"],
        name="toy",
        head=HeadConfig(agg_hidden=8, cls_hidden=(8,)),
        lcas=LCAS,
        train=TrainConfig(learning_rate=3e-3, epochs=10, num_seeds=2),
        provenance=PROVENANCE,
    )
    return dataclasses.replace(recipe, **changes)


@pytest.fixture(scope="module")
def model(root):
    build_model(make_recipe(root), root / "model")
    return root / "model"


@pytest.fixture(scope="module")
def results(model):
    return json.loads((model / "results.json").read_text())


@pytest.fixture(scope="module")
def card(model):
    return (model / "README.md").read_text()


def test_the_directory_is_complete(model):
    found = sorted(path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file())
    assert found == [
        "README.md",
        "backbone/config.json",
        "backbone/model.safetensors",
        "calibration.json",
        "config.json",
        "head.safetensors",
        "model.onnx",
        "ood.safetensors",
        "reliability.png",
        "results.json",
        "risk-coverage.png",
        "training.png",
    ]


def test_the_backbone_is_copied_byte_for_byte(model, root):
    for name in ("config.json", "model.safetensors"):
        assert (model / "backbone" / name).read_bytes() == (root / "backbone" / name).read_bytes()


def test_the_settings_are_those_of_the_stores_and_the_recipe(model, root):
    config, store = read_model_config(model), FeatureStore.open(root / "train-store")
    assert (config.name, config.extractor, config.backbone) == ("toy", EXTRACTOR, store.backbone)
    assert config.fingerprint == store.fingerprint
    assert config.lcas == LCAS
    assert config.head.global_dim == 32
    assert config.provenance["split"] == "validation from its own store; no generator in both"
    assert config.provenance["train"] == TrainConfig(learning_rate=3e-3, epochs=10, num_seeds=2).to_dict()


def test_a_detector_loads_it_and_scores_files(model, root):
    detector = Detector.from_pretrained(model)
    verdict = detector.detect(root / "val" / "fake" / "flow" / "0.png")
    assert verdict.status == "ok"
    assert verdict.model == read_model_config(model).model_id
    assert verdict.threshold == read_model_config(model).decision.threshold
    assert verdict.lcas_map.shape == (4, 4)


@pytest.mark.parametrize("make", [OnnxScorer, lambda model: TorchScorer(model, device="cpu")])
def test_files_score_what_training_saw_in_the_store(model, root, make):
    """From pixels to logit by the shipped model, against the head on stored features."""
    store = FeatureStore.open(root / "val-store")
    data = TrainingSet.from_stores([store], LCAS)
    head = TorchScorer(model, device="cpu")._model.head
    expected = predict_logits(head, data)
    paths = store.load(("path",))["path"]
    detector = Detector(make(model))
    logits = [verdict.logit for verdict in detector.detect_batch(paths)]
    np.testing.assert_allclose(logits, expected, atol=1e-3)


def test_rates_of_the_results_are_those_of_the_shipped_detector(model, root, results):
    paths = FeatureStore.open(root / "val-store").load(("path", "label"))
    verdicts = [verdict.verdict for verdict in Detector.from_pretrained(model).detect_batch(paths["path"])]
    real = [verdict for verdict, label in zip(verdicts, paths["label"], strict=True) if label == 0]
    fake = [verdict for verdict, label in zip(verdicts, paths["label"], strict=True) if label == 1]
    near = 1 / 24 + 1e-9  # the score next to a threshold may fall on the other side of it by rounding
    assert real.count("ai") / 24 == pytest.approx(results["false_positive_rate"]["value"], abs=near)
    assert fake.count("ai") / 24 == pytest.approx(results["called_ai"]["value"], abs=near)
    assert verdicts.count("uncertain") / 48 == pytest.approx(results["uncertain"]["value"], abs=near)


def test_what_has_been_seen_is_learnt_from_training_and_measured_on_validation(model, root):
    stores = {name: FeatureStore.open(root / f"{name}-store") for name in ("train", "val")}
    views = {name: store.load(("global_feature", "label")) for name, store in stores.items()}
    distance = fit_distance(view_summary(views["train"]["global_feature"]))
    of_validation = distance.of_summary(view_summary(views["val"]["global_feature"]))
    assert read_model_config(model).ood == ood_reference(of_validation, views["val"]["label"])
    paths = stores["val"].load(("path",))["path"]
    pixels = np.stack([preprocess(load_image(path).image, EXTRACTOR.image) for path in paths])
    for scorer in (OnnxScorer(model), TorchScorer(model, device="cpu")):
        np.testing.assert_allclose(scorer.score(pixels).ood_distance, of_validation, rtol=1e-3)


def test_the_decision_states_what_it_was_set_for_and_what_was_measured(model, results):
    decision, fitted = read_model_config(model).decision, results["cross_fitted"]
    assert (decision.target_fpr, decision.target_fnr) == (0.02, 0.1)
    assert decision.measured_fpr == fitted["photographs_called_ai"]
    assert decision.measured_fnr == fitted["fakes_called_real"]
    assert results["calibration"]["origin"] == "validation"
    assert results["calibration"]["decision"] == decision.to_dict()


class TestCard:
    @staticmethod
    def _estimate(value):
        return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"

    @staticmethod
    def _row(card, start):
        rows = [line for line in card.splitlines() if line.startswith(f"| {start} |")]
        assert len(rows) == 1, start
        return [cell.strip() for cell in rows[0].strip("|").split("|")]

    def test_states_how_many_images_and_which_split(self, card, results):
        assert results["n_real"] == results["n_fake"] == 24
        assert "Validation: 24 photographs, 24 generated images (validation from its own store; no generator" in card

    def test_headline_figures_are_those_of_the_results(self, card, results):
        fitted = results["cross_fitted"]
        assert self._row(card, "AUC, mean over generators")[1] == f"{results['mean_generator_auc']:.3f}"
        assert self._row(card, "AUC, all images pooled")[1] == self._estimate(results["auc"])
        for words, name in (
            ("average precision, both classes weighing half", "average_precision"),
            ("generated images found where 1 % of photographs are accused", "tpr_at_fpr_0.01"),
            ("generated images found where 5 % of photographs are accused", "tpr_at_fpr_0.05"),
            ("Brier score of the probability (0.25: a coin)", "brier_score"),
            ("expected calibration error, ten bins", "calibration_error"),
        ):
            assert self._row(card, words)[1] == self._estimate(results[name])
        accused = self._row(card, 'photographs called "ai" (false accusations)')
        assert accused[1:] == [self._estimate(results["false_positive_rate"]), f"{fitted['photographs_called_ai']:.3f}"]
        caught = self._row(card, 'generated images called "ai"')
        assert caught[1:] == [self._estimate(results["called_ai"]), f"{fitted['fakes_called_ai']:.3f}"]
        assert self._row(card, 'photographs called "real"')[2] == f"{fitted['photographs_called_real']:.3f}"
        assert self._row(card, 'generated images called "real"')[2] == f"{fitted['fakes_called_real']:.3f}"
        assert self._row(card, 'all images called "uncertain"')[1] == self._estimate(results["uncertain"])

    def test_generators_are_listed_worst_first_with_their_n(self, card, results):
        positions = []
        for row in results["per_generator"]:
            cells = self._row(card, row["generator"])
            assert cells[1:] == ["12", *(self._estimate(row[name]) for name in ("auc", "called_ai", "called_real"))]
            positions.append(card.index(f"| {row['generator']} |"))
        assert positions == sorted(positions)
        assert {row["generator"] for row in results["per_generator"]} == {"flow", "hybrid"}

    def test_photo_sources_are_listed(self, card, results):
        (row,) = results["per_photo_source"]
        expected = ["24", self._estimate(row["false_positive_rate"]), self._estimate(row["called_real"])]
        assert self._row(card, "scan")[1:] == expected

    def test_the_spread_over_seeds_is_stated(self, card, results):
        seeds = results["mean_generator_auc_over_seeds"]
        values = ", ".join(f"{value:.3f}" for value in seeds["values"])
        assert f"Over 2 training seeds the mean-over-generators AUC is {seeds['mean']:.3f} ± {seeds['std']:.3f}" in card
        assert f"({values}); the first seed ships" in card

    def test_thresholds_and_rule_are_those_of_the_model(self, card, model):
        decision = read_model_config(model).decision
        text = " ".join(card.split())
        assert f'"ai" from {decision.threshold:.4f}, "real" below {decision.real_below:.4f}.' in text
        assert decision.rule in text

    def test_calibration_is_stated_before_and_after(self, card, results):
        found = results["calibration"]["held_out"]
        for words, kind in (
            ("logit as it is", "none"),
            ("Platt scaling", "platt"),
            ("centred isotonic regression", "isotonic"),
            ("the better of the two, chosen without the fold", "chosen"),
        ):
            brier, error = (self._estimate(found[kind][name]) for name in ("brier_score", "calibration_error"))
            assert self._row(card, words)[1:] == [f"{found[kind]['log_loss']:.3f}", brier, error]
        assert "24 photographs and\n24 generated images" in card
        assert "* 24 photographs are few: where 2% of them" in card
        assert "farther from the training images than 99% of these photographs" in card
        assert "Calibrated again" not in card

    def test_is_what_settings_and_figures_on_disk_make(self, model, card):
        assert model_card(ModelBundle.read(model)) == card

    def test_format_probe_is_stated_for_both_sets(self, card, results):
        probe = results["format_probe"]
        assert set(probe) == {"training", "validation"}
        assert f"training images {self._estimate(probe['training'])}" in card
        assert f"validation images {self._estimate(probe['validation'])}" in card
        assert "may say how the pictures were saved" not in card, "all files are PNG of one size"

    def test_says_what_it_must_not_be_used_for(self, card):
        assert MUST_NOT in card

    def test_recipe_and_hashes_are_stated(self, card, model):
        config = read_model_config(model)
        assert f"* backbone SHA-256 {config.backbone.content_hash}; fingerprint {config.fingerprint}" in card
        assert "* LCAS: lambda 0.2, reduction literal, normalized pixels" in card
        assert "* masks: K = 2, ratio 0.75, independent, seed 3" in card
        assert "* extracted by a test" in card

    def test_data_licence_and_notes_are_stated(self, card):
        assert self._row(card, "phone")[1:] == ["24", "drawn for tests, CC0"]
        assert "Weights: Apache-2.0" in card
        assert "* Too small for any claim." in card

    def test_never_calls_lcas_a_fake_score(self, card):
        assert not re.search(r"fake score|fake map|fakeness", card, re.IGNORECASE)


def test_the_reference_holds_quantiles_of_validation_photographs(model, root):
    reference = read_model_config(model).reference
    columns = FeatureStore.open(root / "val-store").load(("label", "deviation", "fidelity"))
    scores = columns["deviation"] + 0.2 * 192 * columns["fidelity"]
    values = scores[columns["label"] == 0]
    assert reference.levels == REFERENCE_LEVELS
    np.testing.assert_allclose(reference.values, np.nanquantile(values, REFERENCE_LEVELS), rtol=1e-5)


def test_without_validation_stores_the_reference_is_of_all_photographs(root):
    stores = [FeatureStore.open(root / f"{name}-store") for name in ("train", "val")]
    both, one = lcas_reference(stores, LCAS), lcas_reference(stores[:1], LCAS)
    assert both.values[0] == min(one.values[0], lcas_reference(stores[1:], LCAS).values[0])


def test_without_validation_stores_whole_generators_are_held_out(root, tmp_path, no_graph):
    recipe = make_recipe(root, val_stores=(), val_generators=["gan"], provenance={})
    report = build_model(recipe, tmp_path)
    assert report.results.split == "generators held out: gan; a quarter of the photographs"
    assert [row.generator for row in report.results.per_generator] == ["gan"]
    assert "did not state its data" in (tmp_path / "README.md").read_text()


def test_altered_copies_need_a_validation_store(root, tmp_path, no_graph):
    """Split at random, a picture could be validated on and its copy trained on."""
    extractor = FeatureExtractor(FrozenMAE.from_pretrained(root / "backbone"), EXTRACTOR)
    extract(read_records(root / "train"), tmp_path / "copies", extractor, augment=AugmentConfig(seed=1))
    recipe = make_recipe(root, stores=[root / "train-store", tmp_path / "copies"])
    with pytest.raises(TrainingError, match=r"copies holds altered copies of pictures: .* Give a validation store"):
        build_model(dataclasses.replace(recipe, val_stores=()), tmp_path / "model")
    report = build_model(recipe, tmp_path / "model")
    assert report.results.n_real == 24, "copies are never validated on"


def test_an_image_in_training_and_validation_is_refused_by_content_unless_allowed(root, tmp_path, no_graph):
    shutil.copytree(root / "val", tmp_path / "val")
    shutil.copyfile(root / "train" / "real" / "phone" / "3.png", tmp_path / "val" / "real" / "scan" / "renamed.png")
    extractor = FeatureExtractor(FrozenMAE.from_pretrained(root / "backbone"), EXTRACTOR)
    extract(read_records(tmp_path / "val"), tmp_path / "val-store", extractor)
    recipe = make_recipe(root, val_stores=[tmp_path / "val-store"])
    sentence = r"1 of the validation images are in the training set as well, such as .*renamed\.png: take them out"
    with pytest.raises(TrainingError, match=sentence):
        build_model(recipe, tmp_path / "model")
    report = build_model(dataclasses.replace(recipe, allow_overlap=True), tmp_path / "model")
    assert report.results.n_real == 25


def test_a_generator_in_both_stores_is_named_in_the_split(root, tmp_path, no_graph):
    report = build_model(make_recipe(root, val_stores=[root / "train-store"], allow_overlap=True), tmp_path)
    assert report.results.split == "validation from its own store; generators in both: diffusion, gan"


def test_another_backbone_than_the_stores_is_refused_naming_both(root, tmp_path):
    other = save_backbone(tmp_path / "other", seed=1)
    hashes = [FrozenMAE.from_pretrained(folder).content_hash[:16] for folder in (root / "backbone", other)]
    with pytest.raises(FingerprintMismatchError, match=f"extracted with backbone {hashes[0]}, but .* is {hashes[1]}"):
        build_model(make_recipe(root, backbone=other), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_validation_store_of_another_frozen_half_is_refused(root, tmp_path):
    extractor = FeatureExtractor(
        FrozenMAE.from_pretrained(root / "backbone"), dataclasses.replace(EXTRACTOR, mask=MaskConfig(seed=4))
    )
    extract(read_records(root / "val"), tmp_path / "store", extractor)
    with pytest.raises(FingerprintMismatchError, match=f"{extractor.fingerprint}: extract one of them again"):
        build_model(make_recipe(root, val_stores=[tmp_path / "store"]), tmp_path / "model")


def test_a_store_of_one_class_is_refused(root, tmp_path):
    extractor = FeatureExtractor(FrozenMAE.from_pretrained(root / "backbone"), EXTRACTOR)
    extract(read_records(root / "train" / "real"), tmp_path / "store", extractor)
    with pytest.raises(TrainingError, match="the training set needs photographs and generated images"):
        build_model(make_recipe(root, stores=[tmp_path / "store"]), tmp_path / "model")


def test_a_head_beside_another_backbone_does_not_load(model, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    save_backbone(broken / "backbone", seed=1)
    with pytest.raises(FingerprintMismatchError, match="do not belong together"):
        TorchScorer(broken, device="cpu")


def test_a_streamed_model_is_near_the_one_from_memory(root, tmp_path, no_graph):
    whole = build_model(make_recipe(root), tmp_path / "whole")
    streamed = build_model(make_recipe(root, stream=True), tmp_path / "streamed")
    found, expected = read_model_config(tmp_path / "streamed"), read_model_config(tmp_path / "whole")
    assert found.provenance == expected.provenance
    assert found.reference == expected.reference
    np.testing.assert_allclose(found.ood.values, expected.ood.values, rtol=1e-3)
    assert streamed.history[-1].val_auc == pytest.approx(whole.history[-1].val_auc, abs=1e-3)
    assert streamed.results.format_probe == whole.results.format_probe
    image = next((root / "val" / "real" / "scan").glob("1*.png"))
    assert Detector.from_pretrained(tmp_path / "streamed").detect(image).status == "ok"


def test_overlap_and_other_backbones_are_refused_when_streaming_too(root, tmp_path):
    with pytest.raises(TrainingError, match="no image may be in two sets"):
        build_model(make_recipe(root, stream=True, val_stores=[root / "train-store"]), tmp_path / "model")
