"""Does a threshold chosen on one generator hold for another? The transfer matrix of Fig. 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from cinemae.calibration.decision import between
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.metrics import rate
from cinemae.statistics.plot_style import VERMILION, cell_colours, draw_cells, new_figure
from cinemae.statistics.scored_set import ScoredSet, finite_scores

_INTERVAL = "95 %, both classes' Wilson intervals joined by the square-and-add rule (Zou and Donner 2008)"


def best_threshold(real_scores: NDArray[Any], fake_scores: NDArray[Any]) -> float:
    """Return the threshold of best balanced accuracy; an image is called generated where its score reaches it.

    It lies midway between two neighbouring scores. Among equally good ones the highest is taken: it accuses the fewest
    photographs. Calling all images generated or none is allowed too, as that beats a score turned around; then the
    threshold is the lowest score, or the next number above the highest.

    Args:
        real_scores: Scores of photographs, (R,).
        fake_scores: Scores of generated images, (F,); higher means more likely generated.

    Raises:
        EvaluationError: If a class is empty or a score is not finite.

    Example:
        >>> best_threshold(np.array([0.1, 0.2]), np.array([0.4, 0.9]))
        0.30000000000000004
    """
    real = finite_scores(real_scores, "scores of photographs")
    fake = finite_scores(fake_scores, "scores of generated images")
    values, positions = np.unique(np.concatenate([real, fake]), return_inverse=True)
    below_real, below_fake = (
        np.concatenate([[0], np.cumsum(np.bincount(part, minlength=len(values)))])
        for part in (positions[: len(real)], positions[len(real) :])
    )
    # Whole numbers, so that equally good thresholds are equal to the last digit.
    right = below_real * len(fake) + (len(fake) - below_fake) * len(real)
    cut = len(right) - 1 - int(np.argmax(right[::-1]))
    if cut == 0:
        return float(values[0])
    if cut == len(values):
        return float(np.nextafter(values[-1], np.inf))
    return between(values[cut - 1], values[cut])


@dataclass(frozen=True)
class TransferCell:
    """One generator's threshold on the test images of another.

    Attributes:
        balanced_accuracy: Mean of the two rates below, with its interval.
        photographs_right: Share of the test photographs called real.
        fakes_found: Share of the generator's test images called generated.
    """

    balanced_accuracy: Estimate
    photographs_right: Estimate
    fakes_found: Estimate


@dataclass(frozen=True)
class TransferMatrix:
    """The transfer matrix of one score.

    Attributes:
        trained_on: Generators whose training images chose a threshold: the rows.
        tested_on: Generators of the test images: the columns.
        thresholds: One a row.
        cells: Rows of cells.
    """

    trained_on: tuple[str, ...]
    tested_on: tuple[str, ...]
    thresholds: tuple[float, ...]
    cells: tuple[tuple[TransferCell, ...], ...]

    @property
    def values(self) -> NDArray[np.float64]:
        """Balanced accuracies, (rows, columns)."""
        return np.array([[cell.balanced_accuracy.value for cell in row] for row in self.cells])

    @property
    def worst(self) -> tuple[int, int]:
        """Row and column of the lowest balanced accuracy; the first of several."""
        row, column = np.unravel_index(int(np.argmin(self.values)), self.values.shape)
        return int(row), int(column)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        rows = [
            {
                "trained_on": trained_on,
                "tested_on": tested_on,
                "threshold": threshold,
                "balanced_accuracy": cell.balanced_accuracy.to_dict(),
                "photographs_right": cell.photographs_right.to_dict(),
                "fakes_found": cell.fakes_found.to_dict(),
            }
            for trained_on, threshold, cells in zip(self.trained_on, self.thresholds, self.cells, strict=True)
            for tested_on, cell in zip(self.tested_on, cells, strict=True)
        ]
        return {"interval": _INTERVAL, "cells": rows}


def transfer_matrix(train: ScoredSet, test: ScoredSet) -> TransferMatrix:
    """Choose a threshold on each generator's training images and judge every generator's test images by it.

    Each generator is held against all photographs of its side, so the cells of a row share their photographs. Give the
    negative of NLL or LCAS: photographs are expected to have the higher ones.

    Args:
        train: Images that choose the thresholds; higher scores mean more likely generated.
        test: Images that are judged; none of them should be in `train`.

    Example:
        >>> names = np.array(["camera", "camera", "gan", "gan"])
        >>> data = ScoredSet(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 0, 1, 1]), names)
        >>> transfer_matrix(data, data).values
        array([[1.]])
    """
    trained_on, tested_on = train.generator_names, test.generator_names
    thresholds = tuple(best_threshold(train.real, train.of(name)) for name in trained_on)
    cells = tuple(tuple(_cell(threshold, test, name) for name in tested_on) for threshold in thresholds)
    return TransferMatrix(trained_on, tested_on, thresholds, cells)


def _cell(threshold: float, test: ScoredSet, generator: str) -> TransferCell:
    fake = test.of(generator)
    photographs_right = rate(int((test.real < threshold).sum()), len(test.real))
    fakes_found = rate(int((fake >= threshold).sum()), len(fake))
    return TransferCell(mean_of_rates(photographs_right, fakes_found), photographs_right, fakes_found)


def mean_of_rates(first: Estimate, second: Estimate) -> Estimate:
    """Return the mean of two independent rates; its interval adds the squares of both Wilson distances.

    Unlike the bootstrap it does not shrink to a point where all images were judged rightly.

    Args:
        first: From `cinemae.statistics.metrics.rate`.
        second: The same, of other images.

    Example:
        >>> both = mean_of_rates(rate(10, 10), rate(10, 10))
        >>> both.value, round(both.low, 3), both.high
        (1.0, 0.804, 1.0)
    """
    value = (first.value + second.value) / 2
    down = np.hypot(first.value - first.low, second.value - second.low) / 2
    up = np.hypot(first.high - first.value, second.high - second.value) / 2
    return Estimate(value, float(max(0.0, value - down)), float(min(1.0, value + up)), first.n + second.n)


def plot_transfer(matrix: TransferMatrix, score: str) -> Figure:
    """Draw the matrix as a heat map: balanced accuracy and its interval in each cell, the worst framed.

    Args:
        matrix: From `transfer_matrix`.
        score: What the threshold is on, such as "NLL".
    """
    rows, columns = matrix.values.shape
    figure = new_figure(max(6.4, 3.2 + 0.8 * columns), max(4.4, 2.4 + 0.7 * rows))
    axes = figure.subplots()
    texts = [[_percent(cell.balanced_accuracy) for cell in row] for row in matrix.cells]
    colours = cell_colours("Blues", under="#f6c9a4")
    image = draw_cells(axes, matrix.values, texts, colours=colours, limits=(0.5, 1.0))
    label = "balanced accuracy (orange: below chance)"
    bar = figure.colorbar(image, ax=axes, shrink=0.8, extend="min", label=label)
    bar.outline.set_visible(False)
    row, column = matrix.worst
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=VERMILION, lw=2.5, zorder=3))
    axes.set_xticks(range(columns), list(matrix.tested_on), rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(rows), list(matrix.trained_on))
    axes.set(xlabel="judged: test images of", ylabel="threshold chosen on")
    sizes = [cell.balanced_accuracy.n for cell in matrix.cells[0]]
    figure.suptitle(
        f"One generator's {score} threshold on another's images\n"
        "balanced accuracy in % with 95 % interval, higher is better; frame: worst\n"
        f"images judged in a cell: {min(sizes):,}" + (f" to {max(sizes):,}" if max(sizes) > min(sizes) else ""),
        fontsize=10,
    )
    return figure


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f}\n[{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"
