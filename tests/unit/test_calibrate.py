"""A model calibrated on images: its own scores decide, what must not change does not, and nothing half is left."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cinemae import Detector
from cinemae.calibration.calibrate import UNREADABLE, CalibrationRecipe, calibrate_model, save_calibrated
from cinemae.calibration.decision import choose_decision
from cinemae.calibration.outliers import fit_distance, ood_reference
from cinemae.config import TrainConfig
from cinemae.core.calibration import ood_score
from cinemae.core.mahalanobis import view_summary
from cinemae.errors import FingerprintMismatchError, ModelDirError, SourceError, TrainingError
from cinemae.features.extract import extract
from cinemae.models.directory import read_model_config
from cinemae.models.scorers import OnnxScorer
from cinemae.models.weights import load_extractor
from cinemae.sources.datasets import read_records
from cinemae.stores.features import FeatureStore

pytestmark = pytest.mark.usefixtures("one_thread")
TARGETS = TrainConfig(target_fpr=0.1, target_fnr=0.2)
REALS, FAKES = 24, 20


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, picture) -> Path:
    """Noisy "photographs" of two sources and smooth "fakes"; and as many of both to train on."""
    root = tmp_path_factory.mktemp("images")
    for part, first in (("own", 0), ("train", 1000)):
        for folder, count, noise in (("real/phone", 14, 4), ("real/scan", 10, 3), ("fake/gan", FAKES, 0)):
            (root / part / folder).mkdir(parents=True)
            for index in range(count):
                picture(first + 5 * index + noise).save(root / part / folder / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def store(images: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores") / "train"
    extract(read_records(images / "train"), folder, load_extractor(tiny_model, read_model_config(tiny_model)))
    return folder


def make_recipe(model: Path, images: Path, **changes: object) -> CalibrationRecipe:
    values: dict[str, object] = {"real": [str(images / "own/real")], "fake": [str(images / "own/fake")]}
    return CalibrationRecipe(model=model, **{**values, "targets": TARGETS, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found(tiny_model: Path, images: Path):
    return calibrate_model(make_recipe(tiny_model, images))


@pytest.fixture(scope="module")
def model(found, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_calibrated(found, tmp_path_factory.mktemp("models") / "calibrated")


def _files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_the_decision_is_chosen_on_what_the_model_itself_gives(found, tiny_model, images):
    paths = [record.path for part in ("real", "fake") for record in read_records(images / "own" / part)]
    logits = np.array([verdict.logit for verdict in Detector.from_pretrained(tiny_model).detect_batch(paths)])
    np.testing.assert_allclose(found.images.logits, logits, atol=1e-5)
    assert found.images.paths == tuple(paths)
    assert found.images.labels.tolist() == [0] * REALS + [1] * FAKES
    expected = choose_decision(found.images.logits, found.images.labels, TARGETS)
    assert found.config.decision.threshold == expected.threshold
    assert found.config.decision.target_fpr == 0.1
    assert found.config.decision.measured_fpr is not None


def test_a_calibrated_model_runs_in_what_it_was_calibrated_in(tiny_model, images, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "model")
    values = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**values, "precision": "int8"}))
    assert calibrate_model(make_recipe(tmp_path / "model", images)).config.precision == "fp32"


def test_the_written_model_judges_by_it(model, found, images):
    detector = Detector(OnnxScorer(model))
    words = {
        part: [verdict.verdict for verdict in detector.detect_batch([record.path for record in records])]
        for part in ("real", "fake")
        if (records := read_records(images / "own" / part))
    }
    assert words["real"].count("ai") == 2, "a tenth of 24, rounded down"
    assert words["fake"].count("real") <= 4, "at most a fifth of 20"
    assert detector.model_id == found.config.model_id


def test_backbone_head_and_settings_of_the_frozen_half_stay(model, tiny_model):
    before, after = _files(tiny_model), _files(model)
    for name in ("backbone/config.json", "backbone/model.safetensors", "head.safetensors"):
        assert after[name] == before[name]
    old, new = read_model_config(tiny_model), read_model_config(model)
    assert (new.fingerprint, new.head, new.lcas, new.reference) == (old.fingerprint, old.head, old.lcas, old.reference)
    assert new.model_id != old.model_id
    assert new.decision.rule.startswith('"ai" where at most 10% of 24 calibration photographs')


def test_a_model_that_has_not_learnt_what_it_has_seen_learns_it_here(model, found):
    reference = read_model_config(model).ood
    fitted = ood_reference(fit_distance(found.images.summary).of_summary(found.images.summary), found.images.labels)
    assert reference.values[5] > fitted.values[5], "quantiles are those of held-out images"
    scorer = OnnxScorer(model)
    rng = np.random.default_rng(0)
    drawn = scorer.score(rng.normal(size=(3, 1, 3, 32, 32)).astype(np.float32))
    assert np.isfinite(drawn.ood_distance).all()
    assert ((ood_score(drawn.ood_distance, reference) >= 0) & (ood_score(drawn.ood_distance, reference) <= 1)).all()


def test_what_a_model_knows_of_its_training_is_kept(model, images):
    again = calibrate_model(make_recipe(model, images))
    np.testing.assert_array_equal(again.distance.whitening, load_weights(model)["whitening"])
    expected = ood_reference(again.distance.of_summary(again.images.summary), again.images.labels)
    assert again.config.ood == expected


def load_weights(model: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(model / "ood.safetensors")


def test_stores_that_were_trained_on_say_what_has_been_seen(tiny_model, images, store):
    found = calibrate_model(make_recipe(tiny_model, images, trained_on=[store]))
    expected = fit_distance(view_summary(FeatureStore.open(store).load(("global_feature",))["global_feature"]))
    np.testing.assert_array_equal(found.distance.mean, expected.mean)


def test_images_that_were_trained_on_are_refused_by_content(tiny_model, images, store, tmp_path):
    shutil.copytree(images / "own" / "real", tmp_path / "real")
    shutil.copyfile(images / "train/real/scan/3.png", tmp_path / "real" / "renamed.png")
    recipe = make_recipe(tiny_model, images, real=[str(tmp_path / "real")], trained_on=[store])
    with pytest.raises(TrainingError, match=r"it was not trained on, .* 1 of them were, such as .*renamed\.png"):
        calibrate_model(recipe)


def test_a_store_of_another_frozen_half_is_refused(tiny_model, images, store, tmp_path):
    config = read_model_config(tiny_model)
    masks = replace(config.extractor, mask=replace(config.extractor.mask, seed=7))
    (tmp_path / "config.json").write_text(json.dumps(replace(config, extractor=masks).to_dict()))
    with pytest.raises(FingerprintMismatchError, match=r"tiny was trained on features .*\(--trained-on\)"):
        calibrate_model(make_recipe(tmp_path, images, trained_on=[store]))


def test_broken_files_and_copies_are_counted_not_the_end(tiny_model, images, tmp_path):
    shutil.copytree(images / "own" / "fake", tmp_path / "fake")
    (tmp_path / "fake" / "broken.png").write_bytes(b"no picture")
    shutil.copyfile(tmp_path / "fake/gan/0.png", tmp_path / "fake" / "copy.png")
    seen = []
    recipe = make_recipe(tiny_model, images, fake=[str(tmp_path / "fake")])
    found = calibrate_model(recipe, progress=lambda done, total: seen.append((done, total)))
    assert found.report.left_out == {"unreadable": 1, "duplicates": 1}
    assert len(found.images.logits) == REALS + FAKES
    assert seen[0] == (0, 46)
    assert seen[-1] == (46, 46)
    out = save_calibrated(found, tmp_path / "model")
    assert "broken.png" in (out / UNREADABLE).read_text()
    assert "(1 unreadable, 1 duplicates left out)" in (out / "README.md").read_text()


def test_several_sources_of_a_class_are_joined(tiny_model, images):
    recipe = make_recipe(tiny_model, images, real=[str(images / "own/real/phone"), str(images / "own/real/scan/*.png")])
    assert (calibrate_model(recipe).images.labels == 0).sum() == REALS


class TestRefusals:
    def test_an_image_in_both_classes(self, tiny_model, images, tmp_path):
        shutil.copytree(images / "own" / "fake", tmp_path / "fake")
        shutil.copyfile(images / "own/real/phone/2.png", tmp_path / "fake" / "same.png")
        with pytest.raises(TrainingError, match=r"2\.png and .*same\.png have the same content: take it out of one"):
            calibrate_model(make_recipe(tiny_model, images, fake=[str(tmp_path / "fake")]))

    def test_a_source_that_says_otherwise(self, tiny_model, images):
        with pytest.raises(
            SourceError,
            match=r"--real names photographs, but in .* the image .*0\.png is said to be among the generated",
        ):
            calibrate_model(make_recipe(tiny_model, images, real=[str(images / "own")]))

    def test_too_few_images_before_any_is_scored(self, tiny_model, images):
        def fail(done: int, total: int) -> None:
            raise AssertionError

        with pytest.raises(TrainingError, match="needs at least 50 photographs, got 24"):
            calibrate_model(make_recipe(tiny_model, images, targets=TrainConfig()), progress=fail)

    def test_too_few_images_that_can_be_read(self, tiny_model, images, tmp_path):
        for index in range(12):
            (tmp_path / f"{index}.png").write_bytes(b"no picture")
        with pytest.raises(TrainingError, match="none of the 24 images could be read, the first: .*0.png"):
            calibrate_model(make_recipe(tiny_model, images, real=[str(tmp_path)], fake=[str(tmp_path)]))
        with pytest.raises(TrainingError, match="needs at least 10 photographs, got 0"):
            calibrate_model(make_recipe(tiny_model, images, real=[str(tmp_path)]))

    def test_a_folder_that_holds_files(self, found, tmp_path):
        (tmp_path / "letter.txt").write_text("mine")
        with pytest.raises(ModelDirError, match="written into a new folder, and .* holds files"):
            save_calibrated(found, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


class TestWriting:
    @pytest.fixture
    def copied(self, tiny_model: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(tiny_model, tmp_path / "copied"))

    def test_in_place_gives_what_a_new_folder_gives(self, copied, images, model):
        assert save_calibrated(calibrate_model(make_recipe(copied, images))) == copied
        ours, theirs = _files(copied), _files(model)
        assert set(ours) == set(theirs)
        assert [name for name in ours if ours[name] != theirs[name] and name != "model.onnx"] == []
        assert [path.name for path in copied.parent.iterdir()] == ["copied"], "nothing is left beside it"

    def test_nothing_is_exported(self, model, tiny_model):
        assert (model / "model.onnx").read_bytes() == (tiny_model / "model.onnx").read_bytes()

    def test_what_fails_leaves_the_model_as_it_was(self, copied, images, tmp_path, monkeypatch):
        before, found = _files(copied), calibrate_model(make_recipe(copied, images))

        def fail(path: Path) -> None:
            raise OSError("disk full")

        monkeypatch.setattr("cinemae.models.bundle._flush", fail)
        for out in (None, tmp_path / "new"):
            with pytest.raises(OSError, match="disk full"):
                save_calibrated(found, out)
        assert _files(copied) == before
        assert not list((tmp_path / "new").iterdir())

    def test_settings_are_replaced_last(self, copied, images, monkeypatch):
        found, order = calibrate_model(make_recipe(copied, images)), []
        move = Path.replace

        def spy(self: Path, target: Path) -> Path:
            if Path(target).is_relative_to(copied):
                order.append(Path(target).name)
            return move(self, target)

        monkeypatch.setattr(Path, "replace", spy)
        save_calibrated(found)
        assert order[-1] == "config.json"
        assert {"ood.safetensors", "README.md", "results.json"} <= set(order)
        assert not {"head.safetensors", "model.onnx"} & set(order)

    def test_plots_are_kept_and_shown_on_the_card(self, model):
        for name in ("reliability.png", "risk-coverage.png"):
            assert (model / name).read_bytes().startswith(b"\x89PNG")
            assert f"]({name})" in (model / "README.md").read_text()

    def test_figures_are_in_results_and_on_the_card(self, model, found):
        values = json.loads((model / "results.json").read_text())
        assert values["recalibration"]["held_out"] == msgspec.to_builtins(found.report.to_figures())["held_out"]
        assert values["decision"]["rule"] == "drawn from a hat, for tests", "what came before is not forgotten"
        card = (model / "README.md").read_text()
        assert f"{REALS} photographs and {FAKES} generated" in card
        assert "The figures of training do not lie in this directory." in card
        for quality in values["recalibration"]["held_out"].values():
            assert f"| {quality['log_loss']:.3f} |" in card
        assert "| phone, photographs | 14 |" in card
        assert "| gan, generated | 20 |" in card
        assert "* 24 photographs are few:" in card
        assert "farther from the training images than 99% of these photographs" in card

    def test_no_path_of_this_machine_is_written(self, model, images):
        for name in ("config.json", "results.json", "README.md"):
            assert str(images) not in (model / name).read_text()
