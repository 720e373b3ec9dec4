"""Figures of merit, each with its n and a 95 % interval; scipy and scikit-learn do the arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, rankdata

from cinemae.config import DecisionConfig
from cinemae.statistics.figures import Figures, GeneratorFigures, SourceFigures
from cinemae.statistics.resampling import (
    Estimate,
    Statistic,
    auc_of,
    average_precision_of,
    balanced_accuracy_at,
    brier_of,
    calibration_error_of,
    estimate,
    tpr_at,
)


def rate(hits: int, n: int) -> Estimate:
    """Return a share with its Wilson interval.

    Example:
        >>> estimate = rate(5, 100)
        >>> round(estimate.low, 4), round(estimate.high, 4)
        (0.0215, 0.1118)
    """
    interval = binomtest(hits, n, hits / n).proportion_ci(method="wilson")  # of the test itself, the quickest case
    return Estimate(hits / n, float(interval.low), float(interval.high), n)


def auc(real_scores: NDArray[np.floating[Any]], fake_scores: NDArray[np.floating[Any]], *, seed: int = 0) -> Estimate:
    """Return the area under the ROC curve with a percentile-bootstrap interval over images of both classes.

    A single image of a class cannot be resampled; the interval is then [0, 1].

    Args:
        real_scores: Scores of photographs, (R,).
        fake_scores: Scores of generated images, (F,); higher means more likely generated.
        seed: Of the resampling.

    Example:
        >>> auc(np.array([0.1, 0.2]), np.array([0.3, 0.4])).value
        1.0
    """
    return _one(auc_of, real_scores, fake_scores, seed)


def average_precision(
    real_scores: NDArray[np.floating[Any]], fake_scores: NDArray[np.floating[Any]], *, seed: int = 0
) -> Estimate:
    """Return the area under the precision-recall curve, both classes weighing half; interval as in `auc`.

    The usual figure moves with the share of fakes in the set, so two sets could not be compared; chance is 0.5 here.

    Args:
        real_scores: Scores of photographs, (R,).
        fake_scores: Scores of generated images, (F,); higher means more likely generated.
        seed: Of the resampling.

    Example:
        >>> average_precision(np.array([0.1, 0.2]), np.array([0.3, 0.4])).value
        1.0
    """
    return _one(average_precision_of, real_scores, fake_scores, seed)


def tpr_at_fpr(
    real_scores: NDArray[np.floating[Any]],
    fake_scores: NDArray[np.floating[Any]],
    max_fpr: float,
    *,
    seed: int = 0,
) -> Estimate:
    """Return the share of fakes found where at most `max_fpr` of the photographs are accused; interval as in `auc`.

    The threshold is set on these very photographs, so it flatters by a little where there are few of them.

    Args:
        real_scores: Scores of photographs, (R,).
        fake_scores: Scores of generated images, (F,); higher means more likely generated.
        max_fpr: Largest share of photographs accused, such as 0.01.
        seed: Of the resampling.

    Example:
        >>> tpr_at_fpr(np.array([0.1, 0.2, 0.7]), np.array([0.3, 0.8]), 0.01).value
        0.5
    """
    return _one(tpr_at(max_fpr), real_scores, fake_scores, seed)


def brier_score(
    real_prob: NDArray[np.floating[Any]], fake_prob: NDArray[np.floating[Any]], *, seed: int = 0
) -> Estimate:
    """Return the mean squared error of probabilities, both classes weighing half; 0.25 is what 0.5 for all gives.

    Args:
        real_prob: prob_fake of photographs, (R,).
        fake_prob: prob_fake of generated images, (F,).
        seed: Of the resampling.

    Example:
        >>> brier_score(np.array([0.0, 0.0]), np.array([0.5, 0.5])).value
        0.125
    """
    return _one(brier_of, real_prob, fake_prob, seed)


def calibration_error(
    real_prob: NDArray[np.floating[Any]], fake_prob: NDArray[np.floating[Any]], *, seed: int = 0
) -> Estimate:
    """Return the expected calibration error over ten bins of equal width, both classes weighing half.

    In each bin the mean probability is held against the share of fakes; the differences are averaged by weight (Guo et
    al. 2017). Chance alone makes it greater than 0, the more so the fewer images there are.

    Args:
        real_prob: prob_fake of photographs, (R,).
        fake_prob: prob_fake of generated images, (F,).
        seed: Of the resampling.

    Example:
        >>> round(calibration_error(np.array([0.21, 0.21]), np.array([0.81, 0.81])).value, 3)
        0.2
    """
    return _one(calibration_error_of, real_prob, fake_prob, seed)


def balanced_accuracy(real_called: NDArray[Any], fake_called: NDArray[Any], *, seed: int = 0) -> Estimate:
    """Return the mean of both classes' accuracy; interval as in `auc`.

    Args:
        real_called: Labels given to photographs, 0 or 1, (R,).
        fake_called: Labels given to generated images, 0 or 1, (F,).
        seed: Of the resampling.

    Example:
        >>> balanced_accuracy(np.array([0, 0]), np.array([1, 0])).value
        0.75
    """
    return _one(balanced_accuracy_at(1), real_called, fake_called, seed)


def _one(statistic: Statistic, real: NDArray[Any], fake: NDArray[Any], seed: int) -> Estimate:
    return estimate(real, fake, {"figure": statistic}, seed=seed)["figure"]


def mean_generator_auc(scores: NDArray[Any], labels: NDArray[Any], generators: NDArray[Any]) -> float:
    """Return the mean over generators of each one's AUC against all photographs."""
    real = scores[labels == 0]
    names = sorted({str(name) for name in generators[labels == 1]})
    of_each = [_rank_auc(real, scores[(labels == 1) & (generators.astype(str) == name)]) for name in names]
    return float(np.mean(of_each))


def _rank_auc(real: NDArray[Any], fake: NDArray[Any]) -> float:
    """Return the share of pairs in which the fake scores higher, ties counting half."""
    n_real, n_fake = len(real), len(fake)
    ranks = rankdata(np.concatenate([real, fake]))[n_real:]
    return float((ranks.sum() - n_fake * (n_fake + 1) / 2) / (n_real * n_fake))


def evaluate(
    prob_fake: NDArray[Any], labels: NDArray[Any], generators: NDArray[Any], decision: DecisionConfig
) -> Figures:
    """Return the whole table: overall, per generator and per photo source, each worst first.

    Args:
        prob_fake: Calibrated probabilities, (N,).
        labels: 0 real, 1 fake, (N,).
        generators: Generator of each fake, source of each photograph, (N,).
        decision: The thresholds to judge at.
    """
    real, fake = prob_fake[labels == 0], prob_fake[labels == 1]
    undecided = (prob_fake >= decision.real_below) & (prob_fake < decision.threshold)
    per_generator = (
        GeneratorFigures(name, auc(real, chosen), _called_ai(chosen, decision), _called_real(chosen, decision))
        for name, chosen in _by_name(fake, generators[labels == 1])
    )
    per_source = (
        SourceFigures(name, _called_ai(chosen, decision), _called_real(chosen, decision))
        for name, chosen in _by_name(real, generators[labels == 0])
    )
    return Figures(
        n_real=len(real),
        n_fake=len(fake),
        auc=auc(real, fake),
        mean_generator_auc=mean_generator_auc(prob_fake, labels, generators),
        average_precision=average_precision(real, fake),
        tpr_at_fpr_1_percent=tpr_at_fpr(real, fake, 0.01),
        tpr_at_fpr_5_percent=tpr_at_fpr(real, fake, 0.05),
        brier_score=brier_score(real, fake),
        calibration_error=calibration_error(real, fake),
        false_positive_rate=_called_ai(real, decision),
        called_ai=_called_ai(fake, decision),
        uncertain=rate(int(undecided.sum()), len(prob_fake)),
        per_generator=tuple(sorted(per_generator, key=lambda row: row.auc.value)),
        per_photo_source=tuple(sorted(per_source, key=lambda row: -row.false_positive_rate.value)),
    )


def _by_name(prob: NDArray[Any], names: NDArray[Any]) -> list[tuple[str, NDArray[Any]]]:
    """Return each generator's or source's name and probabilities, in the order of the names."""
    texts = names.astype(str)
    return [(str(name), prob[texts == name]) for name in np.unique(texts)]


def _called_ai(prob: NDArray[Any], decision: DecisionConfig) -> Estimate:
    return rate(int((prob >= decision.threshold).sum()), len(prob))


def _called_real(prob: NDArray[Any], decision: DecisionConfig) -> Estimate:
    return rate(int((prob < decision.real_below).sum()), len(prob))
