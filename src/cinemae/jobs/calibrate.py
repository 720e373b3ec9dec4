"""From validation scores to a decision: Platt scaling and the two thresholds (decision 0006)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from cinemae.config import DecisionConfig, TrainConfig
from cinemae.errors import TrainingError


def choose_decision(logits: NDArray[Any], labels: NDArray[Any], config: TrainConfig) -> DecisionConfig:
    """Fit the calibration and choose the thresholds on validation images.

    Platt scaling is logistic regression on the logit with both classes weighed alike: `prob_fake` is the probability
    for someone who beforehand thinks both equally likely. `threshold` is the lowest at which at most `target_fpr` of
    the photographs are called "ai"; `real_below` the highest at which at most `target_fnr` of the generated images
    are called "real" (never above `threshold`). Each is put halfway to the
    nearest score of validation, so that a last digit turns no verdict.

    Args:
        logits: Validation logits, (N,).
        labels: 0 real, 1 fake, (N,).
        config: The two target rates.

    Raises:
        TrainingError: If validation holds one class only, or a logit is not finite.
    """
    if set(np.unique(labels)) != {0, 1}:
        raise TrainingError(
            "thresholds are chosen on photographs and generated images; validation holds one class only."
        )
    if not np.isfinite(logits).all():
        raise TrainingError("a validation logit is not finite: the store holds broken features; extract it again.")
    platt = LogisticRegression(C=1e6, class_weight="balanced").fit(logits[:, None], labels)
    scale, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    if scale <= 0:
        scale, offset = 1.0, 0.0  # no better than chance: calibration would turn the score around
    prob = apply_platt(logits, scale, offset)
    threshold = _threshold_for(prob, prob[labels == 0], config.target_fpr)
    real_below = min(threshold, _floor_for(prob, prob[labels == 1], config.target_fnr))
    return DecisionConfig(
        threshold=threshold,
        real_below=real_below,
        platt_scale=scale,
        platt_offset=offset,
        rule=(
            f'"ai" where at most {config.target_fpr:.0%} of {int((labels == 0).sum())} validation photographs are, '
            f'"real" where at most {config.target_fnr:.0%} of {int((labels == 1).sum())} validation fakes are'
        ),
    )


def apply_platt(logits: NDArray[Any], scale: float, offset: float) -> NDArray[np.float64]:
    """Return sigmoid(scale * logit + offset)."""
    prob: NDArray[np.float64] = expit(scale * logits.astype(np.float64) + offset)
    return prob


def cross_fitted_rates(
    logits: NDArray[Any], labels: NDArray[Any], config: TrainConfig, *, folds: int = 5
) -> dict[str, float]:
    """Return error rates of the rule on images it was not fitted on, by stratified cross-fitting.

    The thresholds a model ships with are chosen on all validation images, so rates on those same images flatter it.
    Here each fold is judged by a decision chosen on the others. With fewer images of a class than `folds`, there are as
    many folds as images.
    """
    folds = min(folds, int((labels == 0).sum()), int((labels == 1).sum()))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=config.seed)
    called_ai, called_real = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    for fitted, judged in splitter.split(logits, labels):
        decision = choose_decision(logits[fitted], labels[fitted], config)
        prob = apply_platt(logits[judged], decision.platt_scale, decision.platt_offset)
        called_ai[judged] = prob >= decision.threshold
        called_real[judged] = prob < decision.real_below
    real, fake = labels == 0, labels == 1
    return {
        "photographs_called_ai": float(called_ai[real].mean()),
        "photographs_called_real": float(called_real[real].mean()),
        "fakes_called_ai": float(called_ai[fake].mean()),
        "fakes_called_real": float(called_real[fake].mean()),
    }


def _threshold_for(prob: NDArray[Any], real_prob: NDArray[Any], target: float) -> float:
    """Return the lowest threshold that at most a share `target` of photographs reach, midway between two scores."""
    ordered = np.sort(real_prob)
    below = ordered[len(ordered) - int(np.floor(target * len(ordered))) - 1]
    return between(below, np.min(prob, where=prob > below, initial=1.0))


def _floor_for(prob: NDArray[Any], fake_prob: NDArray[Any], target: float) -> float:
    """Return the highest floor that at most a share `target` of fakes lie below, midway between two scores."""
    above = np.sort(fake_prob)[int(np.floor(target * len(fake_prob)))]
    return between(np.max(prob, where=prob < above, initial=0.0), above)


def between(below: float, above: float) -> float:
    """Return the midpoint of two scores, or `above` where no number lies between."""
    middle = below / 2 + above / 2  # the sum itself could overflow
    return float(middle if middle > below else above)
