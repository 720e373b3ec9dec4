"""A model that looks at the whole picture and at native pixels of its centre: views, scores, maps."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from benchmarks.starter_views import cut_views
from PIL import Image

from cinemae.config import ImageConfig
from cinemae.core.preprocess import Examined, looked_at, preprocess, share_examined

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
