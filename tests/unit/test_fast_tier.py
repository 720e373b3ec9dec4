"""The fast tier: half of the tiles under one mask, thresholds of its own, and a stated price."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from cinemae import Detector
from cinemae.app.cli import app
from cinemae.calibration.recalibrate import RecalibrationRecipe
from cinemae.config import ImageConfig, TrainConfig
from cinemae.core.preprocess import preprocess
from cinemae.detect.heatmap import render_heatmap, view_box
from cinemae.errors import ConfigError, ModelDirError
from cinemae.models.directory import fast_tier, read_model_config
from cinemae.models.scorers import OnnxScorer
from cinemae.training.fast_tier import FastTier, fast_config, make_fast

pytestmark = pytest.mark.usefixtures("one_thread")
TARGETS = TrainConfig(target_fpr=0.1, target_fnr=0.2)
REALS, FAKES = 24, 20


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, picture) -> Path:
    root = tmp_path_factory.mktemp("images")
    for folder, count, noise in (("real", REALS, 4), ("fake", FAKES, 0)):
        (root / folder).mkdir()
        for index in range(count):
            picture(5 * index + noise).save(root / folder / f"{index:02d}.png")
    (root / "fake/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return root


@pytest.fixture(scope="module")
def recipe(tiny_model_pooled: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> RecalibrationRecipe:
    model = tmp_path_factory.mktemp("models") / "mine"
    shutil.copytree(tiny_model_pooled, model)
    return RecalibrationRecipe(model=model, real=[str(images / "real")], fake=[str(images / "fake")], targets=TARGETS)


@pytest.fixture(scope="module")
def tier(recipe: RecalibrationRecipe) -> FastTier:
    return make_fast(recipe)


def test_every_second_tile_is_looked_at_from_the_top_left(picture):
    settings = {"size": 16, "resize_to": 64, "mean": (0, 0, 0), "std": (1, 1, 1)}
    image = picture(3, 64, 64)
    every = preprocess(image, ImageConfig(views="tiles", **settings))
    half = preprocess(image, ImageConfig(views="checkered", **settings))
    np.testing.assert_array_equal(half, every[[0, 2, 5, 7, 8, 10, 13, 15]])
    assert ImageConfig(views="checkered", **settings).num_views == 8
    with pytest.raises(ConfigError, match="tiles need a resize_to that is a multiple of size"):
        ImageConfig(views="checkered", size=64, resize_to=100)


def test_it_scores_half_of_the_tiles_under_the_first_mask(tier, recipe, picture):
    fast, whole = OnnxScorer(tier.directory), OnnxScorer(recipe.model)
    config = read_model_config(tier.directory)
    image = config.extractor.image
    assert (image.num_views, config.extractor.mask.num_passes) == (2, 1)
    pixels = preprocess(picture(7), whole.config.extractor.image)
    scores = fast.score(pixels[None, [0, 3]])
    assert np.array_equal(preprocess(picture(7), image), pixels[[0, 3]])
    assert scores.lcas.shape[1] == 1
    np.testing.assert_allclose(scores.lcas[0, 0], whole.score(pixels[None]).lcas[0, 0], rtol=1e-5)
    assert tier.views == (2, 4)
    assert tier.passes == (1, whole.config.extractor.mask.num_passes)


def test_it_is_a_model_of_its_own_without_the_weights_of_torch(tier, recipe, images, picture):
    assert {path.name for path in tier.directory.iterdir()} == {
        "config.json",
        "model.onnx",
        "results.json",
        "README.md",
    }
    fast = Detector.from_pretrained(recipe.model, fast=True)
    assert fast.model_id.startswith("tiny-fast@")
    assert fast.model_id != Detector.from_pretrained(recipe.model).model_id
    verdict = fast.detect(picture(11))
    assert verdict.status == "ok"
    assert verdict.threshold == tier.config.decision.threshold
    assert fast_tier(recipe.model) == tier.directory


def test_its_price_is_that_of_the_same_images(tier, recipe, images):
    paths = sorted((images / "real").iterdir()) + sorted((images / "fake").iterdir())[:FAKES]
    labels = [0] * REALS + [1] * FAKES
    found = {}
    for name, fast in (("fast", True), ("whole", False)):
        verdicts = Detector.from_pretrained(recipe.model, fast=fast).detect_batch(paths)
        found[name] = roc_auc_score(labels, [verdict.logit for verdict in verdicts])
    assert tier.auc.value == pytest.approx(found["fast"], abs=1e-9)
    assert tier.whole_auc.value == pytest.approx(found["whole"], abs=1e-9)
    assert tier.lost.value == pytest.approx(found["whole"] - found["fast"], abs=1e-9)
    assert tier.lost.low <= tier.lost.value <= tier.lost.high
    assert len(tier.unreadable) == 1
    results = json.loads((tier.directory / "results.json").read_text())
    assert results["auc"]["value"] == tier.auc.value
    assert results["calibration"]["left_out"]["unreadable"] == 1
    card = (tier.directory / "README.md").read_text()
    assert f"| AUC, all images pooled | {tier.auc.value:.3f} [" in card
    assert "2 of 4 views" in card


def test_its_map_is_grey_where_it_does_not_look(tier, picture):
    detector = Detector.from_pretrained(tier.directory)
    lcas = detector.detect(picture(5, 64, 64)).lcas_map
    rows = lcas.shape[0] // 2
    assert np.isfinite(lcas[:rows, :rows]).all()
    assert np.isfinite(lcas[rows:, rows:]).all()
    assert np.isnan(lcas[:rows, rows:]).all()
    box = view_box(64, 64, detector.config.extractor.image)
    assert box == (0, 0, 1, 1)
    drawn = render_heatmap(picture(5, 64, 64), lcas, detector.config.reference, box, legend=False)
    assert isinstance(drawn, Image.Image)


def test_where_nothing_can_be_left_out_it_says_so(recipe, tier, tiny_model):
    config = read_model_config(tiny_model)  # one view
    assert fast_config(config).extractor.image == config.extractor.image
    assert fast_config(config).extractor.mask.num_passes == 1 < config.extractor.mask.num_passes
    with pytest.raises(ConfigError, match=r"tiny-fast looks at 1 view\(s\) that are no tiles, under one mask"):
        fast_config(fast_config(config))
    with pytest.raises(ModelDirError, match="has a fast tier: remove the folder"):
        make_fast(recipe)


def test_the_command_line_makes_and_uses_it(recipe, tier, images, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(recipe.model, model, ignore=shutil.ignore_patterns("fast"))
    invoke = CliRunner().invoke
    shown = invoke(app, ["detect", str(images / "real/00.png"), "--model", str(model), "--fast"])
    assert shown.exit_code == 2
    assert "has no fast tier" in shown.stderr
    sources = ["--real", str(images / "real"), "--fake", str(images / "fake")]
    made = invoke(app, ["fast", str(model), *sources, "--target-fpr", "0.1", "--target-fnr", "0.2"])
    assert made.exit_code == 1, made.output  # one image is broken
    assert f"{model / 'fast'}: 2 of 4 views, 1 of {tier.passes[1]} masks" in made.stdout
    assert (model / "fast/model.onnx").read_bytes() == (tier.directory / "model.onnx").read_bytes()
    scored = invoke(app, ["detect", str(images / "real/00.png"), "--model", str(model), "--fast", "--format", "jsonl"])
    assert scored.exit_code == 0, scored.output
    assert json.loads(scored.stdout)["model"] == tier.config.model_id
