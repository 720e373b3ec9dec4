"""Pictures altered to resemble what the paper says the method fails on, and what the warnings are named for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from cinemae.pictures.codecs import through_codec
from cinemae.pictures.corruptions import parse_condition

_WORDS = (
    "the of and a to in is was he for it with as his on be at by had not are but from or have an they which one you"
)


@dataclass(frozen=True)
class Condition:
    """One way to alter a picture.

    Attributes:
        name: As `cinemae.pictures.corruptions.parse_condition` spells it, where it is one of those.
        what: In words.
        expects: The warning that should name it; None where there is none to expect.
        change: From an RGB picture and its hash to the altered picture.
    """

    name: str
    what: str
    expects: str | None
    change: Callable[[Image.Image, str], Image.Image]


def _corruption(text: str, what: str, expects: str | None) -> Condition:
    return Condition(text, what, expects, parse_condition(text).apply)


def _enlarged_again(scale: float) -> Condition:
    def change(image: Image.Image, content_hash: str) -> Image.Image:
        size = [max(1, round(side * scale)) for side in image.size]
        return image.resize(size, Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.BICUBIC)

    return Condition(f"enlarged={scale:g}", f"scaled by {scale:g} and enlarged back to its size", "upscaled", change)


def toned(image: Image.Image, content_hash: str) -> Image.Image:
    """Return the picture in sepia: brightness alone, each channel with its own curve, then a JPEG."""
    gray = np.asarray(image.convert("L"), np.float64) / 255
    sepia = np.stack([255 * gray**0.8, 240 * gray, 200 * gray**1.2], axis=-1)
    return through_codec(Image.fromarray(np.rint(sepia).astype(np.uint8)), "JPEG", 85)


def on_plain_background(image: Image.Image, content_hash: str) -> Image.Image:
    """Return the middle of the picture, an ellipse of 0.7 of each side, on one colour with a trace of sensor noise.

    The colour is the median along the picture's edge; 62 % of the area is background. Saved as JPEG of quality 92, as
    the labelled pictures are.
    """
    pixels = np.asarray(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    plain = Image.new("RGB", image.size, tuple(int(level) for level in np.median(edge, axis=0)))
    mask = Image.new("L", image.size)
    width, height = image.size
    ImageDraw.Draw(mask).ellipse((0.15 * width, 0.15 * height, 0.85 * width, 0.85 * height), fill=255)
    plain.paste(image, mask=mask.filter(ImageFilter.GaussianBlur(min(image.size) / 64)))
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(content_hash.encode()).digest()[:8], "big"))
    noisy = np.asarray(plain) + rng.normal(0, 1, (height, width, 3))
    return through_codec(Image.fromarray(np.rint(noisy).clip(0, 255).astype(np.uint8)), "JPEG", 92)


def on_page(image: Image.Image, content_hash: str) -> Image.Image:
    """Return a page of drawn text, 640x640, with the picture in it, 256 pixels wide."""
    page = Image.new("RGB", (640, 640), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    words = np.random.default_rng(int.from_bytes(hashlib.sha256(content_hash.encode()).digest()[:8], "big"))
    for top in range(16, 620, 20):
        draw.text((20, top), " ".join(words.choice(_WORDS.split(), 26)), fill=(20, 20, 20), font=font)
    page.paste(image.resize((256, 256), Image.Resampling.BICUBIC), (192, 192))
    return page


def strip(image: Image.Image, content_hash: str) -> Image.Image:
    """Return the middle third of the height, at full width."""
    third = max(1, image.height // 3)
    return image.crop((0, third, image.width, 2 * third))


CONDITIONS = (
    Condition("plain", "the middle of the picture on a uniform background", "low_texture", on_plain_background),
    _corruption("noise=10", "Gaussian noise of 10 levels", "high_texture"),
    _corruption("noise=20", "Gaussian noise of 20 levels", "high_texture"),
    _corruption("grayscale", "without colour", "grayscale"),
    Condition("toned", "in sepia, JPEG 85", "grayscale", toned),
    _corruption("resize=0.9", "scaled by 0.9", "small"),
    _corruption("resize=0.75", "scaled by 0.75", "small"),
    _corruption("resize=0.6", "scaled by 0.6", "small"),
    _corruption("resize=0.5", "scaled by 0.5", "small"),
    _corruption("resize=0.25", "scaled by 0.25", "small"),
    _corruption("crop=0.5", "half of each side cut out", "small"),
    _enlarged_again(0.6),
    _enlarged_again(0.4),
    _enlarged_again(0.2),
    _corruption("blur=2", "Gaussian blur of 2 pixels", "upscaled"),
    _corruption("jpeg=50", "JPEG 50, kept as PNG", "heavy_compression"),
    _corruption("jpeg=30", "JPEG 30, kept as PNG", "heavy_compression"),
    _corruption("jpeg=50+crop=0.9+jpeg=92", "JPEG 50, cropped, then JPEG 92", "heavy_compression"),
    _corruption("screenshot=1", "a screenshot, see `cinemae.pictures.corruptions`", "screenshot_or_text"),
    _corruption("screenshot=2", "the same, sent as a JPEG", "screenshot_or_text"),
    Condition("page", "set into a page of text", "screenshot_or_text", on_page),
    Condition("strip", "the middle third of the height", "extreme_aspect", strip),
    _corruption("social=1", "shared on a social network", None),
)
"""In the order of the page; `cinemae evaluate` calls those of `cinemae.pictures.corruptions` by the same names."""
