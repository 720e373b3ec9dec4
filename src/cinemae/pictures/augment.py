"""Altered copies of pictures for training a head: as if each had been cropped, blurred and saved again on its way."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image, ImageFilter

from cinemae.config import AugmentConfig


def augment_picture(image: Image.Image, config: AugmentConfig, content_hash: str) -> Image.Image:
    """Return one altered copy: a square crop, perhaps mirrored, blurred and sent through JPEG, in this order.

    Photographs and fakes are altered alike. The draw follows from `config.seed` and the picture alone, so neither order
    nor number of pictures moves it.

    Args:
        image: RGB, as in `cinemae.pictures.image.LoadedImage.image`.
        config: How strongly, how often, and the seed.
        content_hash: SHA-256 of the file, in hex.

    Returns:
        RGB, a square of `min_crop` to 1 times the shorter side.

    Example:
        >>> copy = augment_picture(Image.new("RGB", (300, 200)), AugmentConfig(min_crop=0.5), "0f")
        >>> copy.width == copy.height, 100 <= copy.width <= 200
        (True, True)
    """
    picture = int.from_bytes(hashlib.sha256(content_hash.encode()).digest()[:8], "big")
    rng = np.random.default_rng([config.seed, picture])
    side = max(1, round(min(image.size) * rng.uniform(config.min_crop, 1)))
    left = int(rng.integers(0, image.width - side + 1))
    top = int(rng.integers(0, image.height - side + 1))
    image = image.crop((left, top, left + side, top + side))
    if rng.random() < config.mirror:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < config.blur:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, config.max_blur_radius)))
    if rng.random() < config.recompress:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(config.min_quality, config.max_quality + 1)))
        buffer.seek(0)
        image = Image.open(buffer).convert("RGB")
    return image
