"""Do s1, s2 and s3 only measure how busy a picture is? Spearman's rho with three classical statistics (Fig. 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr

from cinemae.config import STATISTICS
from cinemae.errors import EvaluationError
from cinemae.evaluation.analyses.image_statistics import IMAGE_STATISTICS
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.plot_style import cell_colours, draw_cells, new_figure
from cinemae.statistics.scored_set import binary_labels, finite_scores

GROUPS = ("all", "photographs", "fakes")
_FEWEST = 4  # the interval divides by n - 3
_INTERVAL = "95 %, Fisher's z with the variance (1 + rho^2 / 2) / (n - 3) of Bonett and Wright (2000)"
_NOTE = (
    "Over all images rho mixes two things: how the numbers go together within a class, and how both differ between the "
    "classes. Photographs and fakes apart are free of the second; fakes still mix their generators."
)
_ROW_NAMES = {"variability": "s1 variability", "overall": "s2 overall", "sensitivity": "s3 sensitivity"}
_COLUMN_NAMES = {
    "entropy": "entropy",
    "high_frequency_ratio": "high-frequency\nshare",
    "gradient_tv": "gradient\nvariation",
}


@dataclass(frozen=True)
class CorrelationGroup:
    """The correlations within one group of images.

    Attributes:
        n: Images.
        rho: By statistic of ours and image statistic; None where a column does not vary (s3 with one masked pass) or
            there are fewer than 4 images.
    """

    n: int
    rho: Mapping[str, Mapping[str, Estimate | None]]


@dataclass(frozen=True)
class CorrelationTable:
    """Correlations over all images, photographs only, fakes only, with what the intervals are and what to mind."""

    interval: str
    note: str
    groups: Mapping[str, CorrelationGroup]


def spearman(first: NDArray[Any], second: NDArray[Any]) -> Estimate | None:
    """Return Spearman's rank correlation with a 95 % interval.

    The interval is ``tanh(atanh(rho) +- 1.96 * sqrt((1 + rho^2 / 2) / (n - 3)))`` (Bonett and Wright 2000). A rho of
    1 or -1 has no atanh: for the nearer end the next rho that n ranks can have, ``1 - 12 / (n (n^2 - 1))``, stands in.

    Args:
        first: (N,), N at least 4.
        second: (N,).

    Returns:
        The estimate, or None where one of the two is the same for all images: then there is no order to compare.

    Raises:
        EvaluationError: If lengths differ, fewer than 4 images came, or a number is not finite.

    Example:
        >>> spearman(np.array([1, 2, 3, 4]), np.array([1, 4, 9, 16])).value
        1.0
        >>> spearman(np.array([1, 2, 3, 4]), np.zeros(4)) is None
        True
    """
    one, other = finite_scores(first, "the first numbers"), finite_scores(second, "the second numbers")
    n = len(one)
    if len(other) != n:
        raise EvaluationError(f"a correlation needs as many numbers on both sides, got {n} and {len(other)}.")
    if n < _FEWEST:
        raise EvaluationError(f"a correlation with an interval needs at least {_FEWEST} images, got {n}.")
    if one.min() == one.max() or other.min() == other.max():
        return None
    rho = float(np.clip(spearmanr(one, other).statistic, -1, 1))
    largest = min(1 - 12 / (n * (n**2 - 1)), float(np.nextafter(1, 0)))
    middle = np.arctanh(np.clip(rho, -largest, largest))
    reach = norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = float(np.tanh(middle - reach)), float(np.tanh(middle + reach))
    return Estimate(rho, -1.0 if rho <= -largest else low, 1.0 if rho >= largest else high, n)


def correlation_table(anomaly_stats: NDArray[Any], image_stats: NDArray[Any], labels: NDArray[Any]) -> CorrelationTable:
    """Correlate s1..s3 with the statistics of the same pictures: over all images, photographs only, fakes only.

    Args:
        anomaly_stats: s1, s2, s3, (N, 3).
        image_stats: In the order of `IMAGE_STATISTICS`, (N, 3).
        labels: 0 real, 1 fake, (N,).

    Raises:
        EvaluationError: If a shape is wrong, a class is empty, fewer than 4 images came, or a number is not finite.
    """
    for name, values in (("s1, s2, s3", anomaly_stats), ("image statistics", image_stats)):
        if values.ndim != 2 or values.shape[1] != 3 or len(values) != len(anomaly_stats):
            raise EvaluationError(
                f"{name} must be three numbers for each of {len(anomaly_stats)} images, got shape {values.shape}."
            )
        finite_scores(values.ravel(), name)
    numbers = binary_labels(labels, len(anomaly_stats))
    if len(numbers) < _FEWEST:
        raise EvaluationError(f"a correlation with an interval needs at least {_FEWEST} images, got {len(numbers)}.")
    chosen = {"all": numbers >= 0, "photographs": numbers == 0, "fakes": numbers == 1}
    groups = {
        group: CorrelationGroup(int(mask.sum()), _cells(anomaly_stats[mask], image_stats[mask]))
        for group, mask in chosen.items()
    }
    return CorrelationTable(_INTERVAL, _NOTE, groups)


def _cells(anomaly_stats: NDArray[Any], image_stats: NDArray[Any]) -> dict[str, dict[str, Estimate | None]]:
    def cell(row: int, column: int) -> Estimate | None:
        if len(anomaly_stats) < _FEWEST:
            return None
        return spearman(anomaly_stats[:, row], image_stats[:, column])

    return {
        statistic: {name: cell(row, column) for column, name in enumerate(IMAGE_STATISTICS)}
        for row, statistic in enumerate(STATISTICS)
    }


def plot_correlations(table: CorrelationTable) -> Figure:
    """Draw the output of `correlation_table`: one heat map a group, rho and its interval in every cell."""
    figure = new_figure(10.5, 4.0)
    panels = figure.subplots(1, len(GROUPS), sharey=True)
    for axes, group in zip(panels, GROUPS, strict=True):
        values, texts = _to_matrix(table.groups[group])
        image = draw_cells(axes, values, texts, colours=cell_colours("PuOr"), limits=(-1, 1))
        axes.set_title(f"{group} (n = {table.groups[group].n:,})", fontsize=10)
        axes.set_xticks(range(3), [_COLUMN_NAMES[name] for name in IMAGE_STATISTICS], fontsize=8)
        axes.set_yticks(range(3), [_ROW_NAMES[name] for name in STATISTICS], fontsize=9)
    bar = figure.colorbar(image, ax=panels, shrink=0.75, label="Spearman's rho")
    bar.outline.set_visible(False)
    figure.suptitle(
        "Do s1, s2, s3 follow classical picture statistics?\n0: unrelated; nearer to 1 or -1: more alike in order "
        "(95 % intervals in brackets)",
        fontsize=11,
    )
    return figure


def _to_matrix(group: CorrelationGroup) -> tuple[NDArray[np.float64], list[list[str]]]:
    cells = [[group.rho[row][column] for column in IMAGE_STATISTICS] for row in STATISTICS]
    missing = "does not\nvary" if group.n >= _FEWEST else f"fewer than\n{_FEWEST} images"
    values = np.array([[np.nan if cell is None else cell.value for cell in row] for row in cells])
    texts = [
        [missing if cell is None else f"{cell.value:+z.2f}\n[{cell.low:+z.2f}, {cell.high:+z.2f}]" for cell in row]
        for row in cells
    ]
    return values, texts
