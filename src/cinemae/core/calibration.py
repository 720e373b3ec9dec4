"""From logit to probability, and from distance to "unlike anything seen": what a model's config.json says of scores.

NumPy alone, so that every engine and the light install share it; `cinemae.core.model` has the same in the graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinemae.config import DecisionConfig, OodReference


def calibrate(logit: NDArray[Any], decision: DecisionConfig) -> NDArray[np.float64]:
    """Return prob_fake = sigmoid(f(logit)): the probability for someone who holds both classes equally likely.

    Args:
        logit: z of Eq. 9, any shape.
        decision: The curve f, see `log_odds`.

    Returns:
        float64, of the same shape; nan where the logit is.

    Example:
        >>> calibrate(np.array([0.0, 1000.0]), DecisionConfig()).tolist()
        [0.5, 1.0]
    """
    odds = log_odds(logit, decision)
    small = np.exp(-np.abs(odds))  # never overflows, and keeps probabilities near 0 apart
    return np.asarray(np.where(odds >= 0, 1.0, small) / (1 + small))


def log_odds(logit: NDArray[Any], decision: DecisionConfig) -> NDArray[np.float64]:
    """Return f(logit), the calibrated log-odds.

    "platt" is a straight line (Platt 1999). "isotonic" is linear between the knots of a centred isotonic regression
    (Oron and Flournoy 2017); beyond the first and last knot it goes on with Platt's slope, where isotonic regression
    alone would be flat and could tell no two images apart.

    Args:
        logit: Any shape.
        decision: Kind and parameters of the curve.

    Example:
        >>> bent = DecisionConfig(calibration="isotonic", knot_logits=(0.0, 1.0), knot_log_odds=(-1.0, 3.0))
        >>> log_odds(np.array([-2.0, 0.0, 0.5, 2.0]), bent).tolist()
        [-3.0, -1.0, 1.0, 4.0]
    """
    z = np.asarray(logit, np.float64)
    if decision.calibration == "platt":
        return np.asarray(decision.platt_scale * z + decision.platt_offset)
    first, last = decision.knot_logits[0], decision.knot_logits[-1]
    beyond = np.minimum(z - first, 0) + np.maximum(z - last, 0)
    within = np.interp(z, decision.knot_logits, decision.knot_log_odds)
    return np.asarray(within + decision.platt_scale * beyond)


def ood_score(ood_distance: NDArray[Any] | float, reference: OodReference) -> NDArray[np.float64]:
    """Return the share of the photographs calibrated on that lie nearer to the training images.

    Args:
        ood_distance: Of N images (`cinemae.core.mahalanobis`), (N,), or of one.
        reference: Its quantiles over those photographs.

    Returns:
        From 0 to 1, of the same shape; nan where the distance is nan, or where the model holds no quantiles.

    Example:
        >>> ood_score(np.array([4.0, 7.0, 99.0]), OodReference(levels=(0.0, 0.5, 1.0), values=(5.0, 7.0, 8.0))).tolist()
        [0.0, 0.5, 1.0]
    """
    distance = np.asarray(ood_distance, np.float64)
    if not reference.levels:
        return np.full_like(distance, np.nan)
    return np.asarray(np.interp(distance, reference.values, reference.levels))


def is_out_of_distribution(score: NDArray[Any] | float, reference: OodReference) -> NDArray[np.bool_]:
    """Return whether `ood_score` lies above the reference's limit: unlike anything seen. False where it is nan.

    Example:
        >>> is_out_of_distribution(np.array([0.5, 0.995, np.nan]), OodReference(limit=0.99)).tolist()
        [False, True, False]
    """
    return np.asarray(np.asarray(score) > reference.limit)
