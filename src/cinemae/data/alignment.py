"""Both classes through the same crop, size and codec, so that neither can be told by how its files were made.

After Grommelt et al. (arXiv 2403.17608): in GenImage photographs are JPEGs of many sizes and fakes PNGs of a few, and a
detector may learn that instead. They save all pictures as JPEGs of quality 96 and compare pictures of like size.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from cinemae.data.codecs import through_codec
from cinemae.settings import Settings, require


@dataclass(frozen=True)
class AlignConfig(Settings):
    """Side of the square in pixels, and the quality of the JPEG (4:2:0) that it goes through last."""

    size: int = 256
    jpeg_quality: int = 96

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.size <= 16_384, f"size must be from 1 to 16384 pixels, got {self.size}.")
        require(1 <= self.jpeg_quality <= 100, f"jpeg_quality must be from 1 to 100, got {self.jpeg_quality}.")


def align_picture(image: Image.Image, config: AlignConfig) -> Image.Image:
    """Return the centre square, scaled to one size by Pillow's antialiased bicubic, after one JPEG round trip.

    The square's side is the shorter side s; it begins at ``((W - s) // 2, (H - s) // 2)``. Container, size, aspect
    ratio and the last codec are then the same for every picture. What stays: traces of an earlier JPEG, and of the
    factor by which the picture was scaled here (none, if s is `size` already), in so far as quality 96 keeps them.

    Args:
        image: RGB, any size from 1x1.
        config: Size and quality.

    Returns:
        RGB, ``size`` x ``size``.

    Example:
        >>> align_picture(Image.new("RGB", (300, 200)), AlignConfig()).size
        (256, 256)
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    scaled = square.resize((config.size, config.size), Image.Resampling.BICUBIC)
    return through_codec(scaled, "JPEG", config.jpeg_quality)
