"""A model that looks at the whole picture and at native pixels of its centre: views, scores, maps."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from benchmarks.starter_views import cut_views
from PIL import Image
from typer.testing import CliRunner

from cinemae import Detector
from cinemae.app.cli import app
from cinemae.config import ImageConfig
from cinemae.core.preprocess import Examined, looked_at, preprocess, share_examined
from cinemae.detect.heatmap import view_box
from cinemae.models.directory import read_model_config
from cinemae.models.scorers import OnnxScorer, TorchScorer
from cinemae.stores.features import FeatureStore

PLAIN = ImageConfig(views="whole_native", mean=(0, 0, 0), std=(1, 1, 1))
SIZES = [
    (800, 600),
    (600, 801),
    (224, 224),
    (225, 223),
    (100, 900),
    (9, 7),
    (1, 1),
    (5000, 1),
    (70_001, 3),
    (223, 4000),
]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def _reference(image: Image.Image) -> np.ndarray:
    """The two views by whole arrays: padded first, then cut."""
    whole = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC, reducing_gap=3))
    pixels = np.asarray(image)
    padded = np.pad(pixels, [*((0, max(0, 224 - side)) for side in pixels.shape[:2]), (0, 0)], mode="symmetric")
    top, left = ((side - 224) // 2 for side in padded.shape[:2])
    return np.stack([whole, padded[top : top + 224, left : left + 224]])


@pytest.mark.parametrize("size", SIZES)
def test_views_are_those_that_the_design_was_chosen_with(size: tuple[int, int]):
    image = noise(*size)
    views = np.rint(preprocess(image, PLAIN).transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(views, _reference(image))
    cut = dict(cut_views(image, ["ws", "c0"]))
    np.testing.assert_array_equal(views, np.stack([cut["ws"], cut["c0"]]))
    np.testing.assert_array_equal(np.asarray(looked_at(image, PLAIN)), views[0])


@pytest.mark.parametrize("size", [(1_000_000, 1), (3, 1_000_000), (6000, 4000)])
def test_a_huge_or_flat_picture_takes_little_memory(size: tuple[int, int]):
    image = Image.new("RGB", size, (10, 20, 30))
    tracemalloc.start()
    pixel_values = preprocess(image, PLAIN)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23
    np.testing.assert_allclose(pixel_values[1, :, 0, 0] * 255, [10, 20, 30], atol=1e-4)
    np.testing.assert_allclose(pixel_values[0, :, 100, 100] * 255, [10, 20, 30], atol=1.01)


TILES = ImageConfig(size=64, resize_to=128, views="tiles")


@pytest.mark.parametrize(
    ("config", "size", "expected", "sentence"),
    [
        (
            PLAIN,
            (4000, 3000),
            Examined(1.0, 224, 224**2 / 12e6),
            "the whole picture at 224 px, and less than 1 % of it",
        ),
        (
            PLAIN,
            (800, 1000),
            Examined(1.0, 224, 0.06272),
            "the whole picture at 224 px, and 6 % of it at full resolution.",
        ),
        (PLAIN, (200, 100), Examined(1.0, 224, 1.0), "the whole picture at full resolution."),
        (ImageConfig(), (512, 512), Examined(0.765625, 256, 0.0), "77 % of the picture at 256 px."),
        (ImageConfig(), (256, 512), Examined(0.3828125, 256, 0.3828125), "38 % of the picture at full resolution."),
        (ImageConfig(views="five"), (600, 600), Examined(1.0, 256, 0.0), "the whole picture at 256 px."),
        (TILES, (300, 600), Examined(0.5, 128, 0.0), "50 % of the picture at 128 px."),
        (ImageConfig(size=64, resize_to=128, views="checkered"), (128, 128), Examined(0.5, 128, 0.5), "50 % of the"),
        (ImageConfig(resize="stretch"), (900, 100), Examined(1.0, 224, 0.0), "the whole picture at 224 px."),
        (ImageConfig(resize="stretch"), (90, 100), Examined(1.0, 224, 1.0), "the whole picture at full resolution."),
    ],
)
def test_what_share_was_examined(config: ImageConfig, size: tuple[int, int], expected: Examined, sentence: str):
    found = share_examined(*size, config)
    assert (found.share, found.side, found.native) == pytest.approx((expected.share, expected.side, expected.native))
    assert found.sentence.startswith(f"Looked at: {sentence}")


def quarter_replaced(image: Image.Image, row: int, column: int) -> Image.Image:
    width, height = image.width // 2, image.height // 2
    changed = image.copy()
    changed.paste(noise(width, height, 9), (column * width, row * height))
    return changed


@pytest.mark.parametrize("size", [(400, 300), (300, 301), (1000, 100)])
def test_every_quarter_of_a_picture_counts(tiny_model_whole: Path, size: tuple[int, int]):
    detector, image = Detector.from_pretrained(tiny_model_whole), noise(*size)
    before = detector.detect(image)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        after = detector.detect(quarter_replaced(image, row, column))
        assert abs(after.logit - before.logit) > 1e-4


def test_torch_and_onnx_agree(tiny_model_whole: Path):
    images = [noise(90, 70), noise(20, 400), noise(32, 32), noise(7, 5)]
    graph, torch_one = (list(Detector(scorer).detect_batch(images)) for scorer in scorers(tiny_model_whole))
    for one, other in zip(graph, torch_one, strict=True):
        assert one.logit == pytest.approx(other.logit, abs=1e-4)
        assert [one.variability, one.overall, one.sensitivity] == pytest.approx(
            [other.variability, other.overall, other.sensitivity], abs=1e-4
        )


def scorers(directory: Path):
    return OnnxScorer(directory), TorchScorer(directory, device="cpu")


def test_the_map_lies_over_the_whole_picture(tiny_model_whole: Path):
    verdict = Detector.from_pretrained(tiny_model_whole).detect(noise(800, 400))
    assert verdict.lcas_map.shape == (4, 4)
    assert verdict.heatmap(legend=False).size == (800, 400)
    assert view_box(800, 400, PLAIN) == (0.0, 0.0, 1.0, 1.0)


def test_scored_under_every_re_delivery_and_said_what_was_examined(tiny_model_whole: Path):
    verdict = Detector.from_pretrained(tiny_model_whole).detect(noise(64, 128), stable=True)
    assert len(verdict.redeliveries) == 5
    assert verdict.examined == Examined(1.0, 32, 0.125)
    assert verdict.to_dict()["examined"] == {"share": 1.0, "side": 32, "native": 0.125}


WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "sklearn", "scipy", "pyarrow", "matplotlib", "onnx"):
    sys.modules[name] = None
from cinemae.app.cli import main
main()
"""


def test_detect_says_what_was_examined_and_needs_no_torch(tiny_model_whole: Path, tmp_path: Path):
    noise(64, 128).save(tmp_path / "a.png")
    command = [sys.executable, "-c", WITHOUT_TORCH, "detect", "a.png", "--model", str(tiny_model_whole)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "    Looked at: the whole picture at 32 px, and 12 % of it at full resolution." in result.stdout


def cinemae(*command: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in command])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model_whole: Path) -> Path:
    """The folder of a model made as the starter is: extract, train, calibrate; one design with `tiny_model_whole`."""
    root = tmp_path_factory.mktemp("made")
    for label, generators in (("real", ("camera", "scan")), ("fake", ("gan", "flow"))):
        for number in range(24):
            file = root / "images" / label / generators[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            smooth = Image.fromarray(np.asarray(noise(6, 5, number)) // (2 if label == "real" else 1))
            smooth.resize((90, 70 + number), Image.Resampling.BICUBIC).save(file)
    options = ("--views", "whole_native", "--cls-layers", "1,2", "--token-statistics", "cls,mean,std")
    options = (*options, "--num-passes", "2")
    cinemae("extract", root / "images", "--out", root / "store", "--backbone", tiny_model_whole / "backbone", *options)
    options = ("--view-pooling", "concat", "--clip-global", "5", "--cls-hidden", "", "--agg-hidden", "8")
    fit = ("--optimizer", "lbfgs", "--weight-decay", "0.03", "--epochs", "5", "--num-seeds", "1")
    stores = (root / "store", "--backbone", tiny_model_whole / "backbone", "--val-generators", "flow")
    cinemae("train", *stores, "--out", root / "model", *options, *fit, "--target-fpr", "0.2", "--target-fnr", "0.2")
    return root


def test_a_model_made_by_the_commands_scores_alike_in_every_engine(trained: Path):
    config = read_model_config(trained / "model")
    assert (config.head.global_dim, config.head.clip_global, config.head.cls_hidden) == (2 * 2 * 3 * 16, 5.0, ())
    assert config.extractor.global_feature.token_statistics == ("cls", "mean", "std")
    images = sorted((trained / "images").rglob("*.png"))[:6]
    stored = FeatureStore.open(trained / "store").load(("path", "global_feature"))
    graph, torch_one = scorers(trained / "model")
    pixel_values = np.stack([preprocess(Image.open(path), config.extractor.image) for path in images])
    of_graph, of_torch = graph.score(pixel_values), torch_one.score(pixel_values)
    np.testing.assert_allclose(of_graph.logit, of_torch.logit, atol=1e-4)
    np.testing.assert_allclose(of_graph.ood_distance, of_torch.ood_distance, rtol=1e-3)
    assert stored["global_feature"].shape[1:] == (2, 2 * 3 * 16)
    assert np.isfinite(of_graph.ood_distance).all()


def test_a_model_made_by_the_commands_is_calibrated_and_fitted(trained: Path):
    images = trained / "images"
    targets = ("--target-fpr", "0.2", "--target-fnr", "0.2")
    sources = ("--real", images / "real", "--fake", images / "fake")
    cinemae("calibrate", trained / "model", "--out", trained / "calibrated", *sources, *targets)
    shown = cinemae("detect", images / "real" / "camera" / "0.png", "--model", trained / "calibrated")
    assert "Looked at: the whole picture at 32 px, and 16 % of it at full resolution." in shown
    assert "whole_native" in (trained / "calibrated" / "README.md").read_text()
    assert "whole picture and native centre" in cinemae("info", "--model", trained / "calibrated")
