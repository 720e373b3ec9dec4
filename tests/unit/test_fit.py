"""The whole of `fit`, on a tiny model and pictures that differ by what they show, not by their files."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from sklearn.ensemble import RandomForestClassifier

from cinemae import Detector
from cinemae.config import TrainConfig
from cinemae.detect.extract_job import ExtractorSource
from cinemae.errors import ConfigError, ModelDirError, TrainingError
from cinemae.fit.config import FitRecipe
from cinemae.fit.fit import fit
from cinemae.fit.start import Start
from cinemae.models.directory import read_model_config
from cinemae.preset import PAPER
from cinemae.statistics.plot_style import new_figure
from cinemae.stores.features import FeatureStore

pytestmark = pytest.mark.usefixtures("one_thread")


def draw_class(folder: Path, count: int, start: int, picture, *, reddish: bool) -> None:
    """Draw pictures; generated ones come out reddish."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        drawn = picture(start + index, 40, 40)
        red = Image.blend(drawn, Image.new("RGB", drawn.size, "red"), 0.5)
        (red if reddish else drawn).save(folder / f"{index}.png")


@pytest.fixture(scope="module")
def images(tmp_path_factory, picture) -> Path:
    """Four generators of 20 images and one folder of 60 photographs: all PNG of one size."""
    root = tmp_path_factory.mktemp("images")
    draw_class(root / "photos", 60, 0, picture, reddish=False)
    for number, name in enumerate(("gan", "ldm", "sdxl", "flux")):
        draw_class(root / "made" / name, 20, 1000 + 100 * number, picture, reddish=True)
    return root


@pytest.fixture(scope="module")
def base(tiny_model, tmp_path_factory) -> Path:
    """A model to begin with that says it was trained in one quick run."""
    folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("base") / "tiny")
    config = json.loads((folder / "config.json").read_text())
    config["provenance"]["train"] = {"learning_rate": 0.003, "epochs": 8, "num_seeds": 1}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module", autouse=True)
def exported(base):
    """Nothing slow: a quick model for the bundled one, small forests, no plot, and of graphs only who asked for one."""
    folders: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        for module in ("fit", "compare"):
            patch.setattr(f"cinemae.fit.{module}.STARTER", base)
        patch.setattr("cinemae.training.build_model.write_graph", lambda *args: folders.append(args[-1]))
        patch.setattr("cinemae.training.build_model.plot_history", lambda history: new_figure(1, 1))
        patch.setattr(
            "cinemae.statistics.format_probe._forest", lambda seed: RandomForestClassifier(5, random_state=seed)
        )
        yield folders


def recipe(images: Path, base: Path, **changes) -> FitRecipe:
    given = {"real": (str(images / "photos"),), "fake": (str(images / "made"),), "model": str(base), **changes}
    return FitRecipe(**given)


@pytest.fixture(scope="module")
def fitted(images, base, tmp_path_factory):
    """Model folder, report, and what was told on the way."""
    out = tmp_path_factory.mktemp("fitted") / "mine"
    told: list[tuple[str, int, int]] = []
    report = fit(recipe(images, base), out, progress=lambda *line: told.append(line))
    return out, report, told


def test_whole_generators_and_some_photographs_are_held_out(fitted):
    _, report, _ = fitted
    photographs, fakes = report.splits
    assert (photographs.kind, photographs.num_train, photographs.num_held_out) == ("images", 45, 15)
    assert (fakes.kind, fakes.num_train, fakes.num_held_out, len(fakes.held_out)) == ("groups", 60, 20, 1)
    assert report.training.results.n_real == 15
    assert [row.generator for row in report.training.results.per_generator] == list(fakes.held_out)


def test_what_they_show_is_learnt_and_formats_are_not(fitted):
    _, report, _ = fitted
    assert report.training.results.auc.value > 0.95
    assert report.format_probe.value == pytest.approx(0.5, abs=0.1)
    assert report.format_auc.value == 0.5
    assert report.comparison.verdict == "better"


def test_what_to_know_is_said_and_serious_things_first(fitted):
    _, report, _ = fitted
    assert [warning.name for warning in report.warnings] == [
        "threshold", "few_photographs", "few_generated", "one_source", "seen_groups",
    ]  # fmt: skip
    assert "takes 50 held-out photographs, there are 15" in report.warnings[0].sentence


def test_the_model_detects(fitted, images):
    out, report, _ = fitted
    detector = Detector.from_pretrained(out)
    generator = report.splits[1].held_out[0]
    fakes = [detector.detect(images / "made" / generator / f"{index}.png").prob_fake for index in range(5)]
    reals = [detector.detect(images / "photos" / f"{index}.png").prob_fake for index in range(5)]
    assert min(fakes) > max(reals)
    assert read_model_config(out).name == "mine"


def test_the_card_and_the_results_have_it_all(fitted):
    out, report, _ = fitted
    card = (out / "README.md").read_text()
    assert card.index("## Before you trust it") < card.index("## Results")
    for sentence in (
        *(warning.sentence for warning in report.warnings),
        *(split.sentence() for split in report.splits),
    ):
        assert sentence[1:] in card
    assert f"The bundled model ({report.comparison.bundled}) on the same held-out images: AUC" in card
    assert "| fake/gan | 20 | given to cinemae fit;" in card
    assert "made by cinemae fit, from backbone and settings of tiny" in card
    assert json.loads((out / "results.json").read_text())["fit"] == json.loads(msgspec.json.encode(report.figures()))
    assert read_model_config(out).model_id == report.model_id
    assert str(out.parent) not in card, "no path of this machine is published"


def test_the_report_is_plain_json(fitted):
    _, report, _ = fitted
    values = json.loads(json.dumps(report.to_dict()))
    assert values["results"]["auc"] == report.training.results.auc.to_dict()
    assert values["comparison"]["verdict"] == "better"
    assert (values["num_reused"], values["num_extracted"], values["unread"]) == (0, 140, [])


def test_every_stage_is_told_from_its_beginning_to_its_end(fitted):
    _, _, told = fitted
    stages = {stage: [(done, total) for name, done, total in told if name == stage] for stage, _, _ in told}
    assert list(stages) == ["reading", "extracting", "extracting altered copies", "training"]
    for counts in stages.values():
        assert counts[-1][0] == counts[-1][1]
    assert stages["extracting"][-1] == (140, 140)
    assert stages["extracting altered copies"][-1] == (105, 105)


def test_another_run_looks_at_new_images_only_and_forgets_nothing(fitted, images, base, tmp_path, picture):
    out, _, _ = fitted
    more = shutil.copytree(images, tmp_path / "images")
    draw_class(more / "new", 3, 5000, picture, reddish=False)
    shutil.copytree(out.with_name("mine.work"), tmp_path / "work")
    changed = recipe(more, base, real=(str(more / "photos"), str(more / "new")), work=tmp_path / "work")
    again = fit(changed, tmp_path / "again")
    assert (again.num_reused, again.num_extracted) == (140, 3)
    afresh = fit(dataclasses.replace(changed, work=tmp_path / "other"), tmp_path / "afresh", progress=None)
    assert afresh.num_reused == 0
    assert afresh.figures() == again.figures()
    np.testing.assert_allclose(
        afresh.training.results.cross_fitted.fakes_called_ai,
        again.training.results.cross_fitted.fakes_called_ai,
    )


def test_the_same_seed_gives_the_same_model_over_the_one_before(fitted, images, base, tmp_path):
    out, report, _ = fitted
    shutil.copytree(out, tmp_path / "mine")
    again = fit(recipe(images, base, work=out.with_name("mine.work")), tmp_path / "mine")
    assert again.model_id == report.model_id
    for name in ("head.safetensors", "config.json", "README.md", "results.json"):
        assert (tmp_path / "mine" / name).read_bytes() == (out / name).read_bytes(), name
    other = fit(recipe(images, base, work=out.with_name("mine.work"), seed=1), tmp_path / "mine")
    assert other.model_id != report.model_id


def test_images_of_ones_own_to_measure_on(fitted, images, base, tmp_path, picture):
    out, _, _ = fitted
    draw_class(tmp_path / "val-photos", 12, 7000, picture, reddish=False)
    (tmp_path / "val-photos" / "torn.png").write_bytes((images / "photos" / "0.png").read_bytes()[:-200])
    mine = recipe(images, base, work=out.with_name("mine.work"), val_real=(str(tmp_path / "val-photos"),))
    report = fit(mine, tmp_path / "model")
    photographs, fakes = report.splits
    assert (photographs.kind, photographs.num_train, photographs.num_held_out) == ("own", 60, 12)
    assert fakes.kind == "groups"
    assert [Path(path).name for path, _ in report.unread] == ["torn.png"]
    assert "unread" in [warning.name for warning in report.warnings]


def test_a_model_that_learnt_nothing_is_uncertain_of_every_image(images, base, tmp_path, picture, exported):
    draw_class(tmp_path / "made", 60, 3000, picture, reddish=False)
    exported.clear()
    report = fit(recipe(images, base, fake=(str(tmp_path / "made"),)), tmp_path / "model")
    assert len(exported) == 1, "other thresholds need no other graph"
    assert report.training.results.auc.low <= 0.5
    assert report.warnings[0].name == "chance"
    assert report.training.results.uncertain.value == 1
    assert report.training.results.per_generator[0].called_ai.value == 0
    assert report.training.results.per_generator[0].auc.value == report.training.results.auc.value
    detector = Detector.from_pretrained(tmp_path / "model")
    verdicts = detector.detect_batch(sorted((tmp_path / "made").iterdir())[:8])
    assert {(verdict.verdict, verdict.prob_fake) for verdict in verdicts} == {("uncertain", 0.5)}
    card = (tmp_path / "model" / "README.md").read_text()
    assert "**Serious:** On held-out images the model cannot be told from guessing" in card
    assert 'Rule: every image is "uncertain"' in card


def test_formats_that_tell_the_classes_apart_are_told_at_once(images, base, tmp_path):
    (tmp_path / "photos").mkdir()
    for path in (images / "photos").iterdir():
        Image.open(path).save(tmp_path / "photos" / f"{path.stem}.jpg", quality=90)
    order: list[str] = []
    report = fit(
        recipe(images, base, real=(str(tmp_path / "photos"),)),
        tmp_path / "model",
        progress=lambda stage, done, total: order.append(stage),
        warn=lambda warning: order.append(warning.name),
    )
    assert report.format_probe.value == report.format_auc.value == 1
    assert (report.warnings[0].name, report.warnings[0].serious) == ("format_bias", True)
    assert order.index("format_bias") < order.index("extracting")
    assert "**Serious:** Container, size and JPEG quality alone" in (tmp_path / "model" / "README.md").read_text()


def test_a_bare_backbone_is_held_against_the_bundled_model_all_the_same(images, base, tmp_path):
    bare = recipe(images, base, model=None, backbone=str(base / "backbone"))
    report = fit(bare, tmp_path / "model")
    config = read_model_config(tmp_path / "model")
    assert config.extractor.image.resize_to == round(32 * 8 / 7)
    assert FeatureStore.open(tmp_path / "model.work" / "val-bundled").fingerprint != config.fingerprint
    assert report.comparison.bundled == read_model_config(base).model_id
    assert report.comparison.auc_bundled.n == report.comparison.auc.n == 35


def test_by_the_paper_nothing_of_the_models_settings_and_no_altered_copy_is_taken(images, base, tmp_path):
    report = fit(recipe(images, base, paper=True, seed=5, target_fpr=0.05), tmp_path / "model")
    config = read_model_config(tmp_path / "model")
    assert (config.extractor, config.lcas) == (PAPER.extractor(32), PAPER.lcas)
    assert (config.head.standardize_statistics, config.head.standardize_global) == (False, False)
    assert TrainConfig.from_dict(config.provenance["train"]) == replace(PAPER.train, seed=5, target_fpr=0.05)
    assert config.provenance["altered_copies"] == []
    assert config.provenance["preset"] == {"name": "paper", "beside_it": {"seed": 5, "target_fpr": 0.05}}
    assert not (tmp_path / "model.work" / "train-copies").exists()
    assert report.training.results.at_half is not None


def test_too_few_are_refused_before_anything_is_written(images, base, tmp_path):
    few = recipe(images, base, fake=(str(images / "made" / "gan"),))
    with pytest.raises(TrainingError, match="there are 60 photographs and 20 generated images"):
        fit(few, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_not_written_among_the_images_nor_over_other_files(images, base, tmp_path):
    with pytest.raises(ConfigError, match=r"apart from the images it is made of, and .*model lies in .*photos: name"):
        fit(recipe(images, base), images / "photos" / "model")
    with pytest.raises(ConfigError, match=r"and .*work lies in .*made: name another folder"):
        fit(recipe(images, base, work=images / "made" / "work"), tmp_path / "model")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").touch()
    with pytest.raises(ModelDirError, match="letters holds other files: name another folder"):
        fit(recipe(images, base), tmp_path / "letters")
    with pytest.raises(ModelDirError, match="letters holds other files"):
        fit(recipe(images, base, work=tmp_path / "letters"), tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fake": ()}, r"two classes apart: name at least one source of photographs \(--real\) and one of generated"),
        ({"model": "a", "backbone": "b"}, "give --model or --backbone, not both"),
        ({"split_by": "hair"}, 'split_by must be "auto", "groups" or "images"'),
        ({"target_fpr": 0.0}, "target_fpr must lie between 0 and 1"),
        ({"seed": -1}, "seed must not be negative"),
    ],
)
def test_a_recipe_is_refused_by_name(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        FitRecipe(**{"real": ("x",), "fake": ("y",), **changes})


def test_the_settings_are_those_the_model_was_trained_with():
    """Backbone, head and training of the bundled model, as recipes/starter/make.sh made it."""
    start = Start.of(ExtractorSource())
    assert (start.train.epochs, start.train.optimizer) == (25, "lbfgs")
    assert (start.head.view_pooling, start.head.cls_hidden, start.head.clip_global) == ("concat", (), 5)
    assert (start.extractor.config.image.views, start.extractor.config.image.jpeg_quality) == ("whole_native", None)
    assert start.licence.startswith("head and decoder under Apache-2.0")
