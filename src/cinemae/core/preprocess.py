"""Sec. 5, the second step: upright RGB picture -> `pixel_values`, the backbone's input (decision 0004)."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from cinemae.config import ImageConfig
from cinemae.errors import ImageError

_MAX_STRETCH_SIDE = 32_768


def preprocess(image: Image.Image, config: ImageConfig) -> NDArray[np.float32]:
    """Scale, crop and normalise a picture: ``(x / 255 - mean) / std`` for each channel.

    Resampling is Pillow's bicubic, antialiased, and never happens where the size is right already.

    * ``resize="shortest_edge"``: the centre square whose side is the shorter side s, with its left edge at
      ``(W - s) // 2`` and its top edge at ``(H - s) // 2``, is scaled to ``resize_to``: scaling and then cropping in
      one step, so a panorama costs no more than a square. From it the centre ``size`` is cut.
    * ``resize="stretch"``: both sides are scaled to ``size`` (to ``resize_to`` with several views). Sides of 65,536
      and more are first averaged over blocks of ``side // 32_768`` pixels, which bounds memory.
    * ``jpeg_quality``: the square goes through one JPEG round trip with 4:2:0 chroma, so that every picture reaches the
      model by the same last step, however it was delivered.
    * ``views="five"``: centre, top left, top right, bottom left, bottom right crops of ``size`` from the square.
    * ``views="whole_native"``: `whole_view` and `native_view` of the picture, and no other square.
    * ``views="tiles"``: the square cut into tiles of ``size`` without overlap, row by row; ``views="checkered"``: every
      second of these, as the squares of one colour on a chessboard, the top left among them.

    The centre crop starts at ``(square - size) // 2``, rounding towards the top left.

    Args:
        image: RGB, any size from 1x1, as in `LoadedImage.image`.
        config: The sizes, in pixels, and the mean and standard deviation of each channel.

    Returns:
        `pixel_values`, ``(V, 3, size, size)`` with ``V = config.num_views``.

    Raises:
        ImageError: If the image is not RGB or has no pixels.

    Example:
        >>> pixel_values = preprocess(Image.new("RGB", (300, 400), "white"), ImageConfig(mean=(0, 0, 0), std=(1, 1, 1)))
        >>> pixel_values.shape, float(pixel_values.min())
        ((1, 3, 224, 224), 1.0)
    """
    if image.mode != "RGB" or min(image.size) < 1:
        raise ImageError(
            f"preprocess needs an RGB image of at least 1x1 pixels, got mode {image.mode}, {image.width}x{image.height}"
            ": pass it through load_image first."
        )
    if config.views == "whole_native":
        views = np.stack([whole_view(image, config.size), native_view(image, config.size)])
    else:
        square = np.asarray(_square(image, config))
        views = np.stack(
            [square[top : top + config.size, left : left + config.size] for top, left in _corners(config, len(square))]
        )
    scaled = views.astype(np.float32) / np.float32(255)
    normalised = (scaled - np.array(config.mean, np.float32)) / np.array(config.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def whole_view(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return the whole picture squashed to a square, (size, size, 3).

    Pillow's bicubic, after means over blocks down to three times the size: that bounds time and memory for any shape.

    Args:
        image: RGB.
        size: Of the view, in pixels.
    """
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3))


def native_view(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return the pixels of a picture's centre as they are, (size, size, 3); a smaller one is mirrored at its edges.

    The crop starts at ``(side - size) // 2``; what a picture lacks is added on the right and below.

    Args:
        image: RGB.
        size: Of the view, in pixels.

    Example:
        >>> native_view(Image.fromarray(np.array([[[1] * 3, [2] * 3]], np.uint8)), 3)[..., 0].tolist()
        [[1, 2, 2], [1, 2, 2], [1, 2, 2]]
    """
    left, top = ((max(0, side - size)) // 2 for side in image.size)
    pixels = np.asarray(image.crop((left, top, min(left + size, image.width), min(top + size, image.height))))
    missing = [(0, size - side) for side in pixels.shape[:2]]
    return np.pad(pixels, (*missing, (0, 0)), mode="symmetric")


def looked_at(image: Image.Image, config: ImageConfig) -> Image.Image:
    """Return the part of a picture that the views cover, as 8-bit pixels: the centre crop, or with several the square.

    Args:
        image: RGB, any size from 1x1.
        config: As for `preprocess`.

    Example:
        >>> looked_at(Image.new("RGB", (300, 400)), ImageConfig()).size
        (224, 224)
    """
    if config.views == "whole_native":
        return Image.fromarray(whole_view(image, config.size))
    square = _square(image, config)
    if config.views != "center":
        return square
    left = top = (square.width - config.size) // 2
    return square.crop((left, top, left + config.size, top + config.size))


@dataclass(frozen=True)
class Examined:
    """What share of a picture's area the views cover.

    Attributes:
        share: Looked at at any size, 0 to 1.
        side: Pixels of the square that the picture, or its centre square, was scaled to.
        native: Looked at at full resolution, 0 to 1.
    """

    share: float
    side: int
    native: float

    @property
    def sentence(self) -> str:
        """Say it to people.

        Example:
            >>> Examined(1.0, 224, 0.0625).sentence
            'Looked at: the whole picture at 224 px, and 6 % of it at full resolution.'
        """
        part = "the whole picture" if self.share > 0.995 else f"{_percent(self.share)} of the picture"
        if self.native >= self.share:
            return f"Looked at: {part} at full resolution."
        beside = f", and {_percent(self.native)} of it at full resolution" if self.native else ""
        return f"Looked at: {part} at {self.side} px{beside}."


def share_examined(width: int, height: int, config: ImageConfig) -> Examined:
    """Return what share of a picture's area is looked at.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        config: As for `preprocess`.

    Example:
        >>> share_examined(448, 896, ImageConfig(views="whole_native"))
        Examined(share=1.0, side=224, native=0.125)
        >>> share_examined(512, 1024, ImageConfig(resize_to=448))
        Examined(share=0.125, side=448, native=0.0)
    """
    side, area = config.square_side, width * height
    if config.views == "whole_native":
        return Examined(1.0, side, min(width, side) * min(height, side) / area)
    seen = np.zeros((side, side), np.bool_)
    for top, left in _corners(config, side):
        seen[top : top + config.size, left : left + config.size] = True
    short, long = sorted((width, height))
    share = float(seen.mean()) * (1.0 if config.whole else short * short / area)
    return Examined(share, side, share if (long if config.whole else short) <= side else 0.0)


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %") if share >= 0.005 else "less than 1 %"


def _corners(config: ImageConfig, side: int) -> list[tuple[int, int]]:
    """Return top and left of each crop from a square of so many pixels."""
    if config.tiled:
        return [(row * config.size, column * config.size) for row, column in config.tile_places]
    far = side - config.size
    return [(far // 2, far // 2), (0, 0), (0, far), (far, 0), (far, far)][: config.num_views]


def _square(image: Image.Image, config: ImageConfig) -> Image.Image:
    """Return the square that the views are cut from, as it is looked at."""
    return _recompress(_scale_to_square(image, config), config.jpeg_quality)


def _scale_to_square(image: Image.Image, config: ImageConfig) -> Image.Image:
    """Return that square before any recompression."""
    width, height = image.size
    side = config.square_side
    if config.whole:
        factor = (max(1, width // _MAX_STRETCH_SIDE), max(1, height // _MAX_STRETCH_SIDE))
        return (image.reduce(factor) if factor != (1, 1) else image).resize((side, side), Image.Resampling.BICUBIC)
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    box = (left, top, left + short, top + short)
    return image.crop(box) if short == side else image.resize((side, side), Image.Resampling.BICUBIC, box=box)


def _recompress(image: Image.Image, quality: int | None) -> Image.Image:
    """Return the picture after one JPEG round trip, or as it is."""
    if quality is None:
        return image
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    buffer.seek(0)
    return JpegImagePlugin.JpegImageFile(buffer)
