"""How pictures arrive: the protocol's delivery and those that training draws, each seeded by the file's SHA-256.

Generated images and photographs pass the same. What was stored without loss gets a first life as JPEG, so that
compression says nothing about the class.
"""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from PIL import Image

FIRST_JPEG: Final = 0.85
"""Share of losslessly stored pictures that are saved as JPEG before anything else."""
SCREEN: Final = 2400
POOR_SEED: Final = 10_000
"""The first seed of poor copies, beyond the numbers of all deliveries."""
NOISE: Final = (1.5, 20.0)
"""Least and most noise of a poor copy, in levels of 0 to 255; drawn evenly in its logarithm."""
FILTERS: Final = (
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.BOX,
)


def deliver(image: Image.Image, sha256: str, number: int, *, lossless: bool) -> Image.Image:
    """Return one delivery of a picture.

    Args:
        image: RGB.
        sha256: Of the file, in hex; with `number` the seed.
        number: 0 is the protocol's delivery, every other one of those for training.
        lossless: Whether the file holds its pixels exactly (PNG, lossless WebP).
    """
    rng = np.random.default_rng([number, int(sha256[:16], 16)])
    draw, quality, chroma = rng.random(), int(rng.integers(75, 97)), _chroma(rng)
    if lossless and draw < FIRST_JPEG:
        image = _jpeg(image, quality, chroma)
    return _wander(image, rng) if number else _protocol(image, rng)


def degrade(image: Image.Image, sha256: str) -> Image.Image:
    """Return a picture as poor copies of it look: perhaps cropped, gray, with noise, and saved as JPEG.

    In half of the cases a part of 0.4 to 0.9 of both sides is left, one in ten is gray, three in four have Gaussian
    noise of 1.5 to 20 levels, half of those the same in all channels, and half are saved as JPEG of quality 70 to 96.

    Args:
        image: RGB, delivered.
        sha256: Of the file, in hex: the seed.
    """
    rng = np.random.default_rng([POOR_SEED, int(sha256[:16], 16)])
    if rng.random() < 0.5:
        image = _crop(image, rng.uniform(0.4, 0.9), rng)
    if rng.random() < 0.1:
        image = image.convert("L").convert("RGB")
    if rng.random() < 0.75:
        image = _add_noise(image, float(np.exp(rng.uniform(*np.log(NOISE)))), rng)
    return _jpeg(image, int(rng.integers(70, 97)), _chroma(rng)) if rng.random() < 0.5 else image


def protocol_steps(sha256: str) -> tuple[bool, bool]:
    """Tell whether the protocol's delivery scales a picture, and whether it saves it as JPEG after that."""
    rng = np.random.default_rng([0, int(sha256[:16], 16)])
    _ = rng.random(), rng.integers(75, 97), _chroma(rng)  # of the first life, which comes before
    factor, quality, _ = _drawn_steps(rng)
    return factor is not None, quality is not None


def is_lossless(data: bytes) -> bool:
    """Tell PNG and lossless WebP by their first bytes."""
    return data.startswith(b"\x89PNG") or (data[8:12] == b"WEBP" and b"VP8L" in data[:64])


def _protocol(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    factor, quality, chroma = _drawn_steps(rng)
    if factor is not None:
        image = _scale(image, factor, Image.Resampling.BICUBIC)
    return image if quality is None else _jpeg(image, quality, chroma)


def _drawn_steps(rng: np.random.Generator) -> tuple[float | None, int | None, int]:
    """40 %: scaled by 0.5 to 0.95; 70 %: JPEG of quality 65 to 96. Return factor, quality and chroma."""
    scaled, factor = rng.random() < 0.4, rng.uniform(0.5, 0.95)
    saved, quality, chroma = rng.random() < 0.7, int(rng.integers(65, 97)), _chroma(rng)
    return factor if scaled else None, quality if saved else None, chroma


def _wander(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Perhaps made smaller, cropped, scaled, shown on a screen; saved not at all, once or twice."""
    if max(image.size) > 2600 and rng.random() < 0.5:
        image = _scale(image, rng.uniform(900, 2400) / max(image.size), _filter(rng))
    if rng.random() < 0.3:
        image = _crop(image, rng.uniform(0.5, 0.95), rng)
    if rng.random() < 0.4:
        image = _scale(image, rng.uniform(0.5, 0.95), _filter(rng))
    if rng.random() < 0.1:
        image = _screenshot(image, rng)
    draw = rng.random()
    if draw < 0.8:
        image = _save(image, rng)
    if draw < 0.25:
        if rng.random() < 0.5:
            image = _scale(image, rng.uniform(0.6, 1.0), _filter(rng))
        image = _save(image, rng)
    return image


def _crop(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    width, height = (max(1, round(side * share)) for side in image.size)
    left, top = int(rng.integers(0, image.width - width + 1)), int(rng.integers(0, image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def _add_noise(image: Image.Image, levels: float, rng: np.random.Generator) -> Image.Image:
    """Add Gaussian noise of this deviation, as often the same to all channels as to each its own."""
    channels = 1 if rng.random() < 0.5 else 3
    noise = rng.standard_normal((image.height, image.width, channels), dtype=np.float32) * levels
    return Image.fromarray((np.asarray(image) + noise).round().clip(0, 255).astype(np.uint8))


def _screenshot(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Scaled as a display does, cut out by hand: up to 3 % of the side lost at each edge."""
    image = _scale(image, min(rng.uniform(0.75, 1.5), SCREEN / max(image.size)), Image.Resampling.BILINEAR)
    left, top, right, bottom = rng.uniform(0, 0.03, 4)
    width, height = image.size
    return image.crop(
        (round(left * width), round(top * height), width - round(right * width), height - round(bottom * height))
    )


def _save(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    if rng.random() < 0.72:
        return _jpeg(image, int(rng.integers(55, 97)), _chroma(rng))
    buffer = io.BytesIO()
    quality = int(rng.integers(55, 96))
    image.save(buffer, "WEBP", quality=quality, method=2, use_sharp_yuv=bool(rng.random() < 0.3))
    return Image.open(buffer).convert("RGB")


def _jpeg(image: Image.Image, quality: int, subsampling: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(buffer).convert("RGB")


def _chroma(rng: np.random.Generator) -> int:
    """Pillow's number for 4:2:0 in three of four draws, otherwise for 4:4:4."""
    return 2 if rng.random() < 0.75 else 0


def _filter(rng: np.random.Generator) -> Image.Resampling:
    return FILTERS[int(rng.integers(len(FILTERS)))]


def _scale(image: Image.Image, factor: float, resample: Image.Resampling) -> Image.Image:
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), resample)
