"""What happens to pictures on their way: corruptions by name and level, ``"jpeg=50"`` or ``"resize=0.5+jpeg=70"``.

`parse_condition` turns such a text into a `Corruption`. Steps are done from left to right:

* ``raw``: nothing at all; stands alone.
* ``aligned``: `cinemae.pictures.alignment.align_picture`, the same size and codec for every picture.
* ``jpeg=Q``: one JPEG round trip, 4:2:0 chroma. ``webp=Q``: one lossy WebP round trip. Q from 1 to 100.
* ``noise=S``: Gaussian noise, drawn for every pixel and channel, of standard deviation S in 8-bit levels, then rounded
  and clipped to 0..255. Papers that scale pixels to [0, 1] call ``S / 255`` sigma: 10 is 0.039, their 0.1 is 25.5.
* ``blur=R``: Gaussian blur of standard deviation R pixels, as Pillow approximates it by three box blurs.
* ``resize=F``: both sides times F, antialiased bicubic, not scaled back up.
* ``crop=F``: a rectangle at a random place with F of each side.
* ``grayscale``: luma ``0.299 R + 0.587 G + 0.114 B`` in all three channels.
* ``screenshot=N``: see `_screenshot`; 1 is kept as PNG, 2 is then sent as a JPEG. ``screenshot`` is ``screenshot=1``.
* ``social=N``: see `_social`; shared N times, 1 to 5. ``social`` is ``social=1``.

Sides are rounded to the nearest pixel and never fall below 1. What is random follows from the seed, the picture's hash
and the step's place in the chain: neither order nor number of pictures moves it, and the levels of one corruption share
their draws, so ``noise=20`` adds twice what ``noise=10`` adds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from PIL import Image, ImageFilter

from cinemae.errors import ImageError
from cinemae.pictures.alignment import AlignConfig, align_picture
from cinemae.pictures.codecs import through_codec
from cinemae.settings import require

STANDARD_GRID: Final[dict[str, tuple[str, ...]]] = {
    "jpeg": ("jpeg=95", "jpeg=90", "jpeg=75", "jpeg=50", "jpeg=30"),
    "webp": ("webp=90", "webp=75", "webp=50", "webp=30"),
    "noise": ("noise=2", "noise=5", "noise=10", "noise=20"),
    "blur": ("blur=0.5", "blur=1", "blur=2", "blur=3"),
    "resize": ("resize=0.9", "resize=0.75", "resize=0.6", "resize=0.5", "resize=0.25"),
    "crop": ("crop=0.9", "crop=0.75", "crop=0.5"),
    "grayscale": ("grayscale",),
    "screenshot": ("screenshot=1", "screenshot=2"),
    "social": ("social=1", "social=2"),
}
"""Conditions of a robustness run: each family from mild to strong."""

SCREEN_SIDE = 1920
"""Longest side in pixels at which a screenshot shows a picture."""

SOCIAL_SIDES = (1080, 1280, 1600, 2048)
"""Longest sides that social networks and messengers keep of a picture."""

_BACKGROUNDS = ((255, 255, 255), (240, 240, 240), (18, 18, 18))
_NOISE_ROWS = 256


@dataclass(frozen=True)
class Step:
    """One part of a condition.

    Attributes:
        family: Its name, as ``"jpeg"``.
        level: As in ``jpeg=50``; None for what has no levels.
    """

    family: str
    level: float | None

    @property
    def name(self) -> str:
        """The step as text."""
        return self.family if self.level is None else f"{self.family}={str(self.level).removesuffix('.0')}"


@dataclass(frozen=True)
class Corruption:
    """A parsed condition, see `parse_condition`.

    Attributes:
        steps: In order; none for ``raw``.
        align: What ``aligned`` means.
    """

    steps: tuple[Step, ...]
    align: AlignConfig = field(default_factory=AlignConfig)

    @property
    def name(self) -> str:
        """The condition in its one canonical spelling: ``blur=1.0`` is ``blur=1``, ``social`` is ``social=1``."""
        return "+".join(step.name for step in self.steps) or "raw"

    def apply(self, image: Image.Image, content_hash: str, seed: int = 0) -> Image.Image:
        """Return the corrupted picture; the one given is not changed.

        Args:
            image: RGB, as in `cinemae.pictures.image.LoadedImage.image`, any size from 1x1.
            content_hash: Of the same `LoadedImage`.
            seed: Of what is random, not negative.

        Returns:
            RGB, at least 1x1.

        Raises:
            ImageError: If the image is not RGB, has no pixels, or is too large for a codec.
            ConfigError: If the seed is negative.
        """
        if image.mode != "RGB" or min(image.size) < 1:
            raise ImageError(
                f"a corruption needs an RGB image of at least 1x1 pixels, got mode {image.mode}, "
                f"{image.width}x{image.height}: pass it through load_image first."
            )
        require(seed >= 0, f"the seed of a corruption must not be negative, got {seed}.")
        picture = int.from_bytes(hashlib.sha256(content_hash.encode()).digest()[:8], "big")
        for place, step in enumerate(self.steps):
            context = _StepContext(np.random.default_rng([seed, picture, place]), self.align)
            image = _FAMILIES[step.family].change(image, step.level or 0.0, context)
        return image


def parse_condition(text: str, *, align: AlignConfig | None = None) -> Corruption:
    """Read a condition: ``"raw"``, or steps as this module lists them, joined by ``+``.

    Args:
        text: As ``"aligned+jpeg=50"``.
        align: What ``aligned`` means; None for the defaults.

    Raises:
        ConfigError: If a name is unknown, or a level missing, superfluous or out of its range.

    Example:
        >>> condition = parse_condition("resize=0.50+jpeg=70")
        >>> condition.name
        'resize=0.5+jpeg=70'
        >>> condition.apply(Image.new("RGB", (300, 200)), content_hash="0f").size
        (150, 100)
        >>> parse_condition("jpeg=101")
        Traceback (most recent call last):
        ...
        cinemae.errors.ConfigError: jpeg takes a whole number from 1 to 100, as in jpeg=50, got 'jpeg=101'.
    """
    align = align or AlignConfig()
    if text.strip() == "raw":
        return Corruption((), align)
    return Corruption(tuple(_parse_step(part.strip(), text) for part in text.split("+")), align)


def _parse_step(part: str, text: str) -> Step:
    name, equals, level_text = part.partition("=")
    known = ", ".join(["raw", *_FAMILIES])
    whole = "" if part == text.strip() else f" in {text!r}"
    require(name != "raw", f"raw stands alone, got it{whole}: leave it out of the chain.")
    require(
        name in _FAMILIES,
        f"a condition is one of {known}, or a chain of them as in resize=0.5+jpeg=70, got {part!r}{whole}: choose one.",
    )
    family = _FAMILIES[name]
    if family.levels is None:
        require(not equals, f"{name} has no levels, got {part!r}{whole}: write {name}.")
        return Step(name, None)
    levels = family.levels
    if not equals and levels.default is not None:
        return Step(name, levels.default)
    number = re.fullmatch(r"[0-9]+" if levels.whole else r"[0-9]+(\.[0-9]+)?", level_text)
    require(
        number is not None and levels.low <= float(level_text) <= levels.high,
        f"{name} takes a {'whole ' if levels.whole else ''}number from {levels.low:g} to {levels.high:g}, as in "
        f"{name}={levels.example:g}, got {part!r}{whole}.",
    )
    return Step(name, float(level_text))


@dataclass(frozen=True)
class _StepContext:
    """What a step may need beside picture and level."""

    rng: np.random.Generator
    align: AlignConfig


def _scaled(image: Image.Image, factor: float, filter: Image.Resampling) -> Image.Image:
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, filter)


def _aligned(image: Image.Image, level: float, context: _StepContext) -> Image.Image:
    return align_picture(image, context.align)


def _jpeg(image: Image.Image, level: float, context: _StepContext) -> Image.Image:
    return through_codec(image, "JPEG", int(level))


def _webp(image: Image.Image, level: float, context: _StepContext) -> Image.Image:
    return through_codec(image, "WEBP", int(level))


def _noise(image: Image.Image, level: float, context: _StepContext) -> Image.Image:
    pixels = np.array(image)
    for top in range(0, image.height, _NOISE_ROWS):  # the largest pictures would need gigabytes at once
        rows = pixels[top : top + _NOISE_ROWS]
        noisy = rows + np.float32(level) * context.rng.standard_normal(rows.shape, np.float32)
        rows[:] = np.rint(noisy).clip(0, 255)
    return Image.fromarray(pixels)


def _blur(image: Image.Image, level: float, context: _StepContext) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(level))


def _resize(image: Image.Image, level: float, context: _StepContext) -> Image.Image:
    return _scaled(image, level, Image.Resampling.BICUBIC)


def _crop(image: Image.Image, level: float, context: _StepContext) -> Image.Image:
    width, height = max(1, round(image.width * level)), max(1, round(image.height * level))
    across, down = context.rng.random(2)  # shares of the free room, so that every level crops at the same place
    left, top = round(across * (image.width - width)), round(down * (image.height - height))
    return image.crop((left, top, left + width, top + height))


def _grayscale(image: Image.Image, level: float, context: _StepContext) -> Image.Image:
    return image.convert("L").convert("RGB")


def _screenshot(image: Image.Image, level: float, context: _StepContext) -> Image.Image:
    """Show a picture on a screen and cut it out again by hand; a likeness, the numbers are ours.

    1. Scaled by a factor drawn from 0.75 to 1.5 (a window's width, a display's pixel ratio, zoom), bilinear as graphics
       processors do and antialiased, but to at most `SCREEN_SIDE` pixels on the longer side.
    2. Cut out imprecisely: at each of the four edges between 3 % of the side are lost and 3 % of window are added, all
       of one colour, white, light grey (240) or near black (18).
    3. Level 1: saved as PNG, which loses nothing. Level 2: the same, then a JPEG, 4:2:0, of a quality from 80 to 95.
    """
    rng = context.rng
    factor = min(rng.uniform(0.75, 1.5), SCREEN_SIDE / max(image.size))
    shown = _scaled(image, factor, Image.Resampling.BILINEAR)
    shares = rng.uniform(-0.03, 0.03, 4)
    left, top, right, bottom = (round(share * side) for share, side in zip(shares, shown.size * 2, strict=True))
    background = _BACKGROUNDS[rng.integers(len(_BACKGROUNDS))]
    cut = Image.new("RGB", (shown.width + left + right, shown.height + top + bottom), background)
    cut.paste(shown, (left, top))
    quality = int(rng.integers(80, 96))
    return cut if level < 2 else through_codec(cut, "JPEG", quality)


def _social(image: Image.Image, level: float, context: _StepContext) -> Image.Image:
    """Upload a picture and save it again, `level` times; a likeness, networks change their ways and publish none.

    1. Scaled by a factor drawn from 0.75 to 1 (feeds serve smaller copies), Lanczos, and to at most one of
       `SOCIAL_SIDES`, drawn, on the longer side.
    2. Saved as JPEG, 4:2:0, of a quality from 70 to 85; metadata is lost.

    ``social=2`` shares once more what ``social=1`` gives.
    """
    rng = context.rng
    for _ in range(int(level)):
        limit = SOCIAL_SIDES[rng.integers(len(SOCIAL_SIDES))]
        factor = min(rng.uniform(0.75, 1), limit / max(image.size))
        image = _scaled(image, factor, Image.Resampling.LANCZOS)
        image = through_codec(image, "JPEG", int(rng.integers(70, 86)))
    return image


@dataclass(frozen=True)
class _Levels:
    low: float
    high: float
    example: float
    whole: bool = False
    default: float | None = None


@dataclass(frozen=True)
class _Family:
    levels: _Levels | None
    change: Callable[[Image.Image, float, _StepContext], Image.Image]


_FAMILIES: Final[dict[str, _Family]] = {
    "aligned": _Family(None, _aligned),
    "jpeg": _Family(_Levels(1, 100, 50, whole=True), _jpeg),
    "webp": _Family(_Levels(1, 100, 50, whole=True), _webp),
    "noise": _Family(_Levels(0.01, 255, 10), _noise),
    "blur": _Family(_Levels(0.01, 100, 1), _blur),
    "resize": _Family(_Levels(0.01, 1, 0.5), _resize),
    "crop": _Family(_Levels(0.01, 1, 0.8), _crop),
    "grayscale": _Family(None, _grayscale),
    "screenshot": _Family(_Levels(1, 2, 2, whole=True, default=1), _screenshot),
    "social": _Family(_Levels(1, 5, 2, whole=True, default=1), _social),
}
