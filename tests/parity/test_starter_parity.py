"""The bundled model: what the light install runs against what torch runs, and what is promised of its files."""

import json
from pathlib import Path

import numpy as np
import pytest
import skimage
import sklearn

from cinemae import Detector
from cinemae.core.backbone import FrozenMAE
from cinemae.core.features import FeatureExtractor
from cinemae.models.card import MUST_NOT
from cinemae.models.directory import BACKBONE_DIR, HEAD_FILE, ONNX_FILE, OOD_FILE, STARTER, read_model_config
from cinemae.models.scorers import OnnxScorer, TorchScorer

pytestmark = pytest.mark.usefixtures("one_thread")  # torch's threads and ONNX Runtime's would wait for each other

MAX_BYTES = 60_000_000
SHIPPED = [
    *(
        Path(skimage.__file__).parent / "data" / name
        for name in (
            "astronaut.png",
            "camera.png",
            "chelsea.png",
            "coffee.png",
            "coins.png",
            "page.png",
            "phantom.png",
            "rocket.jpg",
        )
    ),
    *(Path(sklearn.__file__).parent / "datasets" / "images" / name for name in ("china.jpg", "flower.jpg")),
]


@pytest.fixture(scope="module")
def onnx_detector():
    return Detector(OnnxScorer(STARTER))


@pytest.fixture(scope="module")
def torch_detector():
    return Detector(TorchScorer(STARTER, device="cpu"))


@pytest.fixture(scope="module")
def config():
    return read_model_config(STARTER)


def _assert_parity(found, expected):
    assert found.status == expected.status == "ok"
    assert found.prob_fake == pytest.approx(expected.prob_fake, abs=1e-4)
    for name in ("variability", "overall", "sensitivity"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-3, abs=1e-4), name


@pytest.mark.parametrize(
    "path",
    [*SHIPPED[:2], *(pytest.param(path, marks=pytest.mark.slow) for path in SHIPPED[2:])],
    ids=lambda path: path.name,
)
def test_shipped_pictures_score_alike_in_onnx_and_torch(path, onnx_detector, torch_detector):
    found, expected = onnx_detector.detect(path), torch_detector.detect(path)
    _assert_parity(found, expected)
    np.testing.assert_allclose(found.lcas_map, expected.lcas_map, rtol=1e-3, atol=1e-3)


def test_drawn_pictures_score_alike_in_onnx_and_torch(picture, onnx_detector, torch_detector):
    pictures = [picture(seed, 200 + 37 * seed, 150 + 53 * seed) for seed in range(4)]
    pictures += [np.zeros((300, 300, 3), np.uint8), np.full((20, 500, 3), 255, np.uint8)]
    found, expected = onnx_detector.detect_batch(pictures), torch_detector.detect_batch(pictures)
    for of_onnx, of_torch in zip(found, expected, strict=True):
        _assert_parity(of_onnx, of_torch)


def test_all_weights_together_are_small():
    weights = [path for path in STARTER.rglob("*") if path.suffix in (".safetensors", ".onnx")]
    assert len(weights) >= 3
    assert sum(path.stat().st_size for path in weights) <= MAX_BYTES


def test_the_directory_is_complete_and_holds_plain_files_only():
    for name in (
        "config.json",
        ONNX_FILE,
        HEAD_FILE,
        OOD_FILE,
        f"{BACKBONE_DIR}/config.json",
        f"{BACKBONE_DIR}/model.safetensors",
    ):
        assert (STARTER / name).is_file(), name
    suffixes = {path.suffix for path in STARTER.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".md", ".onnx", ".png", ".safetensors"}


def test_backbone_and_settings_give_the_stated_fingerprint(config):
    backbone = FrozenMAE.from_pretrained(STARTER / BACKBONE_DIR)
    assert backbone.content_hash == config.backbone.content_hash
    assert FeatureExtractor(backbone, config.extractor).fingerprint == config.fingerprint
    assert json.loads((STARTER / "config.json").read_text())["fingerprint"] == config.fingerprint


def test_thresholds_were_chosen_on_validation(config):
    assert "validation photographs" in config.decision.rule
    assert 0 < config.decision.real_below <= config.decision.threshold < 1


def test_it_says_what_the_thresholds_were_set_for_and_what_came_of_it(config):
    decision = config.decision
    assert (decision.target_fpr, decision.target_fnr) == (0.01, 0.1)
    assert "each of 78 sources counting alike" in decision.rule
    assert 0.01 < decision.measured_fpr < 0.02  # of sources unseen, by thresholds of other sources
    assert decision.measured_fnr == pytest.approx(0.1, abs=0.02)


def test_it_tells_drawn_pictures_from_photographs(config, onnx_detector):
    """One colour and a gradient are as unlike what it has seen as can be; an ordinary photograph is not."""
    assert (np.diff(config.ood.levels) > 0).all()
    assert (np.diff(config.ood.values) >= 0).all()
    ramp = np.broadcast_to(np.linspace(0, 255, 256)[:, None, None], (256, 256, 3)).astype(np.uint8)
    for picture in (np.full((300, 200, 3), 90, np.uint8), ramp):
        assert "out_of_distribution" in onnx_detector.detect(np.ascontiguousarray(picture)).warnings
    photograph = next(path for path in SHIPPED if path.name == "china.jpg")
    assert onnx_detector.detect(photograph).ood_score < 0.9


def test_the_heat_maps_scale_is_there_and_ascends(config):
    levels, values = config.reference.levels, config.reference.values
    assert len(levels) == len(values) >= 2
    assert (np.diff(levels) > 0).all()
    assert (np.diff(values) >= 0).all()


class TestCard:
    @pytest.fixture(scope="class")
    @staticmethod
    def card():
        return (STARTER / "README.md").read_text(encoding="utf-8")

    @pytest.fixture(scope="class")
    @staticmethod
    def results():
        return json.loads((STARTER / "results.json").read_text(encoding="utf-8"))

    def test_says_what_it_must_not_be_used_for(self, card):
        assert MUST_NOT in card

    def test_lists_every_generator_worst_first_and_every_photo_source(self, card, results):
        values = [row["auc"]["value"] for row in results["per_generator"]]
        assert values == sorted(values)
        places = [card.index(f"| {row['generator']} |") for row in results["per_generator"]]
        assert places == sorted(places)
        assert all(f"| {row['source']} |" in card for row in results["per_photo_source"])

    def test_states_the_true_headline_figures(self, card, results):
        pooled = results["auc"]
        assert f"| AUC, mean over generators | {results['mean_generator_auc']:.3f} |" in card
        assert f"{pooled['value']:.3f} [{pooled['low']:.3f}, {pooled['high']:.3f}]" in card
        assert f"{results['cross_fitted']['photographs_called_ai']:.3f}" in card

    def test_names_sources_and_licences(self, card, config):
        assert "## Data and licences" in card
        assert config.provenance["data"]
        assert all(f"| {row['set']} | {row['images']} | {row['origin']} |" in card for row in config.provenance["data"])

    def test_names_the_backbone_that_lies_beside_it(self, card, config):
        assert config.backbone.content_hash in card
        assert config.fingerprint in card
