"""How many generated images are found at each price in photographs accused: the ROC curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from cinemae.statistics.plot_style import GREY, line_style, new_figure, quiet_axes

_MOST_POINTS = 300


def roc_points(
    scores: NDArray[np.float64], labels: NDArray[np.int64], threshold: float | None = None
) -> dict[str, Any]:
    """Return the points of the curve, and the one where a detector decides.

    Args:
        scores: (N,); higher means more likely generated.
        labels: 0 real, 1 fake, (N,); both occur.
        threshold: From which score on an image is called generated; None where nothing is decided.

    Returns:
        ``false_positive_rate`` and ``true_positive_rate`` from (0, 0) to (1, 1), at most some hundred points, and
        ``at_threshold``, a pair of both or None; plain JSON types.

    Example:
        >>> roc_points(np.array([0.1, 0.6, 0.8, 1.0]), np.array([0, 0, 1, 1]), threshold=0.5)["at_threshold"]
        [0.5, 1.0]
    """
    false, true, _ = roc_curve(labels, scores)
    kept = np.unique(np.linspace(0, len(false) - 1, _MOST_POINTS).round().astype(int))
    at = None
    if threshold is not None:
        at = [float((scores[labels == label] >= threshold).mean()) for label in (0, 1)]
    return {
        "false_positive_rate": false[kept].tolist(),
        "true_positive_rate": true[kept].tolist(),
        "at_threshold": at,
    }


def plot_roc(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw curves on one pair of axes, with a dot where each detector decides.

    Args:
        curves: What `roc_points` returns, by detector.
    """
    figure = new_figure(5.4, 5)
    axes = figure.subplots()
    quiet_axes(axes)
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="chance")
    for number, (name, curve) in enumerate(curves.items()):
        style = line_style(number)
        axes.plot(curve["false_positive_rate"], curve["true_positive_rate"], **style, label=name)
        if curve["at_threshold"] is not None:
            axes.plot(*curve["at_threshold"], marker="o", color=style["color"], ms=7)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set(xlabel="photographs called generated", ylabel="generated images called generated")
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    return figure
