"""Figures of merit, each with its n and a 95 % interval; scipy and scikit-learn do the arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap, rankdata
from sklearn.metrics import average_precision_score, roc_curve

from cinemae.config import DecisionConfig

_RESAMPLES = 1000
CALIBRATION_BINS = 10


@dataclass(frozen=True)
class Estimate:
    """A figure with its sample size and 95 % interval.

    Attributes:
        value: The figure.
        low: Lower end.
        high: Upper end.
        n: How many images it rests on.
    """

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float | int]:
        """Return plain JSON types."""
        return asdict(self)


def rate(hits: int, n: int) -> Estimate:
    """Return a share with its Wilson interval.

    Example:
        >>> estimate = rate(5, 100)
        >>> round(estimate.low, 4), round(estimate.high, 4)
        (0.0215, 0.1118)
    """
    interval = binomtest(hits, n).proportion_ci(method="wilson")
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
    return _resampled(_rank_auc, real_scores, fake_scores, seed=seed, vectorized=True)


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

    def statistic(real: NDArray[Any], fake: NDArray[Any]) -> float:
        labels, weights = _balanced(real, fake)
        return float(average_precision_score(labels, np.concatenate([real, fake]), sample_weight=weights))

    return _resampled(statistic, real_scores, fake_scores, seed=seed)


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

    def statistic(real: NDArray[Any], fake: NDArray[Any]) -> float:
        labels, _ = _balanced(real, fake)
        fpr, tpr, _ = roc_curve(labels, np.concatenate([real, fake]), drop_intermediate=False)
        return float(tpr[fpr <= max_fpr].max())

    return _resampled(statistic, real_scores, fake_scores, seed=seed)


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

    def statistic(real: NDArray[Any], fake: NDArray[Any]) -> float:
        return float((np.mean(real**2) + np.mean((1 - fake) ** 2)) / 2)

    return _resampled(statistic, real_prob, fake_prob, seed=seed)


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

    def statistic(real: NDArray[Any], fake: NDArray[Any]) -> float:
        labels, weights = _balanced(real, fake)
        prob = np.concatenate([real, fake])
        bins = np.minimum((prob * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        gaps = np.bincount(bins, weights * (prob - labels), minlength=CALIBRATION_BINS)
        return float(np.abs(gaps).sum() / weights.sum())

    return _resampled(statistic, real_prob, fake_prob, seed=seed)


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

    def statistic(real: NDArray[Any], fake: NDArray[Any]) -> float:
        return float((1 - real.mean() + fake.mean()) / 2)

    return _resampled(statistic, real_called, fake_called, seed=seed)


def _balanced(real: NDArray[Any], fake: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels and weights of photographs, then fakes; each class weighs 1 in all."""
    labels = np.repeat([0, 1], [len(real), len(fake)])
    return labels, np.where(labels == 1, 1 / len(fake), 1 / len(real))


def _resampled(
    statistic: Callable[..., Any],
    real: NDArray[Any],
    fake: NDArray[Any],
    *,
    seed: int,
    vectorized: bool = False,
) -> Estimate:
    """Return a statistic of both classes with its percentile-bootstrap interval; [0, 1] where one image is alone."""
    value, n = float(statistic(real, fake)), len(real) + len(fake)
    if min(len(real), len(fake)) < 2:
        return Estimate(value, 0.0, 1.0, n)
    result = bootstrap(
        (real, fake),
        statistic,
        n_resamples=_RESAMPLES,
        batch=100,
        vectorized=vectorized,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    interval = result.confidence_interval
    return Estimate(value, float(interval.low), float(interval.high), n)


def mean_generator_auc(scores: NDArray[Any], labels: NDArray[Any], generators: NDArray[Any]) -> float:
    """Return the mean over generators of each one's AUC against all photographs."""
    real = scores[labels == 0]
    names = sorted({str(name) for name in generators[labels == 1]})
    of_each = [_rank_auc(real, scores[(labels == 1) & (generators.astype(str) == name)]) for name in names]
    return float(np.mean(of_each))


def _rank_auc(real: NDArray[Any], fake: NDArray[Any], axis: int = -1) -> NDArray[np.float64]:
    """Return the share of pairs in which the fake scores higher, ties counting half, along the last axis."""
    n_real, n_fake = real.shape[-1], fake.shape[-1]
    ranks = rankdata(np.concatenate([real, fake], axis=-1), axis=axis)[..., n_real:]
    result: NDArray[np.float64] = (ranks.sum(axis) - n_fake * (n_fake + 1) / 2) / (n_real * n_fake)
    return result


def evaluate(
    prob_fake: NDArray[Any], labels: NDArray[Any], generators: NDArray[Any], decision: DecisionConfig
) -> dict[str, Any]:
    """Return the whole table: overall, per generator and per photo source, each worst first.

    Args:
        prob_fake: Calibrated probabilities, (N,).
        labels: 0 real, 1 fake, (N,).
        generators: Generator of each fake, source of each photograph, (N,).
        decision: The thresholds to judge at.

    Returns:
        Plain JSON types; every figure is an `Estimate` dictionary.
    """
    real, fake = prob_fake[labels == 0], prob_fake[labels == 1]
    names = generators.astype(str)
    per_generator = []
    for name in sorted(set(names[labels == 1])):
        chosen = prob_fake[(labels == 1) & (names == name)]
        per_generator.append(
            {
                "generator": name,
                "auc": auc(real, chosen).to_dict(),
                "called_ai": rate(int((chosen >= decision.threshold).sum()), len(chosen)).to_dict(),
                "called_real": rate(int((chosen < decision.real_below).sum()), len(chosen)).to_dict(),
            }
        )
    per_source = []
    for name in sorted(set(names[labels == 0])):
        chosen = prob_fake[(labels == 0) & (names == name)]
        per_source.append(
            {
                "source": name,
                "false_positive_rate": rate(int((chosen >= decision.threshold).sum()), len(chosen)).to_dict(),
                "called_real": rate(int((chosen < decision.real_below).sum()), len(chosen)).to_dict(),
            }
        )
    undecided = (prob_fake >= decision.real_below) & (prob_fake < decision.threshold)
    return {
        "n_real": len(real),
        "n_fake": len(fake),
        "auc": auc(real, fake).to_dict(),
        "mean_generator_auc": mean_generator_auc(prob_fake, labels, generators),
        "average_precision": average_precision(real, fake).to_dict(),
        "tpr_at_fpr_0.01": tpr_at_fpr(real, fake, 0.01).to_dict(),
        "tpr_at_fpr_0.05": tpr_at_fpr(real, fake, 0.05).to_dict(),
        "brier_score": brier_score(real, fake).to_dict(),
        "calibration_error": calibration_error(real, fake).to_dict(),
        "false_positive_rate": rate(int((real >= decision.threshold).sum()), len(real)).to_dict(),
        "called_ai": rate(int((fake >= decision.threshold).sum()), len(fake)).to_dict(),
        "uncertain": rate(int(undecided.sum()), len(prob_fake)).to_dict(),
        "per_generator": sorted(per_generator, key=lambda row: row["auc"]["value"]),
        "per_photo_source": sorted(per_source, key=lambda row: -row["false_positive_rate"]["value"]),
    }
