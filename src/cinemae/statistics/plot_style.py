"""How every plot looks: colours for all eyes, a light ground, numbers in the cells."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from PIL import Image

# Okabe and Ito (2008): told apart with every kind of colour vision.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#000000", "#767676"
LINES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
_DASHES = ("-", "--", ":")
_DPI = 130
_PAGE_DPI = 110  # of the many plots of a page


class LineStyle(TypedDict):
    """What tells a line from its neighbours."""

    color: str
    ls: str


def line_style(number: int) -> LineStyle:
    """Return how to draw the line of a number from 0 up: first other colours, then other dashes.

    Example:
        >>> line_style(0), line_style(7)
        ({'color': '#0072B2', 'ls': '-'}, {'color': '#0072B2', 'ls': '--'})
    """
    rounds, place = divmod(number, len(LINES))
    return {"color": LINES[place], "ls": _DASHES[rounds % len(_DASHES)]}


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of so many inches, on white, that arranges itself."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure in the format its suffix names, the same bytes each time."""
    suffix = os.fspath(path).rsplit(".", 1)[-1].lower()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
    with rc_context({"svg.hashsalt": "cinemae"}):
        figure.savefig(path, dpi=_DPI, metadata=metadata)


def to_png(figure: Figure) -> bytes:
    """Return a figure as a PNG for a page, the same bytes each time; drawn once, where savefig draws twice."""
    figure.dpi = _PAGE_DPI
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(buffer, "PNG", dpi=(_PAGE_DPI, _PAGE_DPI))
    return buffer.getvalue()


def quiet_axes(axes: Axes) -> None:
    """Take away what carries no information: the upper and right spine; the grid is faint and behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#d9d9d9", lw=0.6)
    axes.set_axisbelow(True)


def draw_cells(
    axes: Axes,
    values: NDArray[np.float64],
    texts: Sequence[Sequence[str]],
    *,
    colours: Colormap,
    limits: tuple[float, float],
) -> AxesImage:
    """Draw a matrix of square cells with a text in each; nan is a light grey cell.

    Args:
        axes: Where.
        values: (R, C).
        texts: R rows of C texts.
        colours: From `cell_colours`.
        limits: The values at its two ends.

    Returns:
        The image, for a colour bar.
    """
    norm = Normalize(*limits)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm, aspect="equal")
    bright = colours(norm(np.ma.masked_invalid(values)))[..., :3] @ np.array([0.299, 0.587, 0.114])
    for row, cells in enumerate(texts):
        for column, text in enumerate(cells):
            ink = "black" if bright[row, column] > 0.5 else "white"
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(np.arange(-0.5, values.shape[1]), minor=True)
    axes.set_yticks(np.arange(-0.5, values.shape[0]), minor=True)
    axes.grid(which="minor", color="white", lw=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return image


def cell_colours(name: str, *, under: str | None = None) -> Colormap:
    """Return a colour map whose missing values are light grey.

    Args:
        name: Of one of matplotlib's.
        under: Colour of what lies below the lower limit; None for that of the lower limit.
    """
    return colormaps[name].with_extremes(bad="#ebebeb", under=under)
