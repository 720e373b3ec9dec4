"""Isotonic calibration that keeps the resolution of the score: centred isotonic regression (Oron and Flournoy 2017)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.isotonic import isotonic_regression

GRID = 1000
"""Steps from the lowest to the highest logit; no two knots lie closer, or the last digit of a logit would tell."""


def centred_isotonic(logits: NDArray[Any], labels: NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the knots of a strictly rising curve from logit to calibrated log-odds, both classes weighed alike.

    Isotonic regression (Zadrozny and Elkan 2002) gives blocks of one probability each, so within a block no threshold
    can be set. Centred isotonic regression joins the weighted centres of the blocks by straight lines instead. Here
    they are drawn in log-odds, not in probability: then the curve can go on beyond its ends without leaving [0, 1].

    A block of one class would say 0 or 1, which no finite number of images can show: with F fakes and R photographs
    probabilities stay between 1 / (F + 2) and 1 - 1 / (R + 2), as in Laplace's rule of succession.

    Args:
        logits: Finite, (N,).
        labels: 0 real, 1 fake, both there, (N,).

    Returns:
        Logits and log-odds of the knots, ascending. One knot alone means that the score does not rise with the label.

    Example:
        >>> x, y = centred_isotonic(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0, 1, 0, 1]))
        >>> np.round(x, 3).tolist(), np.round(y, 3).tolist()
        ([0.0, 1.5, 3.0], [-1.099, 0.0, 1.099])
    """
    sizes = np.bincount(labels, minlength=2)
    weights = 1 / (2 * sizes[labels])
    place, cell = _on_grid(np.asarray(logits, np.float64))
    weight = np.bincount(cell, weights)
    share = np.bincount(cell, weights * labels) / weight
    low, high = 1 / (sizes[1] + 2), 1 - 1 / (sizes[0] + 2)
    fitted = isotonic_regression(share, sample_weight=weight, y_min=low, y_max=high)
    block = np.concatenate([[0], np.cumsum(np.diff(fitted) > 1e-9)])  # anything less is rounding
    of_block = np.bincount(block, weight)
    centre = np.bincount(block, weight * place) / of_block
    level = np.bincount(block, weight * fitted) / of_block
    return tuple(centre.tolist()), tuple(logit(level).tolist())


def _on_grid(logits: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the occupied places of a grid from the lowest logit to the highest, and which of them each logit is at."""
    low, high = float(logits.min()), float(logits.max())
    step = (high - low) / GRID or 1.0
    place, cell = np.unique(np.round((logits - low) / step), return_inverse=True)
    return low + step * place, cell.reshape(-1)
