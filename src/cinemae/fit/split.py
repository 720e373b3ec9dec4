"""Which images `cinemae fit` measures on: whole sources and generators where there are enough, else some of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinemae.errors import TrainingError
from cinemae.fit.config import HELD_OUT_SHARE, WHOLE_GROUPS_FROM, SplitBy
from cinemae.fit.data import Sample
from cinemae.sources.one_class import CLASS

_GROUP = ("source", "generator")
_SHOWN = 8
_DRAWS = 100  # of groups, until one is as large as it should be


@dataclass(frozen=True)
class ClassSplit:
    """How one class was split.

    Attributes:
        label: 0 real, 1 fake.
        kind: "own": the user gave images to measure on; "groups": whole sources or generators were held out; "images":
            some images of each.
        groups: Sources or generators in training.
        held_out: Sources or generators that are measured on.
        num_train: Images in training.
        num_held_out: Images measured on.
    """

    label: int
    kind: str
    groups: tuple[str, ...]
    held_out: tuple[str, ...]
    num_train: int
    num_held_out: int

    def sentence(self) -> str:
        """Say in words what was done."""
        group = _GROUP[self.label]
        more = len(self.held_out) - _SHOWN
        shown = ", ".join(self.held_out[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        number = len({*self.groups, *self.held_out})
        how = {
            "own": f"measured on images of their own ({shown})",
            "groups": f"{len(self.held_out)} of {number} {group}s held out whole ({shown})",
            "images": f"a random part of each {group}'s images held out ({shown})",
        }[self.kind]
        return f"{CLASS[self.label]}: {how}; {self.num_train} to train on, {self.num_held_out} to measure on"


def split_class(
    samples: Sequence[Sample], label: int, *, target: float, by: SplitBy, seed: int
) -> tuple[list[Sample], list[Sample], ClassSplit]:
    """Hold out about a quarter of one class's images, or as many as a threshold for `target` takes.

    Args:
        samples: Of one class, each content once.
        label: Of that class.
        target: Share of them that may end up on the wrong side of a threshold; see `wanted_held_out`.
        by: Whole groups, images of each group, or what there are groups enough for.
        seed: Of the draw.

    Returns:
        Training images, held-out images, both in their order, and what was done.

    Raises:
        TrainingError: If whole groups are asked for and there is one only.
    """
    groups = np.array([sample.group for sample in samples], dtype=str)
    names = sorted(set(groups.tolist()))
    if by == "groups" and len(names) < 2:
        raise TrainingError(
            f"whole {_GROUP[label]}s can be held out where there are two or more; the {CLASS[label]} are of one, "
            f"{names[0]}: name more, put them in a folder each, or split by images."
        )
    rng = np.random.default_rng([seed, label])
    wanted = wanted_held_out(len(samples), target)
    whole: list[str] = []
    if by == "groups" or (by == "auto" and len(names) >= WHOLE_GROUPS_FROM):
        whole = _draw_groups(groups, wanted, rng, at_any_rate=by == "groups")
    held_out = np.isin(groups, whole) if whole else _draw_images(groups, wanted, rng)
    train = [sample for sample, out in zip(samples, held_out, strict=True) if not out]
    measured = [sample for sample, out in zip(samples, held_out, strict=True) if out]
    return train, measured, describe(label, "groups" if whole else "images", train, measured)


def describe(label: int, kind: str, train: Sequence[Sample], held_out: Sequence[Sample]) -> ClassSplit:
    """Count both sides of a split of one class."""
    groups, measured = (tuple(sorted({sample.group for sample in part})) for part in (train, held_out))
    return ClassSplit(label, kind, groups, measured, len(train), len(held_out))


def wanted_held_out(num_images: int, target: float) -> int:
    """Return how many of a class to hold out: a quarter; or, where half allow it, as many as one error in `target`.

    Example:
        >>> wanted_held_out(1000, 0.02), wanted_held_out(120, 0.02), wanted_held_out(80, 0.02)
        (250, 50, 20)
    """
    quarter, needed = round(num_images * HELD_OUT_SHARE), images_needed(target)
    return needed if quarter < needed <= num_images / 2 else quarter


def images_needed(target: float) -> int:
    """Return the number of images of which one is a share of `target`.

    Example:
        >>> images_needed(0.02)
        50
    """
    return math.ceil(round(1 / target, 9))


def _draw_groups(groups: NDArray[np.str_], wanted: int, rng: np.random.Generator, *, at_any_rate: bool) -> list[str]:
    """Draw groups that together hold `wanted` images or few more; none if no draw comes near, unless they must."""
    names, counts = np.unique(groups, return_counts=True)
    best, drawn = np.inf, np.arange(0)
    for _ in range(_DRAWS):
        order = rng.permutation(len(names))[:-1]  # one is left to train on
        totals = np.cumsum(counts[order])
        number = int(np.argmin(np.abs(totals - wanted)))
        if abs(totals[number] - wanted) < best:
            best, drawn = abs(totals[number] - wanted), order[: number + 1]
        if wanted <= totals[number] <= 1.25 * wanted:
            drawn = order[: number + 1]
            break
    near = wanted / 2 <= counts[drawn].sum() <= 2 * wanted
    return sorted(names[drawn].tolist()) if near or at_any_rate else []


def _draw_images(groups: NDArray[np.str_], wanted: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw `wanted` images, from each group in proportion to its size."""
    order = np.lexsort((rng.random(len(groups)), groups))
    steps = (np.arange(wanted) + 0.5) * len(groups) / max(wanted, 1)
    held_out = np.zeros(len(groups), bool)
    held_out[order[steps.astype(int)]] = True
    return held_out
