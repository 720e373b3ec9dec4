"""What a file says of itself before a pixel is decoded: container, size, length, and the quality of its JPEG tables.

Two classes of a data set that differ here can be told apart without looking at a picture
(`cinemae.statistics.format_probe`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from cinemae.pictures.image import open_header
from cinemae.pictures.jpeg_quality import estimate_jpeg_quality
from cinemae.pictures.picture import Picture

__all__ = ["FileFacts", "estimate_jpeg_quality", "read_facts"]


@dataclass(frozen=True)
class FileFacts:
    """Facts of one encoded picture, pixels unseen.

    Attributes:
        container: The format by the first bytes, as `cinemae.pictures.image.LoadedImage.format` ("JPEG", "PNG", ...).
        width: Of the upright picture, in pixels, by the header.
        height: The same.
        num_bytes: Length of the file.
        jpeg_quality: From 1 to 100, see `cinemae.pictures.jpeg_quality`; None for other containers.
    """

    container: str
    width: int
    height: int
    num_bytes: int
    jpeg_quality: int | None


def read_facts(source: str | os.PathLike[str] | bytes | Picture) -> FileFacts:
    """Read the facts of one picture from its header.

    Damage after the header is not seen, so a file with facts may still fail in `cinemae.pictures.image.load_image`.

    Args:
        source: A path, encoded bytes, or a `Picture` read before.

    Raises:
        ImageError: If the header cannot be read; the message is one sentence.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (40, 30)).save(file, "JPEG", quality=85)
        >>> facts = read_facts(file.getvalue())
        >>> facts.container, facts.width, facts.height, facts.jpeg_quality
        ('JPEG', 40, 30, 85)
    """
    with open_header(source) as (container, opened, num_bytes):
        return FileFacts(container, *opened.upright_size, num_bytes, opened.jpeg_quality)
