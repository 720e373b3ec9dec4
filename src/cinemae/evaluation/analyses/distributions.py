"""NLL or LCAS of photographs and of each generator, side by side (Fig. 3).

Both say how hard an image is to predict from its context; photographs are expected to have the higher values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cinemae.errors import ConfigError
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.metrics import auc
from cinemae.statistics.plot_style import BLUE, GREY, new_figure, quiet_axes
from cinemae.statistics.scored_set import ScoredSet

NUM_BINS = 40
_TAIL = 0.005  # a heavy tail would squeeze all else into a few bins


@dataclass(frozen=True)
class ScoreGroup:
    """The scores of one group of images.

    Attributes:
        name: "photographs" or a generator.
        n: Images.
        lower_quartile: Of their scores.
        median: Of their scores.
        upper_quartile: Of their scores.
        counts: Images in each bin.
    """

    name: str
    n: int
    lower_quartile: float
    median: float
    upper_quartile: float
    counts: tuple[int, ...]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of the group in each bin."""
        return np.array(self.counts) / self.n


@dataclass(frozen=True)
class GeneratorScores(ScoreGroup):
    """The scores of a generator, beside those of the photographs.

    Attributes:
        auc: Share of pairs in which the photograph has the higher score.
        overlap: Of the two histograms.
    """

    auc: Estimate
    overlap: float


@dataclass(frozen=True)
class ScoreDistributions:
    """Histograms with common bins.

    Attributes:
        edges: Of the bins, one more than these.
        photographs: Of all sources.
        generators: By name.
    """

    edges: tuple[float, ...]
    photographs: ScoreGroup
    generators: tuple[GeneratorScores, ...]


def score_distributions(values: ScoredSet, *, bins: int = NUM_BINS, seed: int = 0) -> ScoreDistributions:
    """Return histograms with common bins, quartiles, and how far each generator lies from the photographs.

    The bins are of equal width between the 0.5 % and 99.5 % points of all images; the first and last also hold what
    lies beyond. `auc` is the share of pairs in which the photograph has the higher value, ties counting half: above 0.5
    where the paper's order holds, below where it is turned around. `overlap` is the sum over bins of the smaller of
    both shares: 1 for equal histograms, 0 for disjoint ones; it depends on the bins, and few images make it too small.

    Args:
        values: NLL or LCAS itself, not its negative; higher means harder to predict from context.
        bins: How many.
        seed: Of the bootstrap behind the AUC's interval.

    Raises:
        ConfigError: If there would be no bin.

    Example:
        >>> data = ScoredSet(np.array([3.0, 4.0, 1.0, 2.0]), np.array([0, 0, 1, 1]), np.array(["a", "a", "b", "b"]))
        >>> found = score_distributions(data, bins=2).generators[0]
        >>> found.median, found.auc.value, found.overlap
        (1.5, 1.0, 0.0)
    """
    if bins < 1:
        raise ConfigError(f"a histogram has at least 1 bin, got {bins}.")
    low, high = np.quantile(values.scores, (_TAIL, 1 - _TAIL))
    edges = np.histogram_bin_edges(values.scores, bins, (low, high))
    photographs = _group("photographs", values.real, edges)
    generators = []
    for name in values.generator_names:
        chosen = values.of(name)
        group = _group(name, chosen, edges)
        overlap = float(np.minimum(photographs.shares, group.shares).sum())
        generators.append(GeneratorScores(**vars(group), auc=auc(-values.real, -chosen, seed=seed), overlap=overlap))
    return ScoreDistributions(tuple(edges.tolist()), photographs, tuple(generators))


def _group(name: str, scores: NDArray[np.float64], edges: NDArray[np.float64]) -> ScoreGroup:
    counts, _ = np.histogram(scores.clip(edges[0], edges[-1]), edges)
    lower, median, upper = np.quantile(scores, (0.25, 0.5, 0.75)).tolist()
    return ScoreGroup(name, len(scores), lower, median, upper, tuple(counts.tolist()))


def plot_distributions(table: ScoreDistributions, score: str) -> Figure:
    """Draw one panel a generator, its histogram over that of the photographs, medians dashed.

    Args:
        table: From `score_distributions`.
        score: What it is of, such as "NLL".
    """
    groups = table.generators
    columns = min(3, len(groups))
    rows = math.ceil(len(groups) / columns)
    figure = new_figure(max(6.0, 3.4 * columns), 1.5 + 2.2 * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(groups) :]:
        axes.set_axis_off()
    for position, (axes, group) in enumerate(zip(grid.flat, groups, strict=False)):
        _draw_panel(axes, table, group)
        if position + columns >= len(groups):
            axes.tick_params(labelbottom=True)
    figure.supxlabel(f"{score} of an image", fontsize=10)
    figure.supylabel("share of images in a bin", fontsize=10)
    figure.suptitle(
        f"{score} of photographs (grey, n = {table.photographs.n:,}) and of each generator (blue)\n"
        "further right: harder to predict from context; dashed: medians\n"
        "AUC: share of pairs in which the photograph is the harder one",
        fontsize=11,
    )
    return figure


def _draw_panel(axes: Axes, table: ScoreDistributions, group: GeneratorScores) -> None:
    edges, photographs = table.edges, table.photographs
    quiet_axes(axes)
    axes.stairs(photographs.shares, edges, fill=True, color="#c8c8c8")
    axes.stairs(group.shares, edges, color=BLUE, lw=1.5)
    axes.axvline(photographs.median, color=GREY, ls="--", lw=1.2)
    axes.axvline(group.median, color=BLUE, ls="--", lw=1.2)
    title = f"{group.name} (n = {group.n:,})\nAUC {group.auc:.2f}, overlap {group.overlap:.2f}"
    axes.set_title(title, fontsize=9)
