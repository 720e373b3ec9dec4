"""Two detectors on the same images: is the difference more than chance, and where do they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, rankdata

from cinemae.errors import EvaluationError
from cinemae.evaluation.pictures import require_both
from cinemae.evaluation.predictions import RAW, Column, Predictions
from cinemae.evaluation.results import JsonStruct
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.format_probe import ProbeResult
from cinemae.statistics.resampling import auc_apart, auc_of, point

MOST_SHOWN = 20


@dataclass(frozen=True)
class Side:
    """One detector of a comparison.

    Attributes:
        predictions: Where its scores are.
        column: Which of them.
        condition: Under which condition.
    """

    predictions: Predictions
    column: Column
    condition: str = RAW


@dataclass(frozen=True)
class AucDifference(Estimate):
    """The AUC of A less that of B; `p_value` is None where an image of a class is alone."""

    p_value: float | None


class McNemar(msgspec.Struct, frozen=True):
    """McNemar's exact test: how many images only one of two detectors, both or none calls rightly."""

    only_a_right: int
    only_b_right: int
    both_right: int
    both_wrong: int
    p_value: float


class Disagreement(msgspec.Struct, frozen=True):
    """An image that two detectors see differently; ranks run from 0, most real, to 1, most generated."""

    path: str
    label: int
    score_a: float
    score_b: float
    rank_a: float
    rank_b: float


class DetectorComparison(JsonStruct, frozen=True, kw_only=True):
    """Two detectors on the same images.

    Attributes:
        a: The one detector, in words.
        b: The other.
        num_real: Photographs.
        num_fake: Generated images.
        auc_a: All images pooled.
        auc_b: The same of the other.
        auc_difference: With a paired bootstrap interval.
        mcnemar: At each detector's own threshold; None where one has none.
        disagreements: The images whose ranks lie furthest apart.
        format_probe: What the files alone give away, where somebody asked for it.
    """

    a: str
    b: str
    num_real: int
    num_fake: int
    auc_a: float
    auc_b: float
    auc_difference: AucDifference
    mcnemar: McNemar | None
    disagreements: tuple[Disagreement, ...]
    format_probe: ProbeResult | None = None


def pick(predictions: Predictions, name: str | None, condition: str = RAW) -> Side:
    """Choose a detector of a predictions file; without a name, the only one.

    Raises:
        EvaluationError: If there is no such detector or condition, or no name is given and there are several.
    """
    names = sorted({column.detector for column in predictions.columns})
    if name is None and len(names) > 1:
        raise EvaluationError(f"the predictions hold {', '.join(names)}: say which to compare, as in FILE::{names[0]}.")
    chosen = [column for column in predictions.columns if column.detector == (name or names[0])]
    if not chosen:
        raise EvaluationError(f"the predictions hold no detector {name}, they hold {', '.join(names)}.")
    if condition not in predictions.scores:
        raise EvaluationError(
            f"the predictions hold no condition {condition}, they hold {', '.join(predictions.conditions)}."
        )
    return Side(predictions, chosen[0], condition)


def compare(first: Side, second: Side, *, seed: int = 0) -> DetectorComparison:
    """Compare two detectors on the same images.

    The difference of the AUCs (all images pooled) has a paired bootstrap interval: each resample draws the same images
    for both. McNemar's exact test asks, at each detector's own threshold, whether one is right more often where exactly
    one of them is.

    Args:
        first: The one detector, A.
        second: The other, B.
        seed: Of the resampling.

    Raises:
        EvaluationError: If the images are not the same, a class is empty, or a score is missing.
    """
    scores_a, scores_b, labels, paths = _matched(first, second)
    require_both(labels, "a comparison")
    auc_a, auc_b, difference = _aucs(scores_a, scores_b, labels, seed)
    return DetectorComparison(
        a=_name(first),
        b=_name(second),
        num_real=int((labels == 0).sum()),
        num_fake=int((labels == 1).sum()),
        auc_a=auc_a,
        auc_b=auc_b,
        auc_difference=difference,
        mcnemar=_mcnemar(first.column, second.column, scores_a, scores_b, labels),
        disagreements=_disagreements(scores_a, scores_b, labels, paths),
    )


def to_text(result: DetectorComparison) -> str:
    """Return a comparison as a person reads it."""
    apart, test = result.auc_difference, result.mcnemar
    lines = [
        f"A: {result.a}",
        f"B: {result.b}",
        f"{result.num_real} photographs and {result.num_fake} generated images, the same for both.",
        "",
        f"AUC      A {result.auc_a:.3f}   B {result.auc_b:.3f}   A - B {apart:+.3f}"
        + (f", p {_p(apart.p_value)} (paired bootstrap)" if apart.p_value is not None else ""),
    ]
    if test is None:
        lines.append("McNemar  not possible: one of them has no threshold.")
    else:
        lines.append(
            f"McNemar  only A right {test.only_a_right}, only B right {test.only_b_right}, both right "
            f"{test.both_right}, both wrong {test.both_wrong}; p {_p(test.p_value)} (exact, two-sided)"
        )
    if (probe := result.format_probe) is not None:
        alarm = ", ALARM: the files alone tell the classes apart" if probe.alarm else ""
        lines.append(f"Format   {probe:.1%} balanced accuracy without looking at a pixel{alarm}")
    lines += ["", "Where they disagree most (rank among all images, 0 most real, 1 most generated):"]
    lines += [f"  {'truth':<9}  {'A':>5}  {'B':>5}  file"]
    lines += [
        f"  {'generated' if one.label else 'photo':<9}  {one.rank_a:5.2f}  {one.rank_b:5.2f}  {one.path}"
        for one in result.disagreements
    ]
    return "\n".join(lines)


def _p(value: float) -> str:
    return "< 0.001" if value <= 0.001 else f"{value:.3f}"


def _name(side: Side) -> str:
    column = side.column
    seeds = "".join(
        f", {word} {value}"
        for word, value in (("seed", column.seed), ("mask seed", column.mask_seed))
        if value is not None
    )
    return f"{column.detector} under {side.condition}{seeds}" + (
        f" ({column.description})" if column.description else ""
    )


def _matched(
    first: Side, second: Side
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], Sequence[str]]:
    """Return both sides' scores in the first one's order of images, with labels and paths."""
    tables = []
    for side in (first, second):
        images = side.predictions.images
        keys = list(zip(images.content_hash.tolist(), images.label.tolist(), strict=True))
        scores = side.predictions.of(side.column, side.condition)
        usable = np.nonzero(images.readable)[0].tolist()
        missing = [index for index in usable if not np.isfinite(scores[index])]
        if missing:
            raise EvaluationError(
                f"a comparison needs a finite score of every image; {side.column.detector} has none for "
                f"{images.path[missing[0]]} under {side.condition}."
            )
        tables.append({keys[index]: (float(scores[index]), str(images.path[index])) for index in usable})
    a, b = tables
    if a.keys() != b.keys():
        only_a, only_b = ([table[key][1] for key in table if key not in other] for table, other in ((a, b), (b, a)))
        example = (only_a or only_b)[0]
        raise EvaluationError(
            "two detectors are compared on the same images with the same labels, told by content; "
            f"{len(only_a)} are in the first predictions only and {len(only_b)} in the second only, such as {example}: "
            "evaluate both on one data set."
        )
    order = list(a)
    labels = np.array([label for _, label in order], np.int64)
    scores_a, scores_b = (np.array([table[key][0] for key in order]) for table in (a, b))
    return scores_a, scores_b, labels, [a[key][1] for key in order]


def _aucs(
    scores_a: NDArray[Any], scores_b: NDArray[Any], labels: NDArray[Any], seed: int
) -> tuple[float, float, AucDifference]:
    """Return both AUCs and their difference; where an image of a class is alone, nothing is known of that."""
    auc = {"auc": auc_of}
    classes = [(scores[labels == 0], scores[labels == 1]) for scores in (scores_a, scores_b)]
    a, b = (point(real, fake, auc)["auc"] for real, fake in classes)
    if min(map(len, classes[0])) < 2:
        return a, b, AucDifference(a - b, -1.0, 1.0, len(labels), None)
    found, apart = auc_apart(scores_a, scores_b, labels, seed=seed)
    p_value = min(1.0, 2 * min(float((apart <= 0).mean()), float((apart >= 0).mean())))
    return a, b, AucDifference(**vars(found), p_value=max(p_value, 1 / len(apart)))


def _mcnemar(
    a: Column, b: Column, scores_a: NDArray[Any], scores_b: NDArray[Any], labels: NDArray[Any]
) -> McNemar | None:
    if a.threshold is None or b.threshold is None:
        return None
    right_a, right_b = (scores_a >= a.threshold) == (labels == 1), (scores_b >= b.threshold) == (labels == 1)
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    apart = only_a + only_b
    return McNemar(
        only_a,
        only_b,
        both_right=int((right_a & right_b).sum()),
        both_wrong=int((~right_a & ~right_b).sum()),
        p_value=float(binomtest(only_a, apart).pvalue) if apart else 1.0,
    )


def _disagreements(
    scores_a: NDArray[Any], scores_b: NDArray[Any], labels: NDArray[Any], paths: Sequence[str]
) -> tuple[Disagreement, ...]:
    """Return the images whose ranks lie furthest apart; ranks, since the scales of two scores may differ."""
    ranks = [(rankdata(scores) - 0.5) / len(scores) for scores in (scores_a, scores_b)]
    furthest = np.argsort(-np.abs(ranks[0] - ranks[1]), kind="stable")[:MOST_SHOWN]
    return tuple(
        Disagreement(paths[index], int(labels[index]), *(float(one[index]) for one in (scores_a, scores_b, *ranks)))
        for index in furthest
    )
