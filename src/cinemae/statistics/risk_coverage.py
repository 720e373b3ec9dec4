"""How many errors are left when the least sure images go unanswered? Risk and coverage (Geifman and El-Yaniv 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cinemae.errors import ConfigError, EvaluationError
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.plot_style import GREY, LINES, new_figure, quiet_axes
from cinemae.statistics.resampling import RESAMPLES
from cinemae.statistics.scored_set import binary_labels, finite_scores

ERROR_LEVELS = (0.01, 0.02, 0.05)
_SETTLED = 0.1  # coverage from which on a plot shows the whole curve


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The risk-coverage curve of one detector.

    Attributes:
        n: Images.
        coverage: Share of images answered, rising to 1, (M,); images of equal confidence are answered together.
        error: Share of the answered images that are called wrongly, (M,).
        aurc: Area under the curve: the mean error over all coverages; lower is better.
        coverage_at: For each level of error the largest coverage that stays within it, 0 if none does.
    """

    n: int
    coverage: NDArray[np.float64]
    error: NDArray[np.float64]
    aurc: Estimate
    coverage_at: Mapping[float, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "n": self.n,
            "coverage": self.coverage.tolist(),
            "error": self.error.tolist(),
            "aurc": self.aurc.to_dict(),
            "coverage_at": {f"{level:g}": estimate.to_dict() for level, estimate in self.coverage_at.items()},
        }


def risk_coverage(
    scores: NDArray[Any],
    labels: NDArray[Any],
    *,
    threshold: float = 0.5,
    centre: float | None = None,
    levels: Sequence[float] = ERROR_LEVELS,
    seed: int = 0,
) -> RiskCoverage:
    """Answer the surest images first and count what is called wrongly.

    An image is called generated where its score reaches `threshold`; its confidence is the distance of its score to
    `centre`. With the default that is the distance to the threshold; ``centre=0.5`` gives |p - 0.5| of a probability
    whatever the threshold. Images of equal confidence come in no order: within them the area takes the errors as spread
    evenly. Errors are shares of the images as they are, so they move with the share of fakes in the set. Intervals are
    95 % percentile bootstrap over images, the classes resampled apart. Coverage at an error is found on these very
    images: where they are few it flatters.

    Args:
        scores: (N,); higher means more likely generated.
        labels: 0 real, 1 fake, (N,).
        threshold: From which score on an image is called generated.
        centre: What score is the least sure; None for `threshold`.
        levels: Errors at which coverage is stated, each from 0 to 1.
        seed: Of the resampling.

    Raises:
        ConfigError: If threshold, centre or a level is no such number.
        EvaluationError: If lengths differ, a class is empty, or a score is not finite.

    Example:
        >>> found = risk_coverage(np.array([0.1, 0.6, 0.8, 1.0]), np.array([0, 0, 1, 1]))
        >>> found.coverage.tolist(), found.error.tolist()
        ([0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.0, 0.25])
        >>> found.aurc.value, found.coverage_at[0.05].value
        (0.0625, 0.75)
    """
    values = finite_scores(scores, "the scores")
    numbers = binary_labels(labels, len(values))
    middle = threshold if centre is None else centre
    _check_settings(threshold, middle, levels)
    wrong = (values >= threshold) != (numbers == 1)
    _, group = np.unique(-np.abs(values - middle), return_inverse=True)
    whole = _tally(group, wrong, group.max() + 1)
    point = _figures(whole, levels)
    low, high = np.zeros_like(point), np.ones_like(point)
    if np.bincount(numbers).min() > 1:  # a single image of a class cannot be resampled
        drawn = [_figures(tally, levels) for tally in _resamples(group, wrong, numbers, seed)]
        low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    ends = np.stack([point, low, high], axis=1).tolist()
    figures = [Estimate(value, lower, upper, len(values)) for value, lower, upper in ends]
    answered, errors = np.cumsum(whole, axis=1)
    by_level = dict(zip(levels, figures[1:], strict=True))
    return RiskCoverage(len(values), answered / len(values), errors / answered, figures[0], by_level)


def _check_settings(threshold: float, centre: float, levels: Sequence[float]) -> None:
    if not np.isfinite([threshold, centre]).all():
        raise ConfigError(f"threshold and centre must be finite numbers, got {threshold} and {centre}.")
    for level in levels:
        if not 0 <= level <= 1:
            raise ConfigError(f"a level of error lies from 0 to 1, got {level}.")


def _tally(group: NDArray[np.intp], wrong: NDArray[np.bool_], num_groups: int) -> NDArray[np.int64]:
    """Return how many images, and how many wrong ones, have each confidence, surest first, (2, G)."""
    return np.stack([np.bincount(chosen, minlength=num_groups) for chosen in (group, group[wrong])])


def _figures(tally: NDArray[np.int64], levels: Sequence[float]) -> NDArray[np.float64]:
    """Return the area under the curve, then the coverage at each level."""
    answered, errors = tally[:, tally[0] > 0]
    spread = np.repeat(errors / answered, answered)
    count = len(spread)
    area = (np.cumsum(spread) / np.arange(1, count + 1)).mean()
    total = np.cumsum(answered)
    error = np.cumsum(errors) / total
    coverages = [np.max(total, where=error <= level, initial=0) / count for level in levels]
    return np.array([area, *coverages])


def _resamples(
    group: NDArray[np.intp], wrong: NDArray[np.bool_], labels: NDArray[np.int64], seed: int
) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    for _ in range(RESAMPLES):
        drawn = np.concatenate([of[rng.integers(0, len(of), len(of))] for of in classes])
        yield _tally(group[drawn], wrong[drawn], group.max() + 1)


def plot_risk_coverage(curves: Mapping[str, RiskCoverage]) -> Figure:
    """Draw the curves of one or several detectors; a dot marks the coverage at each stated level of error.

    Args:
        curves: By the name of the detector; at most as many as there are colours (7).

    Raises:
        EvaluationError: If no curve came, or more than can be told apart.
    """
    if not 0 < len(curves) <= len(LINES):
        raise EvaluationError(f"one plot holds 1 to {len(LINES)} curves, got {len(curves)}: draw several plots.")
    figure = new_figure(7.2, 4.4 + 0.2 * len(curves))
    axes = figure.subplots()
    quiet_axes(axes)
    for colour, (name, curve) in zip(LINES, curves.items(), strict=False):
        area = curve.aurc
        label = f"{name}: area {area:.3f}, n = {curve.n:,}"
        axes.plot(curve.coverage, curve.error, color=colour, lw=1.5, label=label, drawstyle="steps-post")
        reached = {level: found.value for level, found in curve.coverage_at.items() if found.value > 0}
        axes.plot(list(reached.values()), list(reached), "o", color=colour, ms=5)
    levels = sorted({level for curve in curves.values() for level in curve.coverage_at})
    for level in levels:
        axes.axhline(level, color=GREY, ls=":", lw=1)
    # The first few images make the curve jump: they may leave the frame, or they would squeeze all else.
    top = max(float(curve.error[curve.coverage >= _SETTLED].max()) for curve in curves.values())
    axes.set(xlim=(0, 1), ylim=(0, max(0.06, 1.05 * top)))
    axes.set(xlabel="coverage: share of images answered, surest first", ylabel="error among the answered")
    figure.legend(loc="outside lower left", frameon=False, fontsize=9)
    marks = f"\ndots: coverage at {', '.join(f'{100 * level:g} %' for level in levels)} error" if levels else ""
    axes.set_title(f"Errors left when unsure images go unanswered; lower is better{marks}", fontsize=10)
    return figure
