"""Does a stated probability hold? The reliability diagram (Guo et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cinemae.errors import ConfigError, EvaluationError
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.metrics import rate
from cinemae.statistics.plot_style import BLUE, GREY, new_figure, quiet_axes
from cinemae.statistics.resampling import CALIBRATION_BINS
from cinemae.statistics.scored_set import binary_labels, finite_scores


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose probability lies between two ends.

    Attributes:
        low: Lower end.
        high: Upper end.
        n: How many images.
        weight: What they weigh; the weights of all bins add up to 1.
        mean_prob: Mean of their probabilities; None in an empty bin.
        share_of_fakes: Weighted; None in an empty bin.
    """

    low: float
    high: float
    n: int
    weight: float
    mean_prob: float | None
    share_of_fakes: Estimate | None


@dataclass(frozen=True)
class ReliabilityTable:
    """Stated probabilities beside what came true.

    Attributes:
        balanced: Whether both classes weigh half.
        calibration_error: Mean distance of the two, weighted.
        bins: Of equal width.
    """

    balanced: bool
    calibration_error: float
    bins: tuple[ReliabilityBin, ...]

    @property
    def points(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Mean probabilities of filled bins (B,), their shares of fakes (B,), and the reach of the intervals (2, B)."""
        found = [(one.mean_prob, one.share_of_fakes) for one in self.bins]
        filled = [(mean, share) for mean, share in found if mean is not None and share is not None]
        value = np.array([share.value for _, share in filled])
        low, high = (np.array([getattr(share, end) for _, share in filled]) for end in ("low", "high"))
        return np.array([mean for mean, _ in filled]), value, np.clip([value - low, high - value], 0, None)


def reliability_bins(
    prob_fake: NDArray[Any], labels: NDArray[Any], *, bins: int = CALIBRATION_BINS, balanced: bool = True
) -> ReliabilityTable:
    """Return mean probability and share of fakes in bins of equal width.

    `prob_fake` is a probability for someone who beforehand thinks both classes equally likely, so with `balanced` each
    class weighs half, whatever its share in the set: an image of class c weighs N / (2 n_c). The weighted share of
    fakes is a rising function of the plain one, and carries the ends of its Wilson interval along. The calibration
    error is then that of `cinemae.statistics.resampling.calibration_error_of`. Without `balanced` every image weighs 1.

    Args:
        prob_fake: (N,), from 0 to 1.
        labels: 0 real, 1 fake, (N,).
        bins: How many; the last one holds 1 too.
        balanced: Whether both classes weigh half.

    Raises:
        ConfigError: If there would be no bin.
        EvaluationError: If lengths differ, a class is empty, or a probability is outside [0, 1].

    Example:
        >>> first = reliability_bins(np.array([0.2, 0.2, 0.9]), np.array([0, 1, 1]), bins=2, balanced=False).bins[0]
        >>> first.n, first.mean_prob, first.share_of_fakes.value
        (2, 0.2, 0.5)
    """
    if bins < 1:
        raise ConfigError(f"a reliability diagram has at least 1 bin, got {bins}.")
    prob = finite_scores(prob_fake, "probabilities")
    numbers = binary_labels(labels, len(prob))
    if prob.min() < 0 or prob.max() > 1:
        raise EvaluationError(
            f"a reliability diagram needs probabilities from 0 to 1, got {prob.min():g} to {prob.max():g}: "
            "scores of another kind are calibrated first."
        )
    size = np.bincount(numbers, minlength=2)
    weight_of = len(prob) / (2 * size) if balanced else np.ones(2)
    place = np.minimum((prob * bins).astype(int), bins - 1)
    rows = tuple(
        _bin(
            (number / bins, (number + 1) / bins),
            prob[place == number],
            numbers[place == number],
            weight_of,
            len(prob),
        )
        for number in range(bins)
    )
    error = sum(
        row.weight * abs(row.mean_prob - row.share_of_fakes.value)
        for row in rows
        if row.mean_prob is not None and row.share_of_fakes is not None
    )
    return ReliabilityTable(balanced, float(error), rows)


def _bin(
    ends: tuple[float, float],
    prob: NDArray[np.float64],
    labels: NDArray[np.int64],
    weight_of: NDArray[np.float64],
    total: int,
) -> ReliabilityBin:
    weights = weight_of[labels]
    weight = float(weights.sum()) / total
    if not len(prob):
        return ReliabilityBin(*ends, 0, weight, None, None)
    plain = rate(int(labels.sum()), len(prob))
    value, low, high = (
        float(weight_of[1] * share / (weight_of[1] * share + weight_of[0] * (1 - share)))
        for share in (plain.value, plain.low, plain.high)
    )
    mean = float(np.average(prob, weights=weights))
    return ReliabilityBin(*ends, len(prob), weight, mean, Estimate(value, low, high, len(prob)))


def plot_reliability(table: ReliabilityTable, name: str) -> Figure:
    """Draw the output of `reliability_bins`: the share of fakes over the mean probability, and n a bin below.

    Args:
        table: From `reliability_bins`.
        name: Of the detector.
    """
    figure = new_figure(5.6, 7.0)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    mean, value, reach = table.points
    quiet_axes(axes)
    axes.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1.2, label="stated probability holds")
    axes.errorbar(mean, value, reach, fmt="o-", color=BLUE, lw=1.2, ms=5, capsize=3, label="bin, with 95 % interval")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    weighting = "both classes weigh half" if table.balanced else "all images weigh the same"
    axes.set_ylabel(f"share of generated images ({weighting})")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    axes.set_title(
        f"{name}: does the probability hold?\nabove the line: more generated images than stated\n"
        f"calibration error {table.calibration_error:.3f} (0 is best)",
        fontsize=10,
    )
    rows = table.bins
    quiet_axes(below)
    below.bar(
        [row.low for row in rows], [row.n for row in rows], [row.high - row.low for row in rows],
        align="edge", color="#c8c8c8", edgecolor="white",
    )  # fmt: skip
    below.set(xlabel="mean stated probability of being generated", ylabel="images")
    return figure
