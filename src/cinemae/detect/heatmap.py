"""The LCAS of every patch, drawn over the picture: how hard each part is to predict from its surroundings.

The colours are fixed: a patch's value is looked up among the patches of real photographs whose quantiles the model
carries, so two pictures can be compared. The map says nothing of what is generated, and neither does a word in it.
It lies below the detector, not in ``app``, because `Verdict.save_heatmap` calls it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cinemae.config import ImageConfig, LcasReference
from cinemae.errors import ModelDirError

MAX_SIDE = 1024
MIN_SIDE = 512
OPACITY = 0.7
LEGEND = "hard to predict from context"
SCALE = "percentile among patches of photographs"
OUTSIDE = "outside the frame: not looked at"

Box = tuple[float, float, float, float]

# Matplotlib's cividis at 0, 0.1, ..., 1: dark blue to yellow, the same to people with and without colour blindness.
_CIVIDIS = np.array(
    [
        (0, 34, 78),
        (8, 51, 112),
        (53, 69, 108),
        (79, 87, 108),
        (102, 105, 112),
        (125, 124, 120),
        (148, 142, 119),
        (174, 163, 113),
        (200, 184, 102),
        (229, 207, 82),
        (254, 232, 56),
    ],
    np.float64,
)
_INK, _PAPER, _NO_VALUE = (40, 40, 40), (255, 255, 255), (128, 128, 128)
_MARGIN, _BAR, _TEXT = 16, 16, 14


def render_heatmap(
    image: Image.Image,
    lcas_map: NDArray[np.floating],
    reference: LcasReference,
    view_box: Box,
    *,
    legend: bool = True,
) -> Image.Image:
    """Draw a map over a picture.

    Args:
        image: RGB, the whole picture.
        lcas_map: (rows, columns), nan where there is no value.
        reference: Quantiles of LCAS over photographs.
        view_box: What the map covers, see `view_box`.
        legend: Draw the colour bar below.

    Returns:
        RGB, the picture at its own aspect with a longer side of 512 to 1024 pixels, wider if the bar needs it.

    Raises:
        ModelDirError: If the reference is empty or not in order.
    """
    colours = _to_colours(lcas_levels(lcas_map, reference))
    picture = _fit(image)
    width, height = picture.size
    left, right = (round(width * x) for x in view_box[::2])
    top, bottom = (round(height * y) for y in view_box[1::2])
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    size = (right - left, bottom - top)
    whole = size == (width, height)

    scored = picture.crop((left, top, right, bottom)).convert("L").convert("RGB")
    overlay = Image.fromarray(colours).resize(size, Image.Resampling.NEAREST)
    drawn = Image.blend(picture, Image.new("RGB", picture.size, _PAPER), 0.5)
    drawn.paste(Image.blend(scored, overlay, OPACITY), (left, top))
    if not whole:
        ImageDraw.Draw(drawn).rectangle((left, top, right - 1, bottom - 1), outline=_INK, width=2)

    if not legend:
        return drawn
    bar = _draw_bar(max(width, MIN_SIDE), OUTSIDE if not whole else "")
    sheet = Image.new("RGB", (bar.width, height + bar.height), _PAPER)
    sheet.paste(drawn, ((bar.width - width) // 2, 0))
    sheet.paste(bar, (0, height))
    return sheet


def lcas_levels(lcas_map: NDArray[np.floating], reference: LcasReference) -> NDArray[np.float64]:
    """Return, for each value, the share of photographs' patches that lie below it, 0 to 1.

    Raises:
        ModelDirError: If the reference is empty or not in order.

    Example:
        >>> lcas_levels(np.array([-1.0, 0.5, 9.0]), LcasReference(levels=(0.0, 1.0), values=(0.0, 2.0))).tolist()
        [0.0, 0.25, 1.0]
    """
    levels, values = np.array(reference.levels), np.array(reference.values)
    if len(levels) < 2 or len(levels) != len(values):
        raise ModelDirError(
            "a heat map needs the reference quantiles of photographs in the model's config.json, this model has "
            f"{len(levels)} levels and {len(values)} values: train it again with photographs in the store."
        )
    if np.any(np.diff(levels) <= 0) or np.any(np.diff(values) < 0):
        raise ModelDirError("the reference quantiles in the model's config.json do not ascend: train it again.")
    return np.asarray(np.interp(lcas_map, values, levels), np.float64)


def view_box(width: int, height: int, config: ImageConfig) -> Box:
    """Return which part of a picture a map covers: the centre view of `core.preprocess`, all tiles, or all of it.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        config: The settings of `preprocess`.

    Returns:
        left, top, right, bottom as shares of width and height.

    Example:
        >>> view_box(400, 200, ImageConfig(size=224, resize_to=224))
        (0.25, 0.0, 0.75, 1.0)
    """
    side = config.square_side
    left, top, right, bottom = 0, 0, width, height
    if not config.whole:
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        right, bottom = left + short, top + short
    seen = side if config.tiled else config.size
    near = (side - seen) // 2 / side
    far = near + seen / side
    return (
        (left + near * (right - left)) / width,
        (top + near * (bottom - top)) / height,
        (left + far * (right - left)) / width,
        (top + far * (bottom - top)) / height,
    )


def shrink(image: Image.Image) -> Image.Image:
    """Return a copy whose longer side is at most `MAX_SIDE`.

    Pixels are averaged over whole blocks first, as far as that goes: quicker, and levels move by a few of 255.
    """
    scale = MAX_SIDE / max(image.size)
    if scale >= 1:
        return image.copy()
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.0)


def _fit(image: Image.Image) -> Image.Image:
    """Return a copy whose longer side lies between `MIN_SIDE` and `MAX_SIDE`."""
    small = shrink(image)
    scale = MIN_SIDE / max(small.size)
    if scale <= 1:
        return small
    return small.resize(
        (max(1, round(small.width * scale)), max(1, round(small.height * scale))), Image.Resampling.NEAREST
    )


def _to_colours(levels: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return (..., 3) uint8; grey where there is no value."""
    at = np.linspace(0, 1, len(_CIVIDIS))
    colours = np.stack([np.interp(levels, at, channel) for channel in _CIVIDIS.T], axis=-1)
    return np.where(np.isnan(levels)[..., None], _NO_VALUE, colours.round()).astype(np.uint8)


def _draw_bar(width: int, note: str) -> Image.Image:
    """Draw legend, colour bar, ticks and what they mean."""
    font = ImageFont.load_default(_TEXT)
    line = _TEXT + 6
    sheet = Image.new("RGB", (width, 3 * _MARGIN + 3 * line + _BAR + (line if note else 0)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    left, right, top = _MARGIN, width - _MARGIN, _MARGIN
    draw.text((left, top), "easy", _INK, font)
    draw.text((right, top), LEGEND, _INK, font, anchor="ra")
    top += line
    ramp = _to_colours(np.linspace(0, 1, right - left)[None])
    sheet.paste(Image.fromarray(ramp).resize((right - left, _BAR)), (left, top))
    top += _BAR
    for percent in (0, 25, 50, 75, 100):
        x = left + round((right - left - 1) * percent / 100)
        draw.line((x, top, x, top + 5), _INK)
        anchor = {0: "la", 100: "ra"}.get(percent, "ma")
        draw.text((x, top + 8), f"{percent}%", _INK, font, anchor=anchor)
    top += 8 + line
    draw.text((width / 2, top), SCALE, _INK, font, anchor="ma")
    if note:
        draw.text((width / 2, top + line), note, _INK, font, anchor="ma")
    return sheet
