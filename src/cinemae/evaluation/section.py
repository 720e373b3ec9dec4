"""One part of a report, before any format is chosen: heading, sentences, table, plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

_PLAIN = ("auc", "average_precision", "calibration_error", "brier_score")  # shown as they are; the others in per cent


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        header: A name a column.
        rows: A cell a column.
        more: Names of columns that a page leaves out until they are asked for, so that the others fit.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        title: Its heading.
        text: Sentences, one paragraph each.
        table: Below the text.
        figure: Below the table.
        warning: Shown so that nobody overlooks it.
        level: 2 for a main part, 3 below it.
        maps: Captions and PNG files of example maps, in the HTML report only.
    """

    title: str
    text: Sequence[str] = ()
    table: Table | None = None
    figure: Figure | None = None
    warning: str | None = None
    level: int = 2
    maps: Sequence[tuple[str, bytes]] = ()


def show(figure: dict[str, Any] | None, name: str) -> str:
    """Return a figure with its interval as text: per cent, or a plain number for AUC and its like.

    Example:
        >>> show({"value": 0.5, "low": 0.4, "high": 0.6}, "auc"), show({"value": 0.5, "low": 0.4, "high": 0.6}, "x")
        ('0.500 [0.400, 0.600]', '50.0 % [40.0, 60.0]')
    """
    if figure is None:
        return "-"
    scale, digits, unit = (1, 3, "") if name in _PLAIN else (100, 1, " %")
    text = f"{figure['value'] * scale:.{digits}f}{unit}"
    if "low" in figure:
        return f"{text} [{figure['low'] * scale:.{digits}f}, {figure['high'] * scale:.{digits}f}]"
    return text if figure.get("std") is None else f"{text} ± {figure['std'] * scale:.{digits}f}"
