"""How many generated images are found at each price in photographs accused: the ROC curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from cinemae.statistics.plot_style import GREY, line_style, new_figure, quiet_axes

_MOST_POINTS = 300


@dataclass(frozen=True)
class RocCurve:
    """The points of a curve, and the one where a detector decides.

    Attributes:
        false_positive_rate: From 0 to 1, at most some hundred points.
        true_positive_rate: As many, from 0 to 1.
        at_threshold: Both at the threshold; None where nothing is decided.
    """

    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    at_threshold: tuple[float, float] | None


def roc_curve_of(scores: NDArray[np.float64], labels: NDArray[np.int64], threshold: float | None = None) -> RocCurve:
    """Return the curve of some scores.

    Args:
        scores: (N,); higher means more likely generated.
        labels: 0 real, 1 fake, (N,); both occur.
        threshold: From which score on an image is called generated; None where nothing is decided.

    Example:
        >>> roc_curve_of(np.array([0.1, 0.6, 0.8, 1.0]), np.array([0, 0, 1, 1]), threshold=0.5).at_threshold
        (0.5, 1.0)
    """
    false, true, _ = roc_curve(labels, scores)
    kept = np.unique(np.linspace(0, len(false) - 1, _MOST_POINTS).round().astype(int))
    at = None
    if threshold is not None:
        called = scores >= threshold
        at = float(called[labels == 0].mean()), float(called[labels == 1].mean())
    return RocCurve(tuple(false[kept].tolist()), tuple(true[kept].tolist()), at)


def plot_roc(curves: Mapping[str, RocCurve]) -> Figure:
    """Draw curves on one pair of axes, with a dot where each detector decides.

    Args:
        curves: By detector.
    """
    figure = new_figure(5.4, 5)
    axes = figure.subplots()
    quiet_axes(axes)
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="chance")
    for number, (name, curve) in enumerate(curves.items()):
        style = line_style(number)
        axes.plot(curve.false_positive_rate, curve.true_positive_rate, **style, label=name)
        if curve.at_threshold is not None:
            axes.plot(*curve.at_threshold, marker="o", color=style["color"], ms=7)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set(xlabel="photographs called generated", ylabel="generated images called generated")
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    return figure
