"""Faces cut out of pictures for the training of the bundled model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.starter_portraits import LARGEST, LEAST_SCALED, SMALLEST, cut_portrait, find_faces
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


def drawn(width: int, height: int) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([rows % 256, columns % 256, (rows + columns) % 256], -1).astype(np.uint8))


def cut(image: Image.Image, box: tuple[int, ...], times: int = 40) -> list[Image.Image | None]:
    return [cut_portrait(image, box, np.random.default_rng(seed)) for seed in range(times)]


def test_a_portrait_is_a_square_that_holds_the_face_also_at_the_edge() -> None:
    image = drawn(1200, 800)
    for box in ((500, 300, 100, 100), (0, 0, 100, 100), (1100, 700, 100, 100)):
        portraits = [portrait for portrait in cut(image, box) if portrait is not None]
        assert len(portraits) == 40
        assert all(portrait.width == portrait.height for portrait in portraits)
        assert all(1.5 * 100 <= portrait.width <= 2.6 * 100 for portrait in portraits)
        pixels = np.asarray(image.crop((box[0], box[1], box[0] + 100, box[1] + 100)))
        for portrait in portraits[:5]:  # below 256 pixels none is scaled, so that the face is there as it was
            values = np.asarray(portrait)
            side = portrait.width
            offsets = [(top, left) for top in range(side - 99) for left in range(side - 99)]
            assert any(np.array_equal(values[top : top + 100, left : left + 100], pixels) for top, left in offsets)


def test_large_faces_are_scaled_down_in_half_of_the_cases_and_always_to_the_largest_size() -> None:
    sides = [portrait.width for portrait in cut(drawn(2100, 1300), (700, 300, 700, 700)) if portrait is not None]
    assert len(sides) == 40
    assert max(sides) == LARGEST
    assert min(sides) >= LEAST_SCALED
    assert 10 <= sum(side < LARGEST for side in sides) <= 30


def test_small_faces_and_pictures_that_are_portraits_already_give_none() -> None:
    assert cut(drawn(800, 800), (300, 300, SMALLEST - 1, SMALLEST - 1)) == [None] * 40
    assert cut(drawn(300, 300), (20, 20, 250, 250)) == [None] * 40


def test_the_face_of_a_portrait_is_found_and_none_in_a_landscape() -> None:
    pytest.importorskip("cv2", reason="OpenCV is needed by the recipe alone")
    with Image.open(EXAMPLES / "sd3-portrait-1.jpg") as image:
        left, _, width, height = find_faces(image.convert("RGB"))[0]
        assert left < image.width / 2 < left + width
        assert width == height > image.width / 5
    assert find_faces(drawn(400, 300)) == []
