"""Squares cut from pictures at their own scale: resizing would wipe out the traces that the baselines look for.

A picture smaller than the square is continued by its mirror image at every edge, the edge pixel repeated
(``numpy.pad(mode="symmetric")``). Unlike scaling up this adds no interpolation, which every baseline would see.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from cinemae.errors import ImageError

MAX_SIGMA = 3.0
MIN_QUALITY = 30


def center_square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Cut the centre square, its left edge at ``(width - size) // 2`` and its top edge likewise.

    Args:
        image: RGB, any size from 1x1.
        size: Side in pixels.

    Returns:
        (size, size, 3) uint8.

    Raises:
        ImageError: If the picture is not RGB or has no pixels.

    Example:
        >>> row = Image.fromarray(np.array([[[1, 1, 1], [2, 2, 2]]], np.uint8))
        >>> center_square(row, 4)[0, :, 0].tolist()
        [1, 1, 2, 2]
    """
    _require_rgb(image)
    return _cut(image, (image.width - size) // 2, (image.height - size) // 2, size)


def training_square(
    image: Image.Image, size: int, rng: np.random.Generator, *, blur: float = 0.0, recompress: float = 0.0
) -> NDArray[np.uint8]:
    """Cut a square at a random place, perhaps blurred, sent through JPEG, and mirrored (as in Wang et al. 2020).

    Blur and JPEG happen before the cut, so that the grid of JPEG blocks lies anywhere in the square. They see the
    square with a margin of 16 to 23 pixels instead of the whole picture, which would cost more and change nothing.

    Args:
        image: RGB, any size from 1x1.
        size: Side in pixels.
        rng: Source of every draw.
        blur: Probability of a Gaussian blur with a deviation from U[0, 3] pixels.
        recompress: Probability of a JPEG round trip at a quality drawn from 30 to 100, 4:2:0 chroma.

    Returns:
        (size, size, 3) uint8.

    Raises:
        ImageError: If the picture is not RGB or has no pixels.
    """
    _require_rgb(image)
    left, top = (_random_start(side, size, rng) for side in image.size)
    margin_left, margin_top = (int(margin) for margin in rng.integers(16, 24, 2))
    box_left, box_top = max(0, left - margin_left), max(0, top - margin_top)
    right, bottom = min(image.width, left + size + 16), min(image.height, top + size + 16)
    region = image.crop((box_left, box_top, right, bottom))
    if rng.random() < blur:
        region = region.filter(ImageFilter.GaussianBlur(rng.uniform(0, MAX_SIGMA)))
    if rng.random() < recompress:
        buffer = io.BytesIO()
        region.save(buffer, "JPEG", quality=int(rng.integers(MIN_QUALITY, 101)), subsampling="4:2:0")
        buffer.seek(0)
        region = Image.open(buffer)
    square = _cut(region, left - box_left, top - box_top, size)
    return square[:, ::-1] if rng.random() < 0.5 else square


def _random_start(side: int, size: int, rng: np.random.Generator) -> int:
    """Return where the square begins; in a smaller picture it is centred, and begins outside."""
    return int(rng.integers(0, side - size + 1)) if side > size else (side - size) // 2


def _cut(image: Image.Image, left: int, top: int, size: int) -> NDArray[np.uint8]:
    box = (max(0, left), max(0, top), min(image.width, left + size), min(image.height, top + size))
    pixels: NDArray[np.uint8] = np.asarray(image.crop(box))
    if pixels.shape[:2] == (size, size):
        return pixels
    across, down = (box[0] - left, left + size - box[2]), (box[1] - top, top + size - box[3])
    return np.pad(pixels, (down, across, (0, 0)), mode="symmetric")


def _require_rgb(image: Image.Image) -> None:
    if image.mode != "RGB" or min(image.size) < 1:
        raise ImageError(
            f"a detector needs RGB pictures of at least 1x1 pixels, got mode {image.mode}, {image.width}x{image.height}"
            ": pass it through load_image first."
        )
