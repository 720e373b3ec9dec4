"""The quality a JPEG was saved at, estimated from its quantisation tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

# ITU-T T.81, Annex K, Tables K.1 and K.2, row by row.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)


def estimate_jpeg_quality(luminance: Sequence[int], chrominance: Sequence[int] | None = None) -> int:
    """Return the quality at which libjpeg's own tables come nearest to those given.

    libjpeg scales the standard tables T to ``clip((T s + 50) // 100, 1, 255)`` with ``s = 5000 // q`` below q = 50 and
    ``s = 200 - 2 q`` from there. The answer is the q with the least sum of squared differences of logarithms over all
    entries: a table and its double are equally far apart at every quality. It is exact where the standard tables were
    used, as Pillow, libjpeg and libjpeg-turbo do, and a figure on their scale for other tables (Photoshop, cameras,
    mozjpeg), whose own quality numbers mean something else.

    Args:
        luminance: The 64 steps of the first component's table, row by row, each at least 1.
        chrominance: Those of the other components; None where there is no second table.

    Example:
        >>> estimate_jpeg_quality([2 * step for row in _LUMINANCE for step in row])
        25
    """
    given = np.log(np.asarray(luminance, np.float64))
    distance = ((np.log(_scaled(_LUMINANCE)) - given) ** 2).sum(axis=1)
    if chrominance is not None:
        given = np.log(np.asarray(chrominance, np.float64))
        distance += ((np.log(_scaled(_CHROMINANCE)) - given) ** 2).sum(axis=1)
    return int(distance.argmin()) + 1


def quality_of(image: Image.Image) -> int | None:
    """Return what `estimate_jpeg_quality` says of an opened picture; None if it is no JPEG.

    Luminance is the first component's table, chrominance the next component's if that is another.

    Args:
        image: As Pillow opened it, decoded or not; a copy of it no longer knows its tables.

    Example:
        >>> quality_of(Image.new("RGB", (8, 8))) is None
        True
    """
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return None
    tables = [number for _, _, _, number in image.layer]
    others = [number for number in tables if number != tables[0]]
    try:
        steps = [[max(1, step) for step in image.quantization[number]] for number in (*tables[:1], *others[:1])]
    except KeyError:  # a table that the file does not hold: it cannot be decoded either
        return None
    return estimate_jpeg_quality(*steps) if steps else None


def luminance_steps(quality: int) -> NDArray[np.int64]:
    """Return libjpeg's quantisation steps of brightness at a quality from 1 to 100, (8, 8), lowest frequency first.

    Example:
        >>> luminance_steps(75)[0].tolist()
        [8, 6, 5, 8, 12, 20, 26, 31]
    """
    steps: NDArray[np.int64] = _scaled(_LUMINANCE)[quality - 1]
    return steps.reshape(8, 8)


def _scaled(table: tuple[tuple[int, ...], ...]) -> NDArray[np.int64]:
    """Return the table at the qualities 1 to 100, (100, 64)."""
    quality = np.arange(1, 101)[:, np.newaxis]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return ((np.array(table).ravel() * scale + 50) // 100).clip(1, 255)
