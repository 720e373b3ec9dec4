"""Sec. 5, the second step: upright RGB picture -> `pixel_values`, the backbone's input (decision 0004)."""

from __future__ import annotations

import io

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
    size = config.size
    square = np.asarray(_square(image, config))
    far = square.shape[0] - size
    if config.tiled:
        corners = [(row * size, column * size) for row, column in config.tile_places]
    else:
        corners = [(far // 2, far // 2), (0, 0), (0, far), (far, 0), (far, far)][: config.num_views]
    views = np.stack([square[top : top + size, left : left + size] for top, left in corners])
    scaled = views.astype(np.float32) / np.float32(255)
    normalised = (scaled - np.array(config.mean, np.float32)) / np.array(config.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def looked_at(image: Image.Image, config: ImageConfig) -> Image.Image:
    """Return the part of a picture that the views cover, as 8-bit pixels: the centre crop, or with several the square.

    Args:
        image: RGB, any size from 1x1.
        config: As for `preprocess`.

    Example:
        >>> looked_at(Image.new("RGB", (300, 400)), ImageConfig()).size
        (224, 224)
    """
    square = _square(image, config)
    if config.views != "center":
        return square
    left = top = (square.width - config.size) // 2
    return square.crop((left, top, left + config.size, top + config.size))


def _square(image: Image.Image, config: ImageConfig) -> Image.Image:
    """Return the square that the views are cut from, as it is looked at."""
    return _recompress(_scale_to_square(image, config), config.jpeg_quality)


def _scale_to_square(image: Image.Image, config: ImageConfig) -> Image.Image:
    """Return that square before any recompression."""
    width, height = image.size
    if config.resize == "stretch":
        side = config.size if config.views == "center" else config.resize_to
        factor = (max(1, width // _MAX_STRETCH_SIDE), max(1, height // _MAX_STRETCH_SIDE))
        return (image.reduce(factor) if factor != (1, 1) else image).resize((side, side), Image.Resampling.BICUBIC)
    short, side = min(width, height), config.resize_to
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
