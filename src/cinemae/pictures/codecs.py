"""Pictures sent through a lossy codec in memory: what saving and opening again leaves of them."""

from __future__ import annotations

import io
from typing import Literal

from PIL import Image, JpegImagePlugin, WebPImagePlugin

from cinemae.errors import ImageError

Codec = Literal["JPEG", "WEBP"]

LONGEST_SIDE: dict[Codec, int] = {"JPEG": 65_500, "WEBP": 16_383}
"""The longest side that libjpeg and libwebp encode, in pixels."""


def through_codec(image: Image.Image, codec: Codec, quality: int) -> Image.Image:
    """Return the picture after one round trip, without metadata.

    Same pixels for the same Pillow and codec versions; other versions may differ by a level.

    Args:
        image: RGB.
        codec: "JPEG" or "WEBP".
        quality: From 1 to 100.

    Raises:
        ImageError: If a side is longer than the codec allows.

    Example:
        >>> through_codec(Image.new("RGB", (40, 30), "white"), "JPEG", 50).getpixel((0, 0))
        (255, 255, 255)
    """
    buffer = io.BytesIO(encode(image, codec, quality))
    # Not Image.open, which warns of large pictures that load_image has let pass.
    reader = JpegImagePlugin.JpegImageFile if codec == "JPEG" else WebPImagePlugin.WebPImageFile
    decoded = reader(buffer).convert("RGB")
    decoded.info = {}
    return decoded


def encode(image: Image.Image, codec: Codec, quality: int) -> bytes:
    """Return the picture as a file of one lossy codec, without metadata.

    JPEG is baseline with libjpeg's tables for `quality` and 4:2:0 chroma at every quality; WebP is lossy with Pillow's
    other settings (method 4).

    Args:
        image: RGB.
        codec: "JPEG" or "WEBP".
        quality: From 1 to 100.

    Raises:
        ImageError: If a side is longer than the codec allows.

    Example:
        >>> encode(Image.new("RGB", (40, 30)), "JPEG", 50)[:3].hex()
        'ffd8ff'
    """
    if max(image.size) > LONGEST_SIDE[codec]:
        raise ImageError(
            f"a picture sent through {codec} has sides of at most {LONGEST_SIDE[codec]:,} pixels, got "
            f"{image.width}x{image.height}: scale it down first, or leave this condition out."
        )
    buffer = io.BytesIO()
    options = {"subsampling": "4:2:0"} if codec == "JPEG" else {"method": 4}
    image.save(buffer, codec, quality=quality, exif=b"", icc_profile=None, **options)
    return buffer.getvalue()
