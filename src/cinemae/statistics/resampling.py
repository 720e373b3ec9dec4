"""Bootstrap intervals of all figures of merit from one set of resamples, fast enough to rebuild whole tables.

A resample holds each image a number of times. With a class's scores in ascending order, a thousand resamples are one
array of such counts, and a figure is a sum or a running sum along it. The counts hang on the seed and on the number of
images, not on their scores: detectors and conditions share them, and generators held against the same photographs share
those, already in order. `scipy.stats.bootstrap` draws the same images and would call scikit-learn a thousand times; the
tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cinemae.statistics.estimate import Estimate

RESAMPLES = 1000
CALIBRATION_BINS = 10
_BATCH = 100  # resamples drawn at a time; scipy.stats.bootstrap draws others where this number is another
_MOST_KEPT = 2000  # images of whose draws some sets are kept, 8 MB each at most
_MOST_CELLS = 4_000_000  # of the largest array of counts held at once

_Seed: TypeAlias = int | tuple[int, int]
_Counts: TypeAlias = NDArray[np.int32]  # half as wide, a third quicker; products are summed in 64 bits
_Block: TypeAlias = tuple[_Counts, ...]


@dataclass(frozen=True)
class Ranked:
    """The scores of one class, and how often each of R resamples holds them.

    Attributes:
        values: Ascending, (n,); equal scores each have a row of their own.
        counts: How often a resample holds each image, (n, R); every column adds up to n.
    """

    values: NDArray[np.float64]
    counts: _Counts

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def before(self) -> _Counts:
        """How many images of a resample stand in the rows before each, and in all rows, (n + 1, R)."""
        result = np.zeros((len(self) + 1, self.counts.shape[1]), np.int32)
        np.cumsum(self.counts, axis=0, out=result[1:])
        return result


@dataclass(frozen=True)
class Tally:
    """Both classes in each of R resamples.

    Attributes:
        real: The photographs.
        fake: The generated images.
    """

    real: Ranked
    fake: Ranked


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
    drawn = draws(real, fake, statistics, seed=seed) if min(len(real), len(fake)) > 1 else None
    return _estimates(point(real, fake, statistics), drawn, len(real) + len(fake))


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
    in_order = _order(real), _order(fake)
    blocks = _drawn((seed,), (len(real), len(fake)))
    tallies = (Tally(*map(_ranked, in_order, block)) for block in blocks)
    return _joined([_of(tally, statistics) for tally in tallies])


def auc_apart(
    first: NDArray[Any], second: NDArray[Any], labels: NDArray[Any], *, seed: int = 0
) -> tuple[Estimate, NDArray[np.float64]]:
    """Return how far two scores' AUCs lie apart on the same images, and what each resample says of it.

    Each resample draws the same images for both.

    Args:
        first: Scores of one detector, (N,).
        second: Scores of the other, (N,).
        labels: 0 real, 1 fake, (N,), at least two of each.
        seed: Of the resampling.

    Returns:
        First less second with its interval, and the differences, (RESAMPLES,).
    """
    classes = [(scores[labels == 0], scores[labels == 1]) for scores in (first, second)]
    a, b = (point(real, fake, {"auc": auc_of})["auc"] for real, fake in classes)
    drawn_a, drawn_b = (draws(real, fake, {"auc": auc_of}, seed=seed)["auc"] for real, fake in classes)
    low, high = np.percentile(drawn_a - drawn_b, (2.5, 97.5)).tolist()
    return Estimate(a - b, low, high, len(labels)), drawn_a - drawn_b


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
    rows = [
        _estimates(values, of_group, len(real) + len(fake))
        for (real, fake), values, of_group in zip(groups, alone, drawn, strict=True)
    ]
    n = sum(len(fake) for _, fake in groups) + sum({id(real): len(real) for real, _ in groups}.values())
    whole = [of_group for of_group in drawn if of_group is not None]
    averaged = None
    if len(whole) == len(groups):
        averaged = {name: np.mean([of_group[name] for of_group in whole], axis=0) for name in statistics}
    return rows, _estimates({name: float(np.mean([one[name] for one in alone])) for name in statistics}, averaged, n)


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
    numbers = [number for number, of_group in enumerate(groups) if min(map(len, of_group)) > 1]
    result: list[dict[str, NDArray[np.float64]] | None] = [None] * len(groups)
    if not numbers:
        return result
    reals = {id(groups[number][0]): _order(groups[number][0]) for number in numbers}
    fakes = {number: _order(groups[number][1]) for number in numbers}
    orders = [*reals.values(), *fakes.values()]
    seeds = *((seed, 0) for _ in reals), *((seed, 1 + number) for number in fakes)
    parts: dict[int, list[dict[str, NDArray[np.float64]]]] = {number: [] for number in numbers}
    for block in _drawn(seeds, tuple(len(values) for _, values in orders)):
        ranked = [_ranked(order, counts) for order, counts in zip(orders, block, strict=True)]
        real_of = dict(zip(reals, ranked[: len(reals)], strict=True))
        for number, fake in zip(fakes, ranked[len(reals) :], strict=True):
            parts[number].append(_of(Tally(real_of[id(groups[number][0])], fake), statistics))
    for number, of_group in parts.items():
        result[number] = _joined(of_group)
    return result


def _of(tally: Tally, statistics: Mapping[str, Statistic]) -> dict[str, NDArray[np.float64]]:
    return {name: statistic(tally) for name, statistic in statistics.items()}


def _joined(parts: Sequence[dict[str, NDArray[np.float64]]]) -> dict[str, NDArray[np.float64]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _estimates(
    values: Mapping[str, float], drawn: Mapping[str, NDArray[np.float64]] | None, n: int
) -> dict[str, Estimate]:
    """Return figures with the intervals of what was drawn of each; without draws nothing is known of any."""
    ends = np.tile([[0.0], [1.0]], len(values))
    if drawn:
        ends = np.percentile([drawn[name] for name in values], (2.5, 97.5), axis=1)
    return {
        name: Estimate(value, low, high, n)
        for (name, value), low, high in zip(values.items(), *ends.tolist(), strict=True)
    }


def point(real: NDArray[Any], fake: NDArray[Any], statistics: Mapping[str, Statistic]) -> dict[str, float]:
    """Return each statistic of the images as they are, without an interval; arguments as in `estimate`."""
    whole = Tally(*(_ranked(_order(scores), np.ones((len(scores), 1), np.int32)) for scores in (real, fake)))
    return {name: float(drawn[0]) for name, drawn in _of(whole, statistics).items()}


def auc_of(tally: Tally) -> NDArray[np.float64]:
    """Area under the ROC curve: the share of pairs in which the fake scores higher, ties counting half."""
    real, fake = tally.real, tally.fake
    twice_below = real.before[np.searchsorted(real.values, fake.values, "left")]
    twice_below += real.before[np.searchsorted(real.values, fake.values, "right")]
    pairs: NDArray[np.float64] = np.einsum("ij,ij->j", fake.counts, twice_below, dtype=np.int64) / 2
    return pairs / (len(real) * len(fake))


def average_precision_of(tally: Tally) -> NDArray[np.float64]:
    """Area under the precision-recall curve by steps, both classes weighing half."""
    tpr, fpr = _rates(tally)
    found = tpr + fpr
    precision = np.divide(tpr, found, out=np.zeros_like(tpr), where=found > 0)
    return _sum(tally.fake.counts * precision) / len(tally.fake)


def tpr_at(max_fpr: float) -> Statistic:
    """Share of fakes found where at most `max_fpr` of the photographs are accused."""

    def statistic(tally: Tally) -> NDArray[np.float64]:
        tpr, fpr = _rates(tally)
        return np.asarray(np.where(fpr <= max_fpr, tpr, 0.0).max(axis=0), np.float64)

    return statistic


def real_accuracy_at(threshold: float) -> Statistic:
    """Share of photographs that stay below `threshold`."""
    return lambda tally: _sum(tally.real.counts[: _first(tally.real, threshold)]) / len(tally.real)


def fake_accuracy_at(threshold: float) -> Statistic:
    """Share of fakes that reach `threshold`."""
    return lambda tally: _sum(tally.fake.counts[_first(tally.fake, threshold) :]) / len(tally.fake)


def balanced_accuracy_at(threshold: float) -> Statistic:
    """Mean of both classes' accuracy, "generated" from `threshold` on."""
    of_real, of_fake = real_accuracy_at(threshold), fake_accuracy_at(threshold)
    return lambda tally: (of_real(tally) + of_fake(tally)) / 2


def accuracy_at(threshold: float) -> Statistic:
    """Share of all images judged rightly, "generated" from `threshold` on: moves with the share of fakes."""

    def statistic(tally: Tally) -> NDArray[np.float64]:
        real, fake = tally.real, tally.fake
        right = _sum(fake.counts[_first(fake, threshold) :]) + _sum(real.counts[: _first(real, threshold)])
        return right / (len(real) + len(fake))

    return statistic


def oracle_accuracy_of(tally: Tally) -> NDArray[np.float64]:
    """Balanced accuracy at the best threshold for these very images: what nobody can have beforehand."""
    tpr, fpr = _rates(tally)
    return np.asarray(np.maximum((1 + tpr - fpr) / 2, 0.5).max(axis=0), np.float64)


def brier_of(tally: Tally) -> NDArray[np.float64]:
    """Mean squared error of probabilities, both classes weighing half."""
    real, fake = tally.real, tally.fake
    of_real, of_fake = real.values**2 @ real.counts, (1 - fake.values) ** 2 @ fake.counts
    return np.asarray((of_real / len(real) + of_fake / len(fake)) / 2, np.float64)


def calibration_error_of(tally: Tally) -> NDArray[np.float64]:
    """Expected calibration error of probabilities over ten bins of equal width, both classes weighing half."""
    total = np.zeros(tally.real.counts.shape[1])
    bins = [
        np.minimum(of.values * CALIBRATION_BINS, CALIBRATION_BINS - 1).astype(int) for of in (tally.real, tally.fake)
    ]
    for number in range(CALIBRATION_BINS):
        gap = np.zeros_like(total)
        for of, places, label in zip((tally.real, tally.fake), bins, (0, 1), strict=True):
            inside = slice(*np.searchsorted(places, (number, number + 1)))
            gap += (of.values[inside] - label) @ of.counts[inside] / len(of)
        total += np.abs(gap)
    return total / 2


def _order(scores: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the places of scores in ascending order, and the scores in that order."""
    values = scores.astype(np.float64)
    order = np.argsort(values, kind="stable")
    return order, values[order]


def _ranked(order: tuple[NDArray[np.intp], NDArray[np.float64]], counts: _Counts) -> Ranked:
    return Ranked(order[1], counts[order[0]])


def _first(of: Ranked, threshold: float) -> int:
    """Return the first row that reaches a threshold."""
    return int(np.searchsorted(of.values, threshold, "left"))


def _drawn(seeds: tuple[_Seed, ...], sizes: tuple[int, ...]) -> Iterable[_Block]:
    """Return how often each resample holds each image of some groups, in blocks; small ones are kept for other scores.

    Args:
        seeds: One a group; or a single one for all, which gives the draws of `scipy.stats.bootstrap`.
        sizes: Images in each group.
    """
    return (_kept_blocks if sum(sizes) <= _MOST_KEPT else _draw_blocks)(seeds, sizes)


@lru_cache(maxsize=16)
def _kept_blocks(seeds: tuple[_Seed, ...], sizes: tuple[int, ...]) -> tuple[_Block, ...]:
    return tuple(_draw_blocks(seeds, sizes))


def _draw_blocks(seeds: tuple[_Seed, ...], sizes: tuple[int, ...]) -> Iterator[_Block]:
    generators = [np.random.default_rng(seed) for seed in seeds]
    if len(generators) == 1:
        generators *= len(sizes)
    height = max(1, min(_BATCH, _MOST_CELLS // max(sizes)))
    for _ in range(0, RESAMPLES, _BATCH):
        indices = [rng.integers(0, size, (_BATCH, size)) for rng, size in zip(generators, sizes, strict=True)]
        for start in range(0, _BATCH, height):
            yield tuple(_counts(chosen[start : start + height]) for chosen in indices)


def _counts(indices: NDArray[np.int64]) -> _Counts:
    """Turn which images each resample holds, (R, n), into how often it holds each, (n, R)."""
    resamples, size = indices.shape
    rows = np.arange(resamples)[:, None] * size
    counts = np.bincount((rows + indices).ravel(), minlength=indices.size)
    return np.ascontiguousarray(counts.reshape(resamples, size).T, np.int32)


def _rates(tally: Tally) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return true and false positive rate where each fake's score is the threshold, (number of fakes, R).

    Between two fakes a higher threshold only accuses fewer photographs, so nothing better lies there.
    """
    tpr, fpr = (
        (len(of) - of.before[np.searchsorted(of.values, tally.fake.values, "left")]) / len(of)
        for of in (tally.fake, tally.real)
    )
    return tpr, fpr


def _sum(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(values.sum(axis=0), np.float64)
