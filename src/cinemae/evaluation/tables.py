"""From stored predictions to every figure of a report: nothing here looks at a picture.

Each figure carries its n and a 95 % interval: Wilson for shares, bootstrap over images for the others. Generators stand
worst first. The threshold is the one a column was given; the best one for the very images judged is kept apart as
``oracle_balanced_accuracy``, which nobody can have beforehand.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from cinemae.errors import EvaluationError
from cinemae.evaluation.pictures import find_duplicates, require_judgeable
from cinemae.evaluation.predictions import ALIGNED, RAW, Column, Images, Predictions
from cinemae.evaluation.probe_columns import facts_of
from cinemae.evaluation.results import (
    AccusedSource,
    ConditionResults,
    DetectorResults,
    EvaluationResults,
    ImageCounts,
    JudgedImages,
    MeanOverGenerators,
    OneClassOnly,
    OverRuns,
    RunFigures,
    RunSeeds,
    Spread,
    UnreadImage,
)
from cinemae.evaluation.verdict_shares import verdict_shares
from cinemae.statistics import resampling
from cinemae.statistics.format_probe import ProbeResult, probe_result
from cinemae.statistics.metrics import accused_by_source, rate
from cinemae.statistics.reliability import reliability_bins
from cinemae.statistics.resampling import estimate
from cinemae.statistics.risk_coverage import RiskCoverage, risk_coverage
from cinemae.statistics.roc import roc_curve_of

RESULTS_VERSION = 1
FULL_CONDITIONS = (RAW, ALIGNED)
"""Conditions with every figure; the others get those that their curves are drawn from."""

_MOST_POINTS = 300
_Scores = NDArray[np.float64]


def tabulate(predictions: Predictions) -> EvaluationResults:
    """Compute all figures.

    Args:
        predictions: Of any number of detectors and conditions.

    Returns:
        Of photographs alone only rates at the threshold: no generator, AUC or mean.

    Raises:
        EvaluationError: If no photograph can be read, or no generated image where some are listed, or a detector has
            scores for a part of the readable images only.
    """
    images = predictions.images
    require_judgeable(images, "the test set")
    detectors: dict[str, list[Column]] = {}
    for column in predictions.columns:
        detectors.setdefault(column.detector, []).append(column)
    return EvaluationResults(
        RESULTS_VERSION,
        predictions.about,
        _describe(images),
        format_probe(images),
        tuple(predictions.conditions),
        tuple(_detector(predictions, columns) for columns in detectors.values()),
    )


def format_probe(images: Images) -> ProbeResult | None:
    """Return what the files alone give away of the classes, and whether that is alarming; None of too few images."""
    readable = images.chosen(images.readable)
    return probe_result(facts_of(readable), readable.label)


def pairs(images: Images, scores: _Scores) -> list[tuple[str, _Scores, _Scores]]:
    """Return each generator's name, the scores of the photographs it is held against, and those of its fakes.

    Where photographs carry the generator's name, as in data sets in which each generator has its own, they are those;
    else all photographs.
    """
    usable = np.isfinite(scores)
    real, fake = usable & (images.label == 0), usable & (images.label == 1)
    everyone = scores[real]
    result = []
    for name in sorted(set(images.generator[fake].tolist())):
        own = scores[real & (images.generator == name) & (name != "")]
        result.append((name, own if len(own) else everyone, scores[fake & (images.generator == name)]))
    return result


def _describe(images: Images) -> ImageCounts:
    readable, label = images.readable, images.label
    unread = np.nonzero(~readable)[0]
    counts = {
        name: dict(sorted(Counter(images.generator[readable & (label == value)].tolist()).items()))
        for name, value in (("photo_sources", 0), ("generators", 1))
    }
    return ImageCounts(
        num_images=len(images),
        num_real=int((readable & (label == 0)).sum()),
        num_fake=int((readable & (label == 1)).sum()),
        num_unread=len(unread),
        unread=tuple(UnreadImage(str(images.path[i]), str(images.error_message[i])) for i in unread[:50]),
        num_duplicates=len(find_duplicates(images)),
        fingerprint=_fingerprint(images),
        **counts,
    )


def _fingerprint(images: Images) -> str:
    """Return 16 hex digits that two sets share if they hold the same files with the same labels, in any order."""
    lines = sorted(f"{digest} {label}" for digest, label in zip(images.content_hash, images.label, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _detector(predictions: Predictions, columns: Sequence[Column]) -> DetectorResults:
    first = columns[0]
    conditions = {}
    for condition in predictions.conditions:
        if np.isnan(predictions.of(first, condition)).all():
            continue
        for column in columns:
            _require_complete(predictions, column, condition)
        conditions[condition] = _condition(predictions, columns, condition)
    return DetectorResults(
        detector=first.detector,
        outputs=first.outputs,
        threshold=first.threshold,
        threshold_rule=first.threshold_rule,
        real_below=first.real_below,
        description=first.description,
        runs=tuple(RunSeeds(column.seed, column.mask_seed) for column in columns),
        conditions=conditions,
    )


def _require_complete(predictions: Predictions, column: Column, condition: str) -> None:
    images, scores = predictions.images, predictions.of(column, condition)
    lacking = images.readable & ~np.isfinite(scores)
    if lacking.any() and not np.isnan(scores).all():
        raise EvaluationError(
            f"a score must be a finite number for every image that can be read; {column.detector} has none for "
            f"{images.path[lacking][0]} under {condition} (and {int(lacking.sum()) - 1} more): evaluate it again."
        )


def _condition(predictions: Predictions, columns: Sequence[Column], condition: str) -> ConditionResults:
    images, first = predictions.images, columns[0]
    full = condition in FULL_CONDITIONS
    scores = predictions.of(first, condition)
    real, fake = (scores[images.readable & (images.label == label)] for label in (0, 1))
    if not len(fake):
        sources = _photo_sources(images, scores, first) if full else None
        return ConditionResults(
            pooled=_shares(real, fake, first), mean={}, generators=(), spread={}, photo_sources=sources
        )
    generators, mean = _generators(pairs(images, scores), first, full=full)
    result = ConditionResults(
        pooled=_figures(real, fake, first, full=full),
        mean=mean,
        generators=generators,
        spread=_spread(predictions, columns, condition),
    )
    if full:
        result = _with_curves(result, images, scores, first)
    if condition != RAW and RAW in predictions.scores:
        raw = predictions.of(first, RAW)
        raw_real, raw_fake = (raw[images.readable & (images.label == label)] for label in (0, 1))
        fakes = _figures(raw_real, fake, first, full=False)
        result = replace(result, one_class_only=OneClassOnly(fakes, _figures(real, raw_fake, first, full=False)))
    return result


def _with_curves(result: ConditionResults, images: Images, scores: _Scores, column: Column) -> ConditionResults:
    """Add what only the files as they are and the aligned ones have."""
    known = np.isfinite(scores)
    these, labels = scores[known], images.label[known]
    probability = column.outputs == "probability"
    threshold = 0.5 if column.threshold is None and probability else column.threshold
    return replace(
        result,
        photo_sources=_photo_sources(images, scores, column),
        roc=roc_curve_of(these, labels, column.threshold),
        reliability=reliability_bins(these, labels) if probability else None,
        risk_coverage=None if threshold is None else _thinned(risk_coverage(these, labels, threshold=threshold)),
        verdicts=verdict_shares(images, scores, column) or None,
    )


def _thinned(curve: RiskCoverage) -> RiskCoverage:
    """Return a curve with at most some hundred points, both ends among them."""
    kept = np.unique(np.linspace(0, len(curve.coverage) - 1, _MOST_POINTS).round().astype(int))
    return dataclasses.replace(curve, coverage=curve.coverage[kept], error=curve.error[kept])


def _figures(real: _Scores, fake: _Scores, column: Column, *, full: bool) -> JudgedImages:
    return _shares(real, fake, column).with_figures(estimate(real, fake, _statistics(column, full=full)))


def _shares(real: _Scores, fake: _Scores, column: Column) -> JudgedImages:
    """Return how many images of each class there are and, with a threshold, which share is judged rightly."""
    counts = JudgedImages(num_real=len(real), num_fake=len(fake))
    if column.threshold is None:
        return counts
    found = rate(int((fake >= column.threshold).sum()), len(fake)) if len(fake) else None
    return replace(counts, real_accuracy=rate(int((real < column.threshold).sum()), len(real)), fake_accuracy=found)


def _statistics(column: Column, *, full: bool) -> dict[str, resampling.Statistic]:
    chosen: dict[str, resampling.Statistic] = {"auc": resampling.auc_of}
    if column.threshold is not None:
        chosen["balanced_accuracy"] = resampling.balanced_accuracy_at(column.threshold)
        chosen["accuracy"] = resampling.accuracy_at(column.threshold)
    if full:
        chosen["average_precision"] = resampling.average_precision_of
        chosen["tpr_at_fpr_0.01"] = resampling.tpr_at(0.01)
        chosen["tpr_at_fpr_0.05"] = resampling.tpr_at(0.05)
        chosen["oracle_balanced_accuracy"] = resampling.oracle_accuracy_of
        if column.outputs == "probability":
            chosen["brier_score"] = resampling.brier_of
            chosen["calibration_error"] = resampling.calibration_error_of
    return chosen


def _generators(
    of_generators: Sequence[tuple[str, _Scores, _Scores]], column: Column, *, full: bool
) -> tuple[tuple[JudgedImages, ...], dict[str, MeanOverGenerators]]:
    """Return each generator, the worst first, and the mean of each figure over them with how far they lie apart."""
    shown = _statistics(column, full=full)
    statistics = dict(shown)
    if column.threshold is not None:
        statistics["real_accuracy"] = resampling.real_accuracy_at(column.threshold)
        statistics["fake_accuracy"] = resampling.fake_accuracy_at(column.threshold)
    found, means = resampling.estimate_groups([(real, fake) for _, real, fake in of_generators], statistics)
    rows = [
        replace(_shares(real, fake, column), generator=name).with_figures({figure: one[figure] for figure in shown})
        for (name, real, fake), one in zip(of_generators, found, strict=True)
    ]
    key = "auc" if column.threshold is None else "balanced_accuracy"
    worst_first = sorted(range(len(rows)), key=lambda place: found[place][key].value)
    result = {}
    for name, mean in means.items():
        values = [one[name].value for one in found]
        std = float(np.std(values, ddof=1)) if len(values) > 1 else None
        result[name] = MeanOverGenerators(mean.value, mean.low, mean.high, mean.n, std, min(values), max(values))
    return tuple(rows[place] for place in worst_first), result


def _photo_sources(images: Images, scores: _Scores, column: Column) -> tuple[AccusedSource, ...]:
    """Return which photographs are accused, by source, the most accused first."""
    if column.threshold is None:
        return ()
    real = images.readable & (images.label == 0)
    rows = accused_by_source(scores[real], images.generator[real], column.threshold)
    return tuple(AccusedSource(name, accused) for name, accused, _ in rows)


def _spread(predictions: Predictions, columns: Sequence[Column], condition: str) -> dict[str, Spread]:
    """Return AUC and balanced accuracy over training seeds and over mask seeds, their mean over generators and each."""
    first = columns[0]
    families = {
        "seeds": [column for column in columns if column.mask_seed == first.mask_seed],
        "mask_seeds": [column for column in columns if column.seed == first.seed],
    }
    result = {}
    for name, family in families.items():
        if len(family) < 2:
            continue
        scores = [predictions.of(one, condition) for one in family]
        if np.isnan(scores).all(axis=1).any():
            continue
        runs = [_plain(pairs(predictions.images, s), one) for s, one in zip(scores, family, strict=True)]
        means = [{f: float(np.mean([row[f] for row in run.values()])) for f in _spread_over(first)} for run in runs]
        result[name] = Spread(
            runs=tuple(one.seed if name == "seeds" else one.mask_seed for one in family),
            generators={of: RunFigures(**_over_runs([run[of] for run in runs])) for of in runs[0]},
            **_over_runs(means),
        )
    return result


def _over_runs(runs: Sequence[dict[str, float]]) -> dict[str, OverRuns]:
    """Return each figure's values over some runs, with their mean and deviation."""
    result = {}
    for figure in runs[0]:
        values = [run[figure] for run in runs]
        result[figure] = OverRuns(tuple(values), float(np.mean(values)), float(np.std(values, ddof=1)))
    return result


def _spread_over(column: Column) -> dict[str, resampling.Statistic]:
    shown: dict[str, resampling.Statistic] = {"auc": resampling.auc_of}
    if column.threshold is not None:
        shown["balanced_accuracy"] = resampling.balanced_accuracy_at(column.threshold)
    return shown


def _plain(of_generators: Sequence[tuple[str, _Scores, _Scores]], column: Column) -> dict[str, dict[str, float]]:
    """Return figures of each generator without intervals."""
    return {name: resampling.point(real, fake, _spread_over(column)) for name, real, fake in of_generators}
