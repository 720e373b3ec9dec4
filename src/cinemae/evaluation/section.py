"""One part of a report, before any format is chosen: heading, sentences, table, plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from cinemae.statistics.estimate import Estimate

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


def show(figure: Estimate | None, name: str) -> str:
    """Return a figure with its interval as text: per cent, or a plain number for AUC and its like.

    Example:
        >>> show(Estimate(0.5, 0.4, 0.6, n=9), "auc"), show(Estimate(0.5, 0.4, 0.6, n=9), "x")
        ('0.500 [0.400, 0.600]', '50.0 % [40.0, 60.0]')
    """
    return "-" if figure is None else format(figure, ".3f" if name in _PLAIN else ".1%")
