"""Figures of merit, each with its n and a 95 % interval; scipy does the arithmetic."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap, rankdata

from cinemae.config import DecisionConfig

_RESAMPLES = 1000


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
    value, n = float(_rank_auc(real_scores, fake_scores)), len(real_scores) + len(fake_scores)
    if min(len(real_scores), len(fake_scores)) < 2:
        return Estimate(value, 0.0, 1.0, n)
    result = bootstrap(
        (real_scores, fake_scores),
        _rank_auc,
        n_resamples=_RESAMPLES,
        batch=100,
        vectorized=True,
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
        "false_positive_rate": rate(int((real >= decision.threshold).sum()), len(real)).to_dict(),
        "called_ai": rate(int((fake >= decision.threshold).sum()), len(fake)).to_dict(),
        "uncertain": rate(int(undecided.sum()), len(prob_fake)).to_dict(),
        "per_generator": sorted(per_generator, key=lambda row: row["auc"]["value"]),
        "per_photo_source": sorted(per_source, key=lambda row: -row["false_positive_rate"]["value"]),
    }
