"""Figures of merit, each with its n and a 95 % interval; scipy and scikit-learn do the arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, rankdata

from cinemae.config import DecisionConfig
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.figures import Figures, GeneratorFigures, SourceFigures
from cinemae.statistics.resampling import (
    Statistic,
    auc_of,
    average_precision_of,
    brier_of,
    calibration_error_of,
    estimate,
    tpr_at,
)

_FIGURES: dict[str, Statistic] = {
    "auc": auc_of,
    "average_precision": average_precision_of,
    "tpr_at_fpr_1_percent": tpr_at(0.01),
    "tpr_at_fpr_5_percent": tpr_at(0.05),
    "brier_score": brier_of,
    "calibration_error": calibration_error_of,
}


def rate(hits: int, n: int) -> Estimate:
    """Return a share with its Wilson interval.

    Example:
        >>> estimate = rate(5, 100)
        >>> round(estimate.low, 4), round(estimate.high, 4)
        (0.0215, 0.1118)
    """
    interval = binomtest(hits, n, hits / n).proportion_ci(method="wilson")  # of the test itself, the quickest case
    return Estimate(hits / n, float(interval.low), float(interval.high), n)


def figure(statistic: Statistic, real: NDArray[Any], fake: NDArray[Any], *, seed: int = 0) -> Estimate:
    """Return one figure of merit with a percentile-bootstrap interval over images of both classes.

    Both classes weigh half in all of them, so that sets with other shares of fakes can be compared. A single image of a
    class cannot be resampled; the interval is then [0, 1].

    Args:
        statistic: One of `cinemae.statistics.resampling`, such as `average_precision_of` or `tpr_at(0.01)`.
        real: Scores of photographs, (R,).
        fake: Scores of generated images, (F,); higher means more likely generated.
        seed: Of the resampling.

    Example:
        >>> real, fake = np.array([0.1, 0.2, 0.7]), np.array([0.3, 0.8])
        >>> figure(tpr_at(0.01), real, fake).value, figure(brier_of, real * 0, real * 0 + 0.5).value
        (0.5, 0.125)
    """
    return estimate(real, fake, {"figure": statistic}, seed=seed)["figure"]


def auc(real_scores: NDArray[np.floating[Any]], fake_scores: NDArray[np.floating[Any]], *, seed: int = 0) -> Estimate:
    """Return the area under the ROC curve; interval as in `figure`.

    Example:
        >>> auc(np.array([0.1, 0.2]), np.array([0.3, 0.4])).value
        1.0
    """
    return figure(auc_of, real_scores, fake_scores, seed=seed)


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
    return Figures(
        n_real=len(real),
        n_fake=len(fake),
        mean_generator_auc=mean_generator_auc(prob_fake, labels, generators),
        **estimate(real, fake, _FIGURES),
        false_positive_rate=_called_ai(real, decision),
        called_ai=_called_ai(fake, decision),
        uncertain=rate(int(undecided.sum()), len(prob_fake)),
        per_generator=tuple(sorted(per_generator, key=lambda row: row.auc.value)),
        per_photo_source=tuple(
            SourceFigures(name, accused, _called_real(chosen, decision))
            for name, accused, chosen in accused_by_source(real, generators[labels == 0], decision.threshold)
        ),
    )


def accused_by_source(
    scores: NDArray[Any], sources: NDArray[Any], threshold: float
) -> list[tuple[str, Estimate, NDArray[Any]]]:
    """Return each source's name, share of photographs accused, and scores; the most accused first.

    Args:
        scores: Of photographs, (R,).
        sources: Where each comes from, (R,).
        threshold: From which on a photograph is accused.
    """
    rows = [
        (name, rate(int((chosen >= threshold).sum()), len(chosen)), chosen)
        for name, chosen in _by_name(scores, sources)
    ]
    return sorted(rows, key=lambda row: -row[1].value)


def _by_name(prob: NDArray[Any], names: NDArray[Any]) -> list[tuple[str, NDArray[Any]]]:
    """Return each generator's or source's name and probabilities, in the order of the names."""
    texts = names.astype(str)
    return [(str(name), prob[texts == name]) for name in np.unique(texts)]


def _called_ai(prob: NDArray[Any], decision: DecisionConfig) -> Estimate:
    return rate(int((prob >= decision.threshold).sum()), len(prob))


def _called_real(prob: NDArray[Any], decision: DecisionConfig) -> Estimate:
    return rate(int((prob < decision.real_below).sum()), len(prob))
