"""What a file says of itself before a pixel is decoded: container, size, length, and the quality of its JPEG tables.

Two classes of a data set that differ here can be told apart without looking at a picture (`cinemae.jobs.format_probe`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, JpegImagePlugin

from cinemae.core.image import open_header

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


@dataclass(frozen=True)
class FileFacts:
    """Facts of one encoded picture, pixels unseen.

    Attributes:
        container: The format by the first bytes, as `cinemae.core.image.LoadedImage.format` ("JPEG", "PNG", ...).
        width: Of the upright picture, in pixels, by the header.
        height: The same.
        num_bytes: Length of the file.
        jpeg_quality: From 1 to 100, see `estimate_jpeg_quality`; None for other containers.
    """

    container: str
    width: int
    height: int
    num_bytes: int
    jpeg_quality: int | None


def read_facts(source: str | os.PathLike[str] | bytes) -> FileFacts:
    """Read the facts of one picture from its header.

    Damage after the header is not seen, so a file with facts may still fail in `cinemae.core.image.load_image`.

    Args:
        source: A path, or encoded bytes.

    Raises:
        ImageError: If the header cannot be read; the message is one sentence.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (40, 30)).save(file, "JPEG", quality=85)
        >>> facts = read_facts(file.getvalue())
        >>> facts.container, facts.width, facts.height, facts.jpeg_quality
        ('JPEG', 40, 30, 85)
    """
    with open_header(source) as (container, image, num_bytes):
        width, height = image.size
        if container != "TIFF" and _lies_on_its_side(image):  # Pillow gives a TIFF's size upright
            width, height = height, width
        quality = _jpeg_quality(image) if isinstance(image, JpegImagePlugin.JpegImageFile) else None
        return FileFacts(container, width, height, num_bytes, quality)


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


def _scaled(table: tuple[tuple[int, ...], ...]) -> NDArray[np.int64]:
    """Return the table at the qualities 1 to 100, (100, 64)."""
    quality = np.arange(1, 101)[:, np.newaxis]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return ((np.array(table).ravel() * scale + 50) // 100).clip(1, 255)


def _jpeg_quality(image: JpegImagePlugin.JpegImageFile) -> int | None:
    """Take luminance from the first component's table, chrominance from the next component's if that is another."""
    tables = [number for _, _, _, number in image.layer]
    others = [number for number in tables if number != tables[0]]
    try:
        steps = [[max(1, step) for step in image.quantization[number]] for number in (*tables[:1], *others[:1])]
    except KeyError:  # a table that the file does not hold: it cannot be decoded either
        return None
    return estimate_jpeg_quality(*steps) if steps else None


def _lies_on_its_side(image: ImageFile.ImageFile) -> bool:
    """Tell whether the EXIF orientation swaps width and height."""
    try:  # not image.getexif(), which decodes a PNG to find what follows its pixels
        return Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    except Exception:  # damaged metadata: shown as stored, as load_image does
        return False
