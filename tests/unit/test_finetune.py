"""Fine-tuning: what learns, what stays, and that nothing is computed otherwise than from stores."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.stats import bootstrap
from transformers import ViTMAEForPreTraining

from cinemae import Detector
from cinemae.backbones.finetune import finetune, image_logits, start_from, unfreeze
from cinemae.backbones.finetune_config import FinetuneConfig, FinetuneRecipe
from cinemae.backbones.finetune_data import LabelledImages, load_views, plan_epoch, whole_plan
from cinemae.backbones.finetune_nll import GroupNll, group_nll, train_reconstruction
from cinemae.calibration.outliers import learn_outliers
from cinemae.config import ExtractorConfig, HeadConfig, LcasConfig, MaskConfig, TrainConfig
from cinemae.core.backbone import FrozenMAE
from cinemae.core.features import FeatureExtractor, features_to_stats
from cinemae.core.masking import patchify
from cinemae.errors import ConfigError, TrainingError
from cinemae.features.extract import extract
from cinemae.features.training_set import TrainingSet
from cinemae.models.directory import read_model_config
from cinemae.models.scorers import OnnxScorer, TorchScorer
from cinemae.models.weights import load_extractor
from cinemae.sources.datasets import read_records
from cinemae.sources.records import ImageRecord
from cinemae.stores.features import FeatureStore
from cinemae.training import build_model
from cinemae.training.train import predict_logits, seeded_head, train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "one_trace")]

LCAS = LcasConfig(fidelity_weight=0.2)
HEAD = HeadConfig(agg_hidden=8, cls_hidden=(8,), dropout=0.1)
TRAIN = TrainConfig(learning_rate=3e-3, epochs=2, batch_size=8, num_seeds=1)
POSITIONS = ("position_embeddings", "decoder_pos_embed")


@pytest.fixture(scope="module")
def data(tmp_path_factory, picture):
    """Noisy "photographs" and smooth "fakes"; other generators in validation."""
    root = tmp_path_factory.mktemp("finetune")
    sets = {"train": ("phone", ("gan", "diffusion"), 0), "val": ("scan", ("flow", "hybrid"), 500)}
    for name, (source, generators, first) in sets.items():
        for index in range(10):
            for folder, noise in ((f"real/{source}", 4), (f"fake/{generators[index % 2]}", 0)):
                (root / name / folder).mkdir(parents=True, exist_ok=True)
                picture(first + 5 * index + noise).save(root / name / folder / f"{index}.png")
    return root


def make_recipe(data, model, unfrozen="both", **changes):
    """Settings of `FinetuneConfig` and of `FinetuneRecipe` may be given by name."""
    names = {field.name for field in dataclasses.fields(FinetuneConfig)}
    settings = {"backbone_learning_rate": 3e-3, **{key: changes.pop(key) for key in names & set(changes)}}
    recipe = FinetuneRecipe(
        training=read_records(data / "train"),
        validation=read_records(data / "val"),
        backbone=model / "backbone",
        extractor=read_model_config(model).extractor,
        name="tuned",
        head=HEAD,
        lcas=LCAS,
        train=TRAIN,
        finetune=FinetuneConfig(unfreeze=unfrozen, **settings),
    )
    return dataclasses.replace(recipe, **changes)


def weights_of(directory):
    return load_file(directory / "backbone" / "model.safetensors")


def with_views(model, views):
    config = read_model_config(model).extractor
    image = dataclasses.replace(config.image, views=views, resize_to=64 if views == "tiles" else 40)
    return dataclasses.replace(config, image=image)


def store_set(data, model, folder, config=None):
    """Features of images as a store holds them."""
    backbone = FrozenMAE.from_pretrained(model / "backbone")
    extract(read_records(data), folder, FeatureExtractor(backbone, config or read_model_config(model).extractor))
    return TrainingSet.from_stores([FeatureStore.open(folder)], LCAS)


@pytest.fixture(scope="module")
def model(data, tiny_model, tmp_path_factory):
    """Trained with an unreadable file and one without a label; ``again`` beside it is a second run, without a graph."""
    root = tmp_path_factory.mktemp("complete")
    (root / "broken.png").write_bytes(b"no picture")
    odd = [ImageRecord(str(root / "broken.png"), 1, "gan"), ImageRecord(str(data / "train/real/phone/0.png"))]
    recipe = make_recipe(data, tiny_model, provenance={"notes": ["drawn"], "recipe": ["a first line"]})
    recipe = dataclasses.replace(
        recipe, training=[*odd, *recipe.training], validation=[*recipe.validation, *odd[:1], *odd[:1]]
    )
    finetune(recipe, root / "model")
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - it must not move
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_model, "write_graph", lambda model, directory, folder: folder)
        finetune(recipe, root / "again")
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    return root / "model"


@pytest.fixture(scope="module")
def run(data, tiny_model, tmp_path_factory):
    """Two runs of one seed that follow the NLL, in ``a`` and ``b``, and what the first one reports."""
    out = tmp_path_factory.mktemp("nll")
    config = dataclasses.replace(TRAIN, epochs=4)
    recipe = make_recipe(data, tiny_model, "decoder", objective="reconstruction", measure_every=5, train=config)
    reports = [train_reconstruction(recipe, out / name) for name in ("a", "b")]
    return out, reports[0]


class TestWhatIsComputed:
    @pytest.mark.parametrize(("views", "pooling"), [("center", "logit"), ("tiles", "logit"), ("tiles", "mean_std")])
    def test_logits_are_those_of_a_store_for_equal_weights(self, data, tiny_model, views, pooling, tmp_path):
        config = with_views(tiny_model, views)
        stored = store_set(data / "val", tiny_model, tmp_path / "store", config)
        dim = 32 if pooling == "mean_std" else 16
        head = seeded_head(dataclasses.replace(HEAD, view_pooling=pooling, global_dim=dim), 5)
        extractor = start_from(make_recipe(data, tiny_model, extractor=config))
        unfreeze(extractor.backbone, FinetuneConfig(unfreeze="both"))
        images = LabelledImages.read(read_records(data / "val"), config.image)
        expected = predict_logits(head, stored)
        found = [
            image_logits(extractor, head, LCAS, pixels).mean(1)
            for _, pixels in load_views(images, whole_plan(len(images), 7), config.image)
        ]
        assert found[0].requires_grad
        np.testing.assert_allclose(torch.cat(found).detach(), expected, atol=2e-5)

    def test_with_all_frozen_the_head_is_the_one_that_a_store_gives(self, data, tiny_model, tmp_path, no_graph):
        config = dataclasses.replace(TRAIN, epochs=3, num_seeds=2)
        report = finetune(make_recipe(data, tiny_model, "none", train=config), tmp_path / "model")
        sets = (store_set(data / part, tiny_model, tmp_path / part) for part in ("train", "val"))
        expected = train(*sets, dataclasses.replace(HEAD, global_dim=16), config)
        for name, weight in expected.head.state_dict().items():
            torch.testing.assert_close(report.head.state_dict()[name], weight, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            [line.train_loss for line in report.history], [line.train_loss for line in expected.history], rtol=1e-4
        )
        assert [(line.seed, line.epoch) for line in report.history] == [(s, e) for s in (0, 1) for e in (1, 2, 3)]
        seeds = report.results.mean_generator_auc_over_seeds
        assert seeds.values == expected.results.mean_generator_auc_over_seeds.values
        for name in ("config.json", "model.safetensors"):
            copied, source = (folder / "backbone" / name for folder in (tmp_path / "model", tiny_model))
            assert copied.read_bytes() == source.read_bytes()
        assert read_model_config(tmp_path / "model").fingerprint == read_model_config(tiny_model).fingerprint

    @pytest.mark.parametrize("pixel_space", ["normalized", "unit"])
    def test_gradients_are_those_of_finite_differences(self, data, tiny_model, pixel_space):
        extractor = start_from(make_recipe(data, tiny_model))
        deviation = dataclasses.replace(extractor.config.deviation, pixel_space=pixel_space)
        extractor.config = dataclasses.replace(extractor.config, deviation=deviation)
        unfreeze(extractor.backbone, FinetuneConfig(unfreeze="both"))
        head = seeded_head(dataclasses.replace(HEAD, global_dim=16), 1).eval()
        pixels = torch.randn(3, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            features = extractor(pixels.flatten(0, 1))
            head.set_standardization(features.global_feature, features_to_stats(features, LCAS, 192))
        model = extractor.backbone.model
        image_logits(extractor, head, LCAS, pixels).sum().backward()
        for weight in (
            model.vit.embeddings.patch_embeddings.projection.bias,
            model.vit.layers[0].attention.v_proj.weight,
            model.decoder.decoder_embed.weight,
            model.decoder.decoder_pred.bias,
            model.decoder.mask_token,
        ):
            direction = weight.grad / weight.grad.norm()
            step, sums = 2e-3, []
            with torch.no_grad():
                for sign in (1, -1):
                    weight.add_(sign * step * direction)
                    sums.append(image_logits(extractor, head, LCAS, pixels).double().sum().item())
                    weight.sub_(sign * step * direction)
            assert weight.grad.norm() > 0.01
            assert (sums[0] - sums[1]) / (2 * step) == pytest.approx(weight.grad.norm().item(), rel=0.02)

    def test_the_frozen_backbone_computes_as_before_beside_unfrozen_layers(self, data, tiny_model):
        """Unfreezing swaps oneDNN's products for torch's where a gradient is due, and nothing else."""
        recipe = make_recipe(data, tiny_model)
        frozen, loose = start_from(recipe), start_from(recipe)
        unfreeze(loose.backbone, FinetuneConfig(unfreeze="decoder"))
        pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        expected, found = frozen(pixels), loose(pixels)
        assert torch.equal(found.global_feature, expected.global_feature)
        assert not found.global_feature.requires_grad
        assert found.fidelity.requires_grad
        with torch.inference_mode():
            torch.testing.assert_close(loose(pixels).fidelity, frozen(pixels).fidelity, rtol=0, atol=0, equal_nan=True)


class TestWhatLearns:
    @pytest.mark.parametrize("unfrozen", ["encoder", "decoder", "both"])
    def test_frozen_parts_stay_bit_for_bit_and_all_others_move(self, data, tiny_model, tmp_path, unfrozen, no_graph):
        out = tmp_path / "model"
        finetune(make_recipe(data, tiny_model, unfrozen), out)
        before, after = weights_of(tiny_model), weights_of(out)
        assert before.keys() == after.keys()
        parts = {"encoder": ("vit.",), "decoder": ("decoder.",), "both": ("vit.", "decoder.")}[unfrozen]
        for name, weight in before.items():
            learns = name.startswith(parts) and not name.endswith(POSITIONS)
            # keys' biases move all scores of a query alike, so their gradient is 0 but for rounding
            if not name.endswith("k_proj.bias"):
                assert torch.equal(after[name], weight) != learns, name
        config, start = read_model_config(out), read_model_config(tiny_model)
        assert config.backbone.content_hash == FrozenMAE.from_pretrained(out / "backbone").content_hash
        assert config.backbone.content_hash != start.backbone.content_hash
        assert config.fingerprint != start.fingerprint
        assert config.extractor == start.extractor

    def test_the_loss_falls(self, data, tiny_model, tmp_path, no_graph):
        train_config = dataclasses.replace(TRAIN, epochs=12)
        report = finetune(make_recipe(data, tiny_model, train=train_config), tmp_path)
        losses = [line.train_loss for line in report.history]
        assert losses[-1] < 0.5 * losses[0]
        assert report.history[-1].epoch == 12

    def test_fresh_masks_and_another_seed_lead_elsewhere(self, data, tiny_model, tmp_path, no_graph):
        runs = {
            "fixed": make_recipe(data, tiny_model),
            "fresh": make_recipe(data, tiny_model, masks="fresh"),
            "seed": make_recipe(data, tiny_model, train=dataclasses.replace(TRAIN, seed=1)),
        }
        weights = []
        for name, recipe in runs.items():
            finetune(recipe, tmp_path / name)
            weights.append(weights_of(tmp_path / name)["decoder.decoder_pred.weight"])
        assert not torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])

    def test_some_views_a_step(self, data, tiny_model, tmp_path, no_graph):
        settings = {
            "extractor": with_views(tiny_model, "tiles"),
            "head": dataclasses.replace(HEAD, view_pooling="mean_std"),
            "train": dataclasses.replace(TRAIN, views_drawn=3),
        }
        report = finetune(make_recipe(data, tiny_model, **settings), tmp_path)
        assert report.head.config.global_dim == 32
        assert all(math.isfinite(line.train_loss) for line in report.history)


class TestBudget:
    def test_steps_end_a_run(self, data, tiny_model, tmp_path, no_graph):
        lines = []
        recipe = make_recipe(data, tiny_model, max_steps=4, train=dataclasses.replace(TRAIN, epochs=9))
        report = finetune(recipe, tmp_path, progress=lines.append)
        assert [(line.seed, line.step, line.num_steps) for line in lines] == [(0, step, 4) for step in (1, 2, 3, 4)]
        assert [line.epoch for line in report.history] == [1, 2]  # three steps an epoch: the second is cut short
        assert report.history[1].train_loss == pytest.approx(lines[3].loss)
        first = lines[:3]
        assert report.history[0].train_loss == pytest.approx(
            np.average([line.loss for line in first], weights=[8, 8, 4])
        )

    def test_the_clock_ends_a_run_after_a_step_at_least(self, data, tiny_model, tmp_path, no_graph):
        report = finetune(make_recipe(data, tiny_model, max_seconds=1e-9), tmp_path)
        assert report.results.finetune["steps_of_each_seed"] == [1]


class TestModelDirectory:
    def test_the_same_seed_writes_the_same_bytes(self, model):
        files = sorted(path.relative_to(model) for path in model.rglob("*") if path.is_file())
        assert [file.as_posix() for file in files] == [
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
            "unreadable.txt",
        ]
        for file in files:
            if file.name != "model.onnx":
                assert (model / file).read_bytes() == (model.parent / "again" / file).read_bytes()

    def test_what_has_been_seen_is_learnt_under_the_backbone_as_it_has_become(self, model, data, tmp_path):
        trained, validated = (store_set(data / part, model, tmp_path / part) for part in ("train", "val"))
        distance, reference = learn_outliers(trained.global_feature, validated.global_feature, validated.labels)
        np.testing.assert_allclose(read_model_config(model).ood.values, reference.values, rtol=1e-3)
        weights = load_file(model / "ood.safetensors")
        np.testing.assert_allclose(weights["mean"], distance.mean, rtol=1e-4, atol=1e-5)

    def test_both_engines_detect_alike_and_as_training_measured(self, model, data):
        paths = [record.path for record in read_records(data / "val")]
        results = json.loads((model / "results.json").read_text())
        of_engines = [
            list(Detector(scorer).detect_batch(paths))
            for scorer in (OnnxScorer(model), TorchScorer(model, device="cpu"))
        ]
        logits = [[verdict.logit for verdict in verdicts] for verdicts in of_engines]
        np.testing.assert_allclose(*logits, atol=1e-4)
        verdicts = of_engines[1]
        called = [verdict.verdict == "ai" for verdict in verdicts]
        labels = [record.label for record in read_records(data / "val")]
        rates = [np.mean([c for c, label in zip(called, labels, strict=True) if label == wanted]) for wanted in (0, 1)]
        assert rates[0] == pytest.approx(results["false_positive_rate"]["value"])
        assert rates[1] == pytest.approx(results["called_ai"]["value"])

    def test_results_and_card_say_what_was_done(self, model):
        results, card = json.loads((model / "results.json").read_text()), (model / "README.md").read_text()
        assert results["unreadable"] == {"training": 1, "validation": 2}
        assert results["unlabelled"] == {"training": 1, "validation": 0}
        assert results["n_real"] == results["n_fake"] == 10
        assert results["finetune"]["unfreeze"] == "both"
        assert results["finetune"]["steps_of_each_seed"] == [6]
        assert results["split"] == "validation from its own images; no generator in both"
        assert set(results["format_probe"]) == {"training", "validation"}
        assert (model / "unreadable.txt").read_text().count("broken.png: ") == 3
        assert "* a first line\n* trained end to end from images with encoder and decoder of the backbone" in card
        assert "Adam at 0.003 for the head and 0.003 for the backbone, 6 steps of 8 images, fixed masks" in card
        config = read_model_config(model)
        assert config.provenance["finetune"]["backbone_learning_rate"] == 3e-3
        assert config.provenance["notes"] == ["drawn"]

    def test_the_scale_of_heat_maps_is_that_of_the_new_backbone(self, model, data, tmp_path):
        store_of_new = tmp_path / "store"
        extract(read_records(data / "val"), store_of_new, load_extractor(model, read_model_config(model)))
        expected = build_model.lcas_reference([FeatureStore.open(store_of_new)], LCAS)
        np.testing.assert_allclose(read_model_config(model).reference.values, expected.values, rtol=1e-5)


class TestReconstruction:
    def test_step_0_is_eq_2_computed_by_plain_calls(self, run, data, tiny_model):
        """Hugging Face's own forward, one mask at a time; squared distance over 2, averaged by hand."""
        config = read_model_config(tiny_model).extractor
        images = LabelledImages.read(read_records(data / "val"), config.image)
        pixels = torch.cat([views for _, views in load_views(images, whole_plan(20), config.image)]).flatten(0, 1)
        plain = ViTMAEForPreTraining.from_pretrained(tiny_model / "backbone", attn_implementation="eager").eval()
        noise = FeatureExtractor(FrozenMAE.from_pretrained(tiny_model / "backbone"), config).noise
        target, of_passes = patchify(pixels, 8), []
        with torch.inference_mode():
            for row in noise:
                result = plain(pixels, noise=row.expand(len(pixels), -1))
                hidden = result.mask.bool()
                assert hidden.sum() == 20 * 12
                of_passes.append(((result.logits - target)[hidden] ** 2).sum(-1).view(20, 12).mean(1) / 2)
        nll = torch.stack(of_passes).mean(0).numpy()
        groups = run[1].history[0].groups
        assert list(groups) == ["photographs", "flow", "hybrid"]
        for name, group in groups.items():
            mine = images.labels == 0 if name == "photographs" else images.generators == name
            assert group.n == mine.sum()
            assert group.value == pytest.approx(nll[mine].mean(), rel=1e-4)
            assert group.low < group.value < group.high

    def test_the_decoder_learns_and_the_encoder_stays(self, run, tiny_model):
        before, after = weights_of(tiny_model), weights_of(run[0] / "a")
        for name, weight in before.items():
            if not name.endswith("k_proj.bias"):
                learns = name.startswith("decoder.") and not name.endswith(POSITIONS)
                assert torch.equal(after[name], weight) != learns, name

    def test_measures_at_the_start_on_the_way_and_at_the_end(self, run):
        history = run[1].history
        assert [line.step for line in history] == [0, 5, 10, 12]  # four epochs of three steps
        assert history[0].train_loss is None
        assert history[-1].train_loss < history[1].train_loss
        assert all(history[-1].groups[name].value < history[0].groups[name].value for name in history[0].groups)

    def test_the_files_hold_it_all_and_are_the_same_for_a_seed(self, run, tiny_model):
        out, report = run
        written = json.loads((out / "a" / "nll.json").read_text())
        assert written["history"] == [dataclasses.asdict(line) for line in report.history]
        assert written["sigma"] == 1
        assert written["trained_on"] == 20
        assert written["backbone"]["before"] == read_model_config(tiny_model).backbone.content_hash
        assert written["backbone"]["after"] == FrozenMAE.from_pretrained(out / "a" / "backbone").content_hash
        with Image.open(out / "a" / "nll.png") as plot:
            assert plot.format == "PNG"
            assert plot.width > 500
        for name in ("nll.json", "nll.png", "backbone/model.safetensors"):
            assert (out / "a" / name).read_bytes() == (out / "b" / name).read_bytes()

    @pytest.mark.parametrize(("which", "count"), [("real", 10), ("fake", 10)])
    def test_learns_from_one_class_where_asked(self, data, tiny_model, tmp_path, which, count):
        recipe = make_recipe(data, tiny_model, "encoder", objective="reconstruction", reconstructed=which, max_steps=1)
        report = train_reconstruction(recipe, tmp_path)
        assert report.results["trained_on"] == count
        assert [line.step for line in report.history] == [0, 1]

    def test_a_fresh_decoder_begins_worse_and_learns_while_the_encoder_stays(self, data, tiny_model, tmp_path, run):
        recipe = make_recipe(
            data, tiny_model, "decoder", objective="reconstruction", fresh_decoder=True, max_steps=12, measure_every=12
        )
        report = train_reconstruction(recipe, tmp_path)
        first, last = (line.groups["photographs"].value for line in report.history)
        assert last < first
        given = FrozenMAE.from_pretrained(tiny_model / "backbone").model.state_dict()
        for name, weight in FrozenMAE.from_pretrained(tmp_path / "backbone").model.state_dict().items():
            assert torch.equal(weight, given[name]) == name.startswith(("vit.", "decoder.decoder_pos_embed")), name
        assert report.history[0].groups["photographs"] != run[1].history[0].groups["photographs"]

    def test_intervals_are_scipys_and_absent_for_a_single_image(self, data):
        images = LabelledImages.read(read_records(data / "val"), ExtractorConfig().image)[[0, 1, 5, 10, 11, 12]]
        assert images.generators.tolist() == ["flow", "flow", "hybrid", "scan", "scan", "scan"]
        nll = np.array([3.0, 5.0, 1.0, 2.0, 8.0, 4.0])
        groups = group_nll(nll, images, seed=3)
        expected = bootstrap(
            ([2.0, 8.0, 4.0],), np.mean, n_resamples=1000, batch=100, method="percentile", rng=np.random.default_rng(3)
        ).confidence_interval
        assert groups["photographs"] == GroupNll(14 / 3, expected.low, expected.high, 3)
        assert groups["flow"].value == 4
        assert groups["hybrid"] == GroupNll(1.0, None, None, 1)


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"unfreeze": "head"}, 'unfreeze must be "none", "encoder", "decoder" or "both", got \'head\''),
            ({"max_steps": 0}, "max_steps must be positive, got 0"),
            ({"unfreeze": "decoder", "fresh_decoder": True}, "a fresh decoder has to learn to redraw"),
            ({"backbone_learning_rate": -1.0}, "backbone_learning_rate must be positive, got -1.0"),
            ({"objective": "reconstruction"}, 'trains the backbone, and unfreeze is "none": choose "encoder"'),
        ],
    )
    def test_settings_that_make_no_sense(self, settings, sentence):
        with pytest.raises(ConfigError, match=sentence):
            FinetuneConfig(**settings)

    def test_a_decoder_that_nothing_reaches(self, data, tiny_model):
        with pytest.raises(ConfigError, match=r"reaches the head through the statistics alone.*unfreeze the encoder"):
            make_recipe(data, tiny_model, "decoder", head=dataclasses.replace(HEAD, statistics=()))

    @pytest.mark.parametrize("side", ["training", "validation"])
    def test_a_single_class(self, data, tiny_model, tmp_path, side):
        recipe = make_recipe(data, tiny_model)
        reals = [record for record in getattr(recipe, side) if record.label == 0]
        with pytest.raises(TrainingError, match=f"the {side} set needs photographs and .* it holds 10 and 0"):
            finetune(dataclasses.replace(recipe, **{side: reals}), tmp_path)

    def test_a_file_on_both_sides_unless_allowed(self, data, tiny_model, tmp_path, no_graph):
        recipe = make_recipe(data, tiny_model, max_steps=1)
        recipe = dataclasses.replace(recipe, validation=[*recipe.validation, recipe.training[0]])
        with pytest.raises(TrainingError, match=r"1 of the validation images are in the training set as well"):
            finetune(recipe, tmp_path)
        report = finetune(dataclasses.replace(recipe, allow_overlap=True), tmp_path)
        assert report.results.split == "validation from its own images; generators in both: diffusion"

    def test_learning_that_runs_away(self, data, tiny_model, tmp_path):
        with pytest.raises(TrainingError, match=r"diverged to .* not finite: lower the"):
            finetune(make_recipe(data, tiny_model, backbone_learning_rate=1e30), tmp_path)

    def test_an_image_that_vanishes_on_the_way(self, data, tmp_path):
        path = tmp_path / "a.png"
        path.write_bytes((data / "train/real/phone/0.png").read_bytes())
        config = ExtractorConfig().image
        images = LabelledImages.read([ImageRecord(str(path), 0)], config)
        path.unlink()
        with pytest.raises(TrainingError, match=r"no longer can \(.*a\.png: .*restore it and train again"):
            list(load_views(images, whole_plan(1), config))

    def test_the_wrong_objective(self, data, tiny_model, tmp_path):
        with pytest.raises(ConfigError, match='set the objective of fine-tuning to "reconstruction"'):
            train_reconstruction(make_recipe(data, tiny_model), tmp_path)
        with pytest.raises(ConfigError, match='a model is trained by the objective "bce"'):
            finetune(make_recipe(data, tiny_model, objective="reconstruction"), tmp_path)


def test_an_epoch_draws_each_image_once_and_as_many_views_as_asked():
    config = dataclasses.replace(TRAIN, views_drawn=2)
    draws = plan_epoch(19, 5, config, torch.Generator().manual_seed(0))
    assert [len(draw.images) for draw in draws] == [8, 8, 3]
    assert torch.cat([draw.images for draw in draws]).sort().values.tolist() == list(range(19))
    for draw in draws:
        assert draw.views.shape == (len(draw.images), 2)
        assert (draw.views[:, 0] != draw.views[:, 1]).all()
    assert {int(view) for draw in draws for view in draw.views.flatten()} == {0, 1, 2, 3, 4}


def test_the_views_of_a_draw_are_cut_from_its_images(data, tiny_model):
    config = with_views(tiny_model, "tiles").image
    images = LabelledImages.read(read_records(data / "val"), config)
    draws = plan_epoch(len(images), 4, dataclasses.replace(TRAIN, views_drawn=2), torch.Generator().manual_seed(1))
    ((_, whole),) = load_views(images, whole_plan(len(images), 100), config)
    for draw, pixels in load_views(images, draws, config):
        for row, (image, views) in enumerate(zip(draw.images, draw.views, strict=True)):
            assert torch.equal(pixels[row], whole[image][views])


def test_without_settings_the_papers_at_the_backbones_size(data, tiny_model):
    extractor = start_from(make_recipe(data, tiny_model, extractor=None))
    assert (extractor.config.image.size, extractor.config.image.resize_to) == (32, 37)
    assert extractor.config.mask == MaskConfig()
