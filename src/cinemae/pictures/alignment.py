"""Both classes through the same crop, size and codec, so that neither can be told by how its files were made.

After Grommelt et al. (arXiv 2403.17608): in GenImage photographs are JPEGs of many sizes and fakes PNGs of a few, and a
detector may learn that instead. They compare pictures of like size that went through one JPEG of quality 96 each.
`align_picture` forces any picture into that form; `window_picture` keeps, as they do, only those that need no scaling
and no second JPEG.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from cinemae.pictures.codecs import encode, through_codec
from cinemae.pictures.file_facts import FileFacts
from cinemae.settings import Settings, require

LOSSLESS_CONTAINERS = ("BMP", "PNG", "PPM")
"""Containers whose pixels no codec has altered since they were written."""

_JPEG_UNIT = 16  # pixels; the side of a 4:2:0 unit, so that a cut at its multiples keeps the 8x8 grid where it was


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
    return through_codec(_scaled_square(image, config.size), "JPEG", config.jpeg_quality)


def align_to_file(image: Image.Image, config: AlignConfig) -> bytes:
    """Return the JPEG file that `align_picture` gives the pixels of.

    Args:
        image: RGB, any size from 1x1.
        config: Size and quality.
    """
    return encode(_scaled_square(image, config.size), "JPEG", config.jpeg_quality)


def _scaled_square(image: Image.Image, size: int) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class WindowConfig(Settings):
    """The sides allowed, in pixels, and the quality of the one JPEG that every picture went through."""

    min_side: int = 450
    max_side: int = 550
    jpeg_quality: int = 96

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            1 <= self.min_side <= self.max_side <= 65_500,
            f"sides must be from 1 to 65500 pixels, the lower one first, got {self.min_side} to {self.max_side}.",
        )
        require(1 <= self.jpeg_quality <= 100, f"jpeg_quality must be from 1 to 100, got {self.jpeg_quality}.")


def why_left_out(facts: FileFacts, config: WindowConfig) -> str | None:
    """Say why a picture has no place in the window; None if it has.

    The rule is the same for both classes: both sides within the window, and either a JPEG of the wanted quality or a
    lossless file, which `window_picture` makes one. Grommelt et al. choose photographs so (ImageNet's are JPEGs, most
    of quality 96) and compress the fakes (PNGs).

    Args:
        facts: Of the file.
        config: The window.

    Example:
        >>> why_left_out(FileFacts("JPEG", 500, 480, 9_000, 85), WindowConfig())
        'JPEG quality 85, not 96'
        >>> why_left_out(FileFacts("PNG", 512, 512, 9_000, None), WindowConfig())
    """
    if min(facts.width, facts.height) < config.min_side:
        return f"a side below {config.min_side} pixels"
    if max(facts.width, facts.height) > config.max_side:
        return f"a side above {config.max_side} pixels"
    if facts.container == "JPEG":
        if facts.jpeg_quality == config.jpeg_quality:
            return None
        return f"JPEG quality {facts.jpeg_quality or 'unknown'}, not {config.jpeg_quality}"
    return None if facts.container in LOSSLESS_CONTAINERS else f"{facts.container}, neither JPEG nor lossless"


def window_picture(image: Image.Image, facts: FileFacts, config: WindowConfig) -> Image.Image:
    """Return the centre square of the window's lower side, after exactly one JPEG of the wanted quality.

    A lossless picture makes one round trip first; a JPEG has made its own. The square begins at
    ``(W - s) // 2 // 16 * 16`` and the same for H, so that the grid of 8x8 blocks starts in its corner in both classes;
    the paper cuts at the exact centre. Save it without loss: a second JPEG would be another trace.

    Args:
        image: RGB, what `facts` were read of.
        facts: For which `why_left_out` has no objection.
        config: The window.

    Returns:
        RGB, ``min_side`` x ``min_side``.

    Example:
        >>> window_picture(Image.new("RGB", (500, 470)), FileFacts("PNG", 500, 470, 99, None), WindowConfig()).size
        (450, 450)
    """
    if facts.container in LOSSLESS_CONTAINERS:
        image = through_codec(image, "JPEG", config.jpeg_quality)
    side = config.min_side
    left, top = ((length - side) // 2 // _JPEG_UNIT * _JPEG_UNIT for length in image.size)
    return image.crop((left, top, left + side, top + side))
