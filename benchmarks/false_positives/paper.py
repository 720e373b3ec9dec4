"""What happens on paper: halftone prints, old prints, scanned pages."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.false_positives.pixels import (
    Pixels,
    blurred,
    luma,
    scaled,
    smoothstep,
    to_image,
    to_pixels,
)

_INKS = ((15, (1.0, 0.32, 0.07)), (75, (0.08, 1.0, 0.45)), (0, (0.02, 0.08, 1.0)), (45, (0.92, 0.92, 0.92)))
"""Cyan, magenta, yellow, black: the angle of the screen in degrees and the light of each channel that the ink takes."""

_TEXT = (
    "Minutes of the meeting of the harbour board. Present were nine members; the chair opened at ten. The repair of "
    "the northern pier is to be finished before winter. Two offers had come in, and the lower one was taken. The fog "
    "signal will be tested on the first Tuesday of each month. There was no other business."
)


def halftone(image: Image.Image, rng: np.random.Generator, *, cell: float, width: int) -> Image.Image:
    """A colour magazine, scanned: four inks in dots at four angles, on paper that is not quite white."""
    pixels = to_pixels(scaled(image.convert("RGB"), width * 2))
    black = 0.7 * (1 - pixels.max(axis=-1))
    amounts = [*np.moveaxis(1 - pixels - black[..., None], -1, 0), black]
    paper = np.broadcast_to(np.array([0.97, 0.95, 0.90], np.float32), pixels.shape)
    for amount, (angle, takes) in zip(amounts, _INKS, strict=True):
        dots = _dots(np.clip(amount, 0, 1), angle, cell)
        paper = paper * (1 - dots[..., None] * np.array(takes, np.float32))
    return _scan(paper, rng, width)


def newspaper(image: Image.Image, rng: np.random.Generator, *, cell: float, width: int) -> Image.Image:
    """One ink in coarse dots on grey paper, scanned."""
    grey = luma(to_pixels(scaled(image.convert("RGB"), width * 2)))
    dots = _dots(np.clip(1.05 - smoothstep(grey, -0.1, 1.0), 0, 1), 45, cell)
    paper = np.array([0.86, 0.84, 0.79], np.float32) * (1 - 0.85 * dots[..., None])
    return _scan(paper, rng, width)


def _dots(amount: Pixels, angle: float, cell: float) -> Pixels:
    """Return where ink lies, (H, W): dots whose area grows with the amount."""
    y, x = np.mgrid[0 : amount.shape[0], 0 : amount.shape[1]].astype(np.float32)
    turned = np.deg2rad(angle)
    along, across = x * np.cos(turned) + y * np.sin(turned), y * np.cos(turned) - x * np.sin(turned)
    wave = 0.5 + 0.25 * (np.cos(2 * np.pi * along / cell) + np.cos(2 * np.pi * across / cell))
    return smoothstep(amount - (1 - wave), -0.06, 0.06)


def _scan(paper: Pixels, rng: np.random.Generator, width: int) -> Image.Image:
    fibres = blurred(rng.normal(0, 1, paper.shape[:2]).astype(np.float32), 1.5)
    seen = blurred(np.asarray(paper, np.float32), 0.9) + 0.03 * fibres[..., None]
    return scaled(to_image(seen), width)


def faded(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A colour print of the seventies: dyes faded unevenly, grain, scratches, dust, a white border, scanned askew."""
    pixels = to_pixels(image)
    pixels = np.array([0.22, 0.17, 0.12], np.float32) + pixels * np.array([0.74, 0.66, 0.55], np.float32)
    grain = blurred(rng.normal(0, 1, pixels.shape).astype(np.float32), 0.9)
    print_ = to_image(pixels + 0.035 * grain)
    draw = ImageDraw.Draw(print_)
    for _ in range(7):
        x, y = rng.uniform(0, print_.width), rng.uniform(0, print_.height)
        draw.line((x, y, x + rng.normal(0, 12), y + rng.uniform(20, 180)), fill=(236, 226, 208), width=1)
    for _ in range(40):
        x, y, r = rng.uniform(0, print_.width), rng.uniform(0, print_.height), rng.uniform(0.5, 1.8)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(240, 232, 215) if rng.random() < 0.7 else (60, 48, 40))
    sheet = Image.new("RGB", (print_.width + 44, print_.height + 44), (238, 230, 212))
    sheet.paste(print_, (22, 22))
    turn = float(rng.uniform(-1.2, 1.2))
    return sheet.rotate(turn, Image.Resampling.BICUBIC, fillcolor=(205, 205, 203))


def scanned_page(image: Image.Image | None, rng: np.random.Generator, *, width: int) -> Image.Image:
    """A typed page, with the picture on it if there is one, photographed by hand in uneven light."""
    page = Image.new("RGB", (800, 1000), (246, 244, 238))
    draw = ImageDraw.Draw(page)
    draw.text((80, 70), "Harbour board", fill=(25, 25, 30), font=ImageFont.load_default(32))
    top = 140
    if image is not None:
        shown = scaled(image.convert("RGB"), 400)
        page.paste(shown.convert("L"), (200, top))
        top += shown.height + 30
    font, words, at = ImageFont.load_default(20), _TEXT.split(), int(rng.integers(20))
    while top < 900:
        line = ""
        while draw.textlength(f"{line} {words[at % len(words)]}", font) < 640:
            line, at = f"{line} {words[at % len(words)]}".strip(), at + 1
        draw.text((80, top), line, fill=(25, 25, 30), font=font)
        top += 30
    page = page.rotate(float(rng.uniform(-2.5, 2.5)), Image.Resampling.BICUBIC, fillcolor=(120, 105, 90))
    pixels = to_pixels(scaled(page, width))
    height = pixels.shape[0]
    light = (
        np.linspace(*rng.uniform(0.68, 1.0, 2), width)[None, :]
        * np.linspace(*rng.uniform(0.8, 1.0, 2), height)[:, None]
    )
    noisy = blurred(pixels, 0.6) * light[..., None] + rng.normal(0, 0.012, pixels.shape)
    return to_image(noisy.astype(np.float32))
