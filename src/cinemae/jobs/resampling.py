"""Bootstrap intervals of all figures of merit from one set of resamples, fast enough to rebuild whole tables.

A figure that depends on scores only through their order and count can be had from a table: at each distinct score, how
many photographs and how many fakes lie there. A resample is another table of the same size, so a thousand of them are
one array, and a figure is a sum along it. `scipy.stats.bootstrap` draws the same indices and would call scikit-learn a
thousand times; the tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
CALIBRATION_BINS = 10
_BATCH = 100
_MOST_KEPT = 2000  # images of whose draws some sets are kept, 16 MB each at most
_MOST_CELLS = 4_000_000  # of a table held at once

_Seed: TypeAlias = int | tuple[int, int]
_Drawn: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]


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


@dataclass(frozen=True)
class Tally:
    """Where the scores of both classes lie, once for each of R resamples.

    Attributes:
        values: The distinct scores, ascending, (U,).
        real: How many photographs score each of them, (R, U).
        fake: How many fakes score each of them, (R, U).
    """

    values: NDArray[np.float64]
    real: NDArray[np.int64]
    fake: NDArray[np.int64]

    @property
    def num_real(self) -> int:
        """Photographs in each resample."""
        return int(self.real[0].sum())

    @property
    def num_fake(self) -> int:
        """Fakes in each resample."""
        return int(self.fake[0].sum())


class Statistic(Protocol):
    """A figure of each resample of a `Tally`."""

    def __call__(self, tally: Tally) -> NDArray[np.float64]:
        """Return (R,)."""
        ...


def estimate(
    real: NDArray[Any], fake: NDArray[Any], statistics: Mapping[str, Statistic], *, seed: int = 0
) -> dict[str, Estimate]:
    """Return each statistic with its percentile-bootstrap interval over images, the classes resampled apart.

    A single image of a class cannot be resampled; the interval is then [0, 1].

    Args:
        real: Scores of photographs, (R,).
        fake: Scores of generated images, (F,); higher means more likely generated.
        statistics: What to compute, by name.
        seed: Of the resampling.

    Example:
        >>> estimate(np.array([0.1, 0.2]), np.array([0.3, 0.4]), {"auc": auc_of})["auc"].value
        1.0
    """
    alone = point(real, fake, statistics)
    n = len(real) + len(fake)
    drawn = draws(real, fake, statistics, seed=seed) if min(len(real), len(fake)) > 1 else {}
    return {name: _estimate(value, drawn.get(name), n) for name, value in alone.items()}


def draws(
    real: NDArray[Any], fake: NDArray[Any], statistics: Mapping[str, Statistic], *, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Return each statistic of every resample, (RESAMPLES,).

    Scores of the same images, in the same order and with the same seed, are resampled alike: differences of what two
    detectors reach are then paired.

    Args:
        real: Scores of photographs, (R,), at least 2.
        fake: Scores of generated images, (F,), at least 2.
        statistics: What to compute, by name.
        seed: Of the resampling.
    """
    return _of_all(_resamples(real, fake, _indices(seed, seed, len(real), len(fake))), statistics)


def estimate_groups(
    groups: Sequence[tuple[NDArray[Any], NDArray[Any]]], statistics: Mapping[str, Statistic], *, seed: int = 0
) -> tuple[list[dict[str, Estimate]], dict[str, Estimate]]:
    """Return each statistic of every group, such as a generator, and its mean over them, all with intervals.

    Groups held against the same photographs are resampled with the same photographs, as their errors go together.

    Args:
        groups: Scores of photographs and of fakes, for each group; the same photographs are the same array.
        statistics: What to compute, by name.
        seed: Of the resampling.

    Returns:
        One dictionary a group, and that of the means. A single image of a class cannot be resampled; the intervals that
        hang on it are then [0, 1].
    """
    alone = [point(real, fake, statistics) for real, fake in groups]
    drawn = _group_draws(groups, statistics, seed)
    rows = []
    for (real, fake), values, of_group in zip(groups, alone, drawn, strict=True):
        n = len(real) + len(fake)
        rows.append(
            {name: _estimate(values[name], None if of_group is None else of_group[name], n) for name in statistics}
        )
    n = sum(len(fake) for _, fake in groups) + sum({id(real): len(real) for real, _ in groups}.values())
    means = {}
    for name in statistics:
        whole = [of_group[name] for of_group in drawn if of_group is not None]
        averaged = np.mean(whole, axis=0) if len(whole) == len(groups) else None
        means[name] = _estimate(float(np.mean([one[name] for one in alone])), averaged, n)
    return rows, means


def mean_draws(
    groups: Sequence[tuple[NDArray[Any], NDArray[Any]]], statistics: Mapping[str, Statistic], *, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Return the mean over groups of each statistic for every resample, (RESAMPLES,).

    Arguments as in `estimate_groups`; each group has at least two images of each class.
    """
    drawn = _group_draws(groups, statistics, seed)
    return {
        name: np.mean([of_group[name] for of_group in drawn if of_group is not None], axis=0) for name in statistics
    }


def _group_draws(
    groups: Sequence[tuple[NDArray[Any], NDArray[Any]]], statistics: Mapping[str, Statistic], seed: int
) -> list[dict[str, NDArray[np.float64]] | None]:
    """Return what `draws` does for every group, the photographs drawn alike; None where an image is alone."""
    result: list[dict[str, NDArray[np.float64]] | None] = []
    for number, (real, fake) in enumerate(groups):
        if min(len(real), len(fake)) < 2:
            result.append(None)
            continue
        tallies = _resamples(real, fake, _indices((seed, 0), (seed, 1 + number), len(real), len(fake)))
        result.append(_of_all(tallies, statistics))
    return result


def _of_all(tallies: Iterable[Tally], statistics: Mapping[str, Statistic]) -> dict[str, NDArray[np.float64]]:
    parts = [[statistic(tally) for statistic in statistics.values()] for tally in tallies]
    return {name: np.concatenate([part[index] for part in parts]) for index, name in enumerate(statistics)}


def _estimate(value: float, drawn: NDArray[np.float64] | None, n: int) -> Estimate:
    if drawn is None:
        return Estimate(value, 0.0, 1.0, n)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Estimate(value, float(low), float(high), n)


def point(real: NDArray[Any], fake: NDArray[Any], statistics: Mapping[str, Statistic]) -> dict[str, float]:
    """Return each statistic of the images as they are, without an interval; arguments as in `estimate`."""
    values, of_real, of_fake = _positions(real, fake)
    whole = Tally(values, *(_counts(of[None], len(values)) for of in (of_real, of_fake)))
    return {name: float(statistic(whole)[0]) for name, statistic in statistics.items()}


def auc_of(tally: Tally) -> NDArray[np.float64]:
    """Area under the ROC curve: the share of pairs in which the fake scores higher, ties counting half."""
    twice_below = np.cumsum(tally.real, axis=1)
    twice_below *= 2
    twice_below -= tally.real
    pairs: NDArray[np.float64] = np.einsum("ij,ij->i", tally.fake, twice_below) / 2
    return pairs / (tally.num_real * tally.num_fake)


def average_precision_of(tally: Tally) -> NDArray[np.float64]:
    """Area under the precision-recall curve by steps, both classes weighing half."""
    tpr, fpr = _rates(tally)
    found = tpr + fpr
    precision = np.divide(tpr, found, out=np.zeros_like(tpr), where=found > 0)
    return _sum(tally.fake * precision) / tally.num_fake


def tpr_at(max_fpr: float) -> Statistic:
    """Share of fakes found where at most `max_fpr` of the photographs are accused."""

    def statistic(tally: Tally) -> NDArray[np.float64]:
        tpr, fpr = _rates(tally)
        return np.asarray(np.where(fpr <= max_fpr, tpr, 0.0).max(axis=1), np.float64)

    return statistic


def real_accuracy_at(threshold: float) -> Statistic:
    """Share of photographs that stay below `threshold`."""
    return lambda tally: _sum(tally.real[:, tally.values < threshold]) / tally.num_real


def fake_accuracy_at(threshold: float) -> Statistic:
    """Share of fakes that reach `threshold`."""
    return lambda tally: _sum(tally.fake[:, tally.values >= threshold]) / tally.num_fake


def balanced_accuracy_at(threshold: float) -> Statistic:
    """Mean of both classes' accuracy, "generated" from `threshold` on."""
    of_real, of_fake = real_accuracy_at(threshold), fake_accuracy_at(threshold)
    return lambda tally: (of_real(tally) + of_fake(tally)) / 2


def accuracy_at(threshold: float) -> Statistic:
    """Share of all images judged rightly, "generated" from `threshold` on: moves with the share of fakes."""

    def statistic(tally: Tally) -> NDArray[np.float64]:
        called = tally.values >= threshold
        return (_sum(tally.fake[:, called]) + _sum(tally.real[:, ~called])) / (tally.num_real + tally.num_fake)

    return statistic


def oracle_accuracy_of(tally: Tally) -> NDArray[np.float64]:
    """Balanced accuracy at the best threshold for these very images: what nobody can have beforehand."""
    tpr, fpr = _rates(tally)
    return np.asarray(np.maximum((1 + tpr - fpr) / 2, 0.5).max(axis=1), np.float64)


def brier_of(tally: Tally) -> NDArray[np.float64]:
    """Mean squared error of probabilities, both classes weighing half."""
    of_real, of_fake = _sum(tally.real * tally.values**2), _sum(tally.fake * (1 - tally.values) ** 2)
    return (of_real / tally.num_real + of_fake / tally.num_fake) / 2


def calibration_error_of(tally: Tally) -> NDArray[np.float64]:
    """Expected calibration error of probabilities over ten bins of equal width, both classes weighing half."""
    bins = np.minimum((tally.values * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = tally.real * tally.values / tally.num_real + tally.fake * (tally.values - 1) / tally.num_fake
    in_bins = [np.abs(_sum(gaps[:, bins == number])) for number in np.unique(bins)]
    return np.asarray(np.sum(in_bins, axis=0) / 2, np.float64)


def _positions(
    real: NDArray[Any], fake: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Return the distinct scores, and which of them each photograph and each fake has."""
    values, positions = np.unique(np.concatenate([real, fake]).astype(np.float64), return_inverse=True)
    return values, positions[: len(real)], positions[len(real) :]


def _indices(seed_real: _Seed, seed_fake: _Seed, num_real: int, num_fake: int) -> Iterable[_Drawn]:
    """Return which photographs and which fakes each batch of resamples takes; small ones are kept to be used again."""
    make = _kept_indices if num_real + num_fake <= _MOST_KEPT else _draw_indices
    return make(seed_real, seed_fake, num_real, num_fake)


@lru_cache(maxsize=16)
def _kept_indices(seed_real: _Seed, seed_fake: _Seed, num_real: int, num_fake: int) -> tuple[_Drawn, ...]:
    return tuple(_draw_indices(seed_real, seed_fake, num_real, num_fake))


def _draw_indices(seed_real: _Seed, seed_fake: _Seed, num_real: int, num_fake: int) -> Iterator[_Drawn]:
    """Draw batch by batch; with one seed for both classes these are the draws of `scipy.stats.bootstrap`."""
    rng = np.random.default_rng(seed_real)
    rng_fake = rng if seed_fake == seed_real else np.random.default_rng(seed_fake)
    for _ in range(0, RESAMPLES, _BATCH):
        yield rng.integers(0, num_real, (_BATCH, num_real)), rng_fake.integers(0, num_fake, (_BATCH, num_fake))


def _resamples(real: NDArray[Any], fake: NDArray[Any], indices: Iterable[_Drawn]) -> Iterator[Tally]:
    values, of_real, of_fake = _positions(real, fake)
    for chosen_real, chosen_fake in indices:
        rows = max(1, min(_BATCH, _MOST_CELLS // len(values)))
        for start in range(0, _BATCH, rows):
            part = slice(start, start + rows)
            both = (_counts(of_real[chosen_real[part]], len(values)), _counts(of_fake[chosen_fake[part]], len(values)))
            yield Tally(values, *both)


def _counts(positions: NDArray[np.intp], size: int) -> NDArray[np.int64]:
    """Turn (R, n) positions into (R, size) counts of each position."""
    rows = np.arange(len(positions))[:, None] * size
    counts: NDArray[np.int64] = np.bincount((rows + positions).ravel(), minlength=len(positions) * size)
    return counts.reshape(len(positions), size)


def _rates(tally: Tally) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return true and false positive rate where each distinct score is the threshold, (R, U)."""
    tpr, fpr = (np.cumsum(counts[:, ::-1], axis=1)[:, ::-1] for counts in (tally.fake, tally.real))
    return tpr / tally.num_fake, fpr / tally.num_real


def _sum(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(values.sum(axis=1), np.float64)
