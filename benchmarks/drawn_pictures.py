"""Pictures that are neither photographs nor what image generators are asked for, drawn in code from a seed."""

from __future__ import annotations

import io
import string
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

SIDE = 256


def white_noise(rng: np.random.Generator) -> Image.Image:
    """Every value at random."""
    return Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8))


def grey_noise(rng: np.random.Generator) -> Image.Image:
    """Mid-grey with Gaussian noise, weak or strong."""
    noise = rng.normal(0, rng.uniform(5, 60), (SIDE, SIDE, 3))
    return Image.fromarray((128 + noise).clip(0, 255).astype(np.uint8))


def one_colour(rng: np.random.Generator) -> Image.Image:
    """Nothing but one colour."""
    return Image.new("RGB", (SIDE, SIDE), _colour(rng))


def gradient(rng: np.random.Generator) -> Image.Image:
    """From one colour to another, in one of four directions."""
    begin, end = rng.integers(0, 256, (2, 3))
    ramp = begin + (end - begin) * np.linspace(0, 1, SIDE)[:, None, None]
    whole = np.broadcast_to(ramp, (SIDE, SIDE, 3)).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(np.rot90(whole, rng.integers(4))))


def chequerboard(rng: np.random.Generator) -> Image.Image:
    """Squares of two colours."""
    first, second = rng.integers(0, 256, (2, 3))
    odd = (np.indices((SIDE, SIDE)) // rng.integers(2, 32)).sum(0) % 2
    return Image.fromarray(np.where(odd[..., None], first, second).astype(np.uint8))


def flat_shapes(rng: np.random.Generator) -> Image.Image:
    """Ellipses and rectangles of one colour each, one over the other."""
    picture = Image.new("RGB", (SIDE, SIDE), _colour(rng))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(5, 30)):
        left, top = (int(value) for value in rng.integers(-40, SIDE, 2))
        width, height = (int(value) for value in rng.integers(10, 120, 2))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape([left, top, left + width, top + height], fill=_colour(rng), outline=(0, 0, 0))
    return picture


def page_of_text(rng: np.random.Generator) -> Image.Image:
    """Lines of letters, dark on white or light on black."""
    paper, ink = ((255, 255, 255), (0, 0, 0)) if rng.random() < 0.7 else ((20, 20, 20), (235, 235, 235))
    picture, size = Image.new("RGB", (SIDE, SIDE), paper), int(rng.integers(8, 22))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size)
    letters = list(string.ascii_lowercase + 5 * " ")
    for top in range(5, SIDE, int(1.3 * size)):
        draw.text((6, top), "".join(rng.choice(letters, 60)), font=font, fill=ink)
    return picture


def chart(rng: np.random.Generator) -> Image.Image:
    """A plot of lines, bars or points."""
    figure = Figure(figsize=(SIDE / 100, SIDE / 100), dpi=100)
    axes, kind = figure.subplots(), rng.integers(3)
    if kind == 0:
        axes.plot(rng.normal(size=(50, 3)).cumsum(0))
    elif kind == 1:
        axes.bar(range(8), rng.random(8))
    else:
        axes.scatter(*rng.normal(size=(2, 80)))
    axes.set_title("figure")
    data = io.BytesIO()
    figure.savefig(data)
    return Image.open(data).convert("RGB")


KINDS: dict[str, Callable[[np.random.Generator], Image.Image]] = {
    function.__name__.replace("_", " "): function
    for function in (chart, chequerboard, flat_shapes, gradient, grey_noise, one_colour, page_of_text, white_noise)
}


def draw_pictures(kind: str, count: int) -> list[Image.Image]:
    """Return `count` pictures of one of `KINDS`, the same each time."""
    return [KINDS[kind](np.random.default_rng([7, index])) for index in range(count)]


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue
