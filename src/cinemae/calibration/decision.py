"""From validation scores to a decision: calibration and the two thresholds (decisions 0006 and 0011)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from cinemae.calibration.isotonic import centred_isotonic
from cinemae.config import DecisionConfig, TrainConfig
from cinemae.core.calibration import calibrate
from cinemae.errors import TrainingError
from cinemae.statistics.figures import CalledRates

FOLDS = 5


def choose_decision(
    logits: NDArray[Any],
    labels: NDArray[Any],
    config: TrainConfig,
    *,
    images: str = "validation",
    sources: NDArray[np.str_] | None = None,
) -> DecisionConfig:
    """Fit the calibration and choose the thresholds on images that the model was not trained on.

    Of Platt scaling and centred isotonic regression the one with the lower log loss on held-out folds is taken, Platt
    where they are even. Both weigh the classes alike: `prob_fake` is the probability for someone who beforehand thinks
    both equally likely. `threshold` is the lowest at which at most `target_fpr` of the photographs are called "ai";
    `real_below` the highest at which at most `target_fnr` of the generated images are called "real" (never above
    `threshold`). Each is put halfway to the nearest score of validation, so that a last digit turns no verdict.

    Args:
        logits: (N,).
        labels: 0 real, 1 fake, (N,).
        config: The two target rates, and the seed of the folds.
        images: What the rule calls them.
        sources: Of each image, (N,): towards `target_fpr` the photographs of a source count together as much as those
            of any other, however many they are. None: each photograph counts alike.

    Raises:
        TrainingError: If there is one class only, or a logit is not finite.
    """
    _check(logits, labels)
    curve = _chosen_curve(logits, labels, config.seed)
    prob = calibrate(logits, curve)
    real = labels == 0
    weights = np.ones(int(real.sum())) if sources is None else _source_weights(sources[real])
    threshold = _threshold_for(prob, prob[real], weights, config.target_fpr)
    real_below = min(threshold, _floor_for(prob, prob[~real], config.target_fnr))
    reals, fakes = int(real.sum()), int((~real).sum())
    alike = "" if sources is None else f", each of {len(np.unique(sources[real]))} sources counting alike"
    return replace(
        curve,
        threshold=threshold,
        real_below=real_below,
        rule=(
            f'"ai" where at most {100 * config.target_fpr:g}% of {reals} {images} photographs are{alike}, '
            f'"real" where at most {100 * config.target_fnr:g}% of {fakes} {images} fakes are'
        ),
        target_fpr=config.target_fpr,
        target_fnr=config.target_fnr,
    )


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """What each of N images gets from a decision that was chosen without it.

    Attributes:
        prob_fake: Calibrated probability, (N,).
        called_ai: Whether it reached the threshold, (N,).
        called_real: Whether it stayed below `real_below`, (N,).
        fold: Which of the folds it was held out in, (N,).
        decisions: The decision of each fold.
    """

    prob_fake: NDArray[np.float64]
    called_ai: NDArray[np.bool_]
    called_real: NDArray[np.bool_]
    fold: NDArray[np.int64]
    decisions: tuple[DecisionConfig, ...]

    def rates(self, labels: NDArray[Any]) -> CalledRates:
        """Return the shares of photographs and fakes that were called "ai" and "real"."""
        real, fake = labels == 0, labels == 1
        return CalledRates(
            photographs_called_ai=float(self.called_ai[real].mean()),
            photographs_called_real=float(self.called_real[real].mean()),
            fakes_called_ai=float(self.called_ai[fake].mean()),
            fakes_called_real=float(self.called_real[fake].mean()),
        )


def cross_fit(
    logits: NDArray[Any],
    labels: NDArray[Any],
    config: TrainConfig,
    fold: NDArray[np.int64] | None = None,
    sources: NDArray[np.str_] | None = None,
) -> CrossFitted:
    """Judge every image by a decision chosen on the others, by stratified cross-fitting.

    What a model ships with is chosen on all validation images, so rates and calibration on those same images flatter
    it. Here each fold is judged by calibration, its kind included, and thresholds of the other folds. With fewer images
    of a class than folds, there are as many folds as images; a class of one image is judged by a decision that saw it.

    Args:
        logits: (N,).
        labels: 0 real, 1 fake, (N,).
        config: The two target rates, and the seed of the folds.
        fold: Which images are judged together, such as those of one source or generator, (N,); None to draw folds.
        sources: As `choose_decision` takes them.
    """
    decisions: list[DecisionConfig] = []
    prob = np.zeros(len(labels))
    called_ai, called_real = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    held_out = np.zeros(len(labels), np.int64)
    for number, (fitted, judged) in enumerate(_folds(labels, config.seed, fold)):
        of_fitted = None if sources is None else sources[fitted]
        decision = choose_decision(logits[fitted], labels[fitted], config, sources=of_fitted)
        prob[judged], held_out[judged] = calibrate(logits[judged], decision), number
        called_ai[judged] = prob[judged] >= decision.threshold
        called_real[judged] = prob[judged] < decision.real_below
        decisions.append(decision)
    return CrossFitted(prob, called_ai, called_real, held_out, tuple(decisions))


def held_out_probabilities(
    logits: NDArray[Any], labels: NDArray[Any], seed: int, fold: NDArray[np.int64] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Return prob_fake of each image by either calibration, fitted on the other folds: "platt" and "isotonic", (N,)."""
    found = {kind: np.zeros(len(labels)) for kind in ("platt", "isotonic")}
    for fitted, judged in _folds(labels, seed, fold):
        for kind, curve in _curves(logits[fitted], labels[fitted]).items():
            found[kind][judged] = calibrate(logits[judged], curve)
    return found


def log_loss(prob_fake: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the mean of -log(probability of what the image is), both classes weighing half; ln 2 is what 0.5 gives.

    A probability of exactly 0 or 1 counts as the nearest number that is neither.

    Example:
        >>> round(log_loss(np.array([0.5, 0.5, 0.5]), np.array([0, 0, 1])), 4)
        0.6931
    """
    right = np.where(labels == 1, prob_fake, 1 - np.asarray(prob_fake, np.float64))
    losses = -np.log(np.maximum(right, np.finfo(np.float64).tiny))
    return float(np.mean([losses[labels == label].mean() for label in (0, 1)]))


def _chosen_curve(logits: NDArray[Any], labels: NDArray[Any], seed: int) -> DecisionConfig:
    curves = _curves(logits, labels)
    if curves["isotonic"].calibration == "platt" or np.bincount(labels).min() < 2:
        return curves["platt"]
    losses: Mapping[str, float] = {
        kind: log_loss(prob, labels) for kind, prob in held_out_probabilities(logits, labels, seed).items()
    }
    return curves["isotonic" if losses["isotonic"] < losses["platt"] else "platt"]


def _curves(logits: NDArray[Any], labels: NDArray[Any]) -> dict[str, DecisionConfig]:
    """Fit both calibrations; where the score does not rise with the label, "isotonic" is Platt's as well."""
    platt = LogisticRegression(C=1e6, class_weight="balanced").fit(logits[:, None], labels)
    scale, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    if scale <= 0:
        scale, offset = 1.0, 0.0  # no better than chance: calibration would turn the score around
    line = DecisionConfig(platt_scale=scale, platt_offset=offset)
    knots = centred_isotonic(logits, labels)
    if len(knots[0]) < 2:
        return {"platt": line, "isotonic": line}
    return {
        "platt": line,
        "isotonic": replace(line, calibration="isotonic", knot_logits=knots[0], knot_log_odds=knots[1]),
    }


def _folds(
    labels: NDArray[Any], seed: int, fold: NDArray[np.int64] | None = None
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return which images are fitted and which are judged, fold by fold."""
    if fold is not None:
        return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in np.unique(fold)]
    folds = min(FOLDS, int(np.bincount(labels, minlength=2).min()))
    if folds < 2:
        everything = np.arange(len(labels))
        return [(everything, everything)]
    return list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels))


def _check(logits: NDArray[Any], labels: NDArray[Any]) -> None:
    if set(np.unique(labels)) != {0, 1}:
        raise TrainingError(
            "thresholds are chosen on photographs and generated images; validation holds one class only."
        )
    if not np.isfinite(logits).all():
        raise TrainingError("a validation logit is not finite: the store holds broken features; extract it again.")


def _source_weights(sources: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return weights that sum to the same for each source, (N,)."""
    _, place, counts = np.unique(sources, return_inverse=True, return_counts=True)
    weights: NDArray[np.float64] = 1 / counts[place]
    return weights


def _threshold_for(prob: NDArray[Any], real_prob: NDArray[Any], weights: NDArray[np.float64], target: float) -> float:
    """Return the lowest threshold that at most a share `target` of photographs reach, midway between two scores."""
    order = np.argsort(-real_prob, kind="stable")
    reached = np.searchsorted(np.cumsum(weights[order]), target * weights.sum(), side="right")
    below = real_prob[order[reached]]
    return between(below, np.min(prob, where=prob > below, initial=1.0))


def _floor_for(prob: NDArray[Any], fake_prob: NDArray[Any], target: float) -> float:
    """Return the highest floor that at most a share `target` of fakes lie below, midway between two scores."""
    above = np.sort(fake_prob)[int(np.floor(target * len(fake_prob)))]
    return between(np.max(prob, where=prob < above, initial=0.0), above)


def between(below: float, above: float) -> float:
    """Return the midpoint of two scores, or `above` where no number lies between."""
    middle = below / 2 + above / 2  # the sum itself could overflow
    return float(middle if middle > below else above)
