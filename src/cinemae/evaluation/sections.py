"""From results to the parts of a report: headings, sentences, tables and plots, before any format is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cinemae.evaluation import plots
from cinemae.evaluation.predictions import RAW
from cinemae.evaluation.results import (
    AccusedSource,
    ConditionResults,
    DetectorResults,
    EvaluationResults,
    JudgedImages,
    Spread,
)
from cinemae.evaluation.section import Section, Table, show
from cinemae.evaluation.tables import FULL_CONDITIONS
from cinemae.evaluation.verdict_shares import verdict_lines, verdict_sections
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.format_probe import ALARM
from cinemae.statistics.reliability import plot_reliability
from cinemae.statistics.risk_coverage import RiskCoverage, plot_risk_coverage
from cinemae.statistics.roc import plot_roc

_COLUMNS = (
    ("real_accuracy", "real acc."),
    ("fake_accuracy", "fake acc."),
    ("balanced_accuracy", "balanced acc."),
    ("auc", "AUC"),
    ("average_precision", "AP"),
    ("tpr_at_fpr_0.01", "TPR at 1 % FPR"),
    ("tpr_at_fpr_0.05", "TPR at 5 % FPR"),
    ("calibration_error", "ECE"),
    ("brier_score", "Brier"),
    ("oracle_balanced_accuracy", "oracle threshold"),
)
REVERSED = 0.4
"""AUC below which, if its interval ends below 0.5, scores look as if they ran the other way."""
_N, _OVER_SEEDS = "n real / fake", "AUC over seeds"
_MORE = frozenset({title for name, title in _COLUMNS if name not in ("balanced_accuracy", "auc")} | {_OVER_SEEDS})
"""What a page shows of a wide table only when it is asked for."""


def build_sections(results: EvaluationResults) -> list[Section]:
    """Return the whole report, the warnings first."""
    if not results.images.num_fake:
        return [*_photographs_alone(results), _images(results), _origin(results)]
    sections = [_summary(results), *_roc(results), *verdict_sections(results)]
    for detector in results.detectors:
        sections += _detector_sections(detector, results)
    if len(results.conditions) > 1:
        sections += _corruption_sections(results)
    return [*sections, _bias(results), _images(results), _origin(results)]


def summary_lines(results: EvaluationResults) -> list[str]:
    """Return what a terminal shows of an evaluation: a line for each detector and condition, warnings first."""
    images = results.images
    lines = [f"{images.num_real} photographs, {images.num_fake} generated, {images.num_unread} unreadable files"]
    lines += [f"data set: {fact}" for fact in (*_read_as(results), *results.problems)]
    if not images.num_fake:
        return lines + _accusation_lines(results) + verdict_lines(results)
    if (warning := _bias(results).warning) is not None:
        lines.append(f"WARNING: {warning}")
    elif results.format_probe is not None:
        lines.append(f"format probe: {show(results.format_probe, 'x')} balanced accuracy without looking at a pixel")
    lines += [f"WARNING: {sentence}" for sentence in _reversed(results)]
    lines.append(f"{'detector':<14}  {'condition':<9}  {'AUC':<22}  {'balanced accuracy':<22}  worst generator")
    for detector in results.detectors:
        for condition in FULL_CONDITIONS:
            if (found := detector.conditions.get(condition)) is None:
                continue
            mean, worst = found.mean, found.generators[0]
            name = worst.generator or "not stated"
            key = "auc" if worst.balanced_accuracy is None else "balanced_accuracy"
            lines.append(
                f"{detector.detector:<14}  {condition:<9}  {show(mean['auc'], 'auc'):<22}  "
                f"{show(mean.get('balanced_accuracy'), 'x'):<22}  {name} {show(worst.figure(key), key)}"
            )
    return lines + verdict_lines(results)


def _accusation_lines(results: EvaluationResults) -> list[str]:
    lines = [f"{'detector':<14}  {'condition':<9}  {'called generated':<22}  most accused source"]
    for name, condition, found in _accusations(results):
        if condition in FULL_CONDITIONS:
            named = [
                f"{one.source or 'not stated'} {show(one.false_positive_rate, 'x')}"
                for one in (found.photo_sources or ())[:1]
            ]
            lines.append(f"{name:<14}  {condition:<9}  {show(_accused(found), 'x'):<22}  {''.join(named) or '-'}")
    return lines


def _photographs_alone(results: EvaluationResults) -> list[Section]:
    """Return what can be said where there is nothing to tell photographs from: how many are accused."""
    rows = [
        [name, condition, str(found.pooled.num_real), show(_accused(found), "x")]
        for name, condition, found in _accusations(results)
    ]
    text = [
        "Photographs alone: there are no generated images to be told from them, so there is no AUC, no accuracy over "
        "both classes and no format probe. A detector that calls everything real would reach 0 %.",
        *(f"{one.detector}: threshold {_threshold(one)}." for one in results.detectors),
    ]
    header = ("detector", "condition", "photographs", "called generated")
    sections = [Section("Photographs accused", text, Table(header, rows))]
    for name, condition, found in _accusations(results):
        if sources := found.photo_sources:
            sections.append(_sources(sources, f"{name}, {condition}", level=2))
    return sections


def _accusations(results: EvaluationResults) -> list[tuple[str, str, ConditionResults]]:
    """Return detector, condition and figures, one after the other."""
    return [(one.detector, name, found) for one in results.detectors for name, found in one.conditions.items()]


def _accused(found: ConditionResults) -> Estimate | None:
    """Return the share of photographs that reach the threshold, with its interval; None without a threshold."""
    right = found.pooled.real_accuracy
    return None if right is None else Estimate(1 - right.value, 1 - right.high, 1 - right.low, right.n)


def _sources(sources: Sequence[AccusedSource], title: str, *, level: int, text: Sequence[str] = ()) -> Section:
    """Return which photographs are accused, by source, the most accused first."""
    rows = [
        [row.source or "not stated", str(row.false_positive_rate.n), show(row.false_positive_rate, "x")]
        for row in sources
    ]
    header = ("source", "n", "called generated")
    return Section(f"Photographs accused, {title}", text, Table(header, rows), level=level)


def _images(results: EvaluationResults) -> Section:
    images = results.images
    text = [
        f"{images.num_real} photographs and {images.num_fake} generated images could be read; "
        f"{images.num_unread} files could not and count nowhere. {images.num_duplicates} images occur twice. "
        f"Fingerprint of files and labels: {images.fingerprint}."
    ]
    rows = [["generated", name or "not stated", str(n)] for name, n in images.generators.items()]
    rows += [["photographs", name or "not stated", str(n)] for name, n in images.photo_sources.items()]
    rows += [["unread", one.path, one.error_message] for one in images.unread[:10]]
    text += [f"The data set: {fact}" for fact in (*_read_as(results), *results.problems)]
    return Section("Images", text, Table(("class", "generator or source", "n"), rows))


def _bias(results: EvaluationResults) -> Section:
    probe = results.format_probe
    if probe is None:
        return Section("Format probe", ["Too few images of a class to ask what their format gives away."])
    sentence = (
        "A random forest that sees only container, JPEG quality, width and height of the files, not one pixel, reaches "
        f"a balanced accuracy of {show(probe, 'x')} on images it was not trained on (n = {probe.n}); chance is 50 %."
    )
    warning = None
    if probe.alarm:
        warning = (
            f'The files alone tell the classes apart ({show(probe, "x")}, alarm at {ALARM:.0%}). Figures under "raw" '
            'may say how pictures were saved, not how they were made: read them beside "aligned", where both classes '
            "went through the same resize and codec."
        )
    return Section("Format probe", [sentence], warning=warning)


def _summary(results: EvaluationResults) -> Section:
    names = [(name, title) for name, title in _COLUMNS if name != "oracle_balanced_accuracy"]
    rows = []
    for detector in results.detectors:
        for condition in FULL_CONDITIONS:
            if (found := detector.conditions.get(condition)) is None:
                continue
            cells = [show(found.mean.get(name), name) for name, _ in names]
            rows.append([detector.detector, condition, _n(found.pooled), *cells, _spread_text(found.spread)])
    text = [
        "Means over generators, each generator against its photographs; AUC over seeds is the mean over training seeds "
        "or mask seeds, ± their deviation.",
        *(f"{one.detector}: threshold {_threshold(one)}." for one in results.detectors),
        _probe_sentence(results),
    ]
    header = ["detector", "condition", _N, *(title for _, title in names), _OVER_SEEDS]
    warnings = [*filter(None, [_bias(results).warning]), *_reversed(results)]
    return Section("Summary", text, Table(header, rows, _MORE), warning=" ".join(warnings) or None)


def _reversed(results: EvaluationResults) -> list[str]:
    """Say of which detectors the scores look as if they ran the other way, or the labels did."""
    sentences = []
    for detector in results.detectors:
        if (found := detector.conditions.get(RAW)) is None:
            continue
        auc = found.pooled.auc
        if auc is not None and auc.value < REVERSED and auc.high < 0.5:
            read = "".join(f" ({sentence})" for sentence in _read_as(results))
            sentences.append(
                f"{detector.detector} has AUC {show(auc, 'auc')}, well below the 0.5 of chance. Its scores may be "
                "reversed: they must be higher for generated images. Or the labels are: see which folder was read as "
                f"what{read}. If neither is so, it misjudges these images."
            )
    return sentences


def _roc(results: EvaluationResults) -> list[Section]:
    """Draw the curves of all detectors into one plot a condition."""
    sections = []
    for condition in FULL_CONDITIONS:
        found = {
            one.detector: one.conditions[condition].roc for one in results.detectors if condition in one.conditions
        }
        if curves := {name: curve for name, curve in found.items() if curve is not None}:
            text = "All images together. A dot is the threshold: right of it more photographs are called generated."
            sections.append(Section(f"ROC curve, {condition}", (text,), figure=plot_roc(curves), level=3))
    return sections


def _n(found: JudgedImages) -> str:
    return f"{found.num_real} / {found.num_fake}"


def _spread_text(spread: Mapping[str, Spread], generator: str | None = None) -> str:
    """Return the AUC over seeds, the mean over generators or that of one."""
    parts = []
    for name, words in (("seeds", "trainings"), ("mask_seeds", "mask seeds")):
        if name in spread:
            auc = (spread[name] if generator is None else spread[name].generators[generator]).auc
            parts.append(f"{auc.mean:.3f} ± {auc.std:.3f} ({len(spread[name].runs)} {words})")
    return "; ".join(parts) or "one run"


def _threshold(detector: DetectorResults) -> str:
    if detector.threshold is None:
        return f"{detector.threshold_rule}, so no accuracy"
    return f"{detector.threshold:.4g} ({detector.threshold_rule})"


def _probe_sentence(results: EvaluationResults) -> str:
    probe = results.format_probe
    return (
        ""
        if probe is None
        else f"Format probe of this data set: {show(probe, 'x')}" + (": ALARM, see above." if probe.alarm else ".")
    )


def _detector_sections(detector: DetectorResults, results: EvaluationResults) -> list[Section]:
    sections = []
    for condition in FULL_CONDITIONS:
        if (found := detector.conditions.get(condition)) is None:
            continue
        name, title = detector.detector, f"{detector.detector}, {condition}"
        text = [
            f"{detector.description}; threshold {_threshold(detector)}; 95 % intervals in brackets, worst generator "
            "first. The oracle column takes the best threshold for these very images: nobody can have it beforehand.",
            _probe_sentence(results),
        ]
        plot = plots.generators(found.generators, title)
        sections.append(Section(title, text, _generator_table(found), plot))
        if sources := found.photo_sources:
            sections.append(_sources(sources, title, level=3, text=[_probe_sentence(results)]))
        if found.reliability is not None:
            reliability = plot_reliability(found.reliability, name)
            sections.append(Section(f"Calibration, {title}", figure=reliability, level=3))
        if (curve := found.risk_coverage) is not None:
            abstention = plot_risk_coverage({name: curve})
            sections.append(Section(f"Abstention, {title}", _risk_text(curve), figure=abstention, level=3))
    return sections


def _generator_table(found: ConditionResults) -> Table:
    """Return a row a generator, the worst first, and one of all images together."""
    pooled, spread = found.pooled, found.spread
    names = [(name, title) for name, title in _COLUMNS if pooled.figure(name) is not None]
    rows = [
        [
            row.generator or "not stated",
            _n(row),
            *(show(row.figure(name), name) for name, _ in names),
            _spread_text(spread, row.generator),
        ]
        for row in found.generators
    ]
    rows.append(["all images", _n(pooled), *(show(pooled.figure(name), name) for name, _ in names), "-"])
    return Table(["generator", _N, *(title for _, title in names), _OVER_SEEDS], rows, _MORE)


def _risk_text(curve: RiskCoverage) -> list[str]:
    parts = [f"{show(found, 'x')} of the images at {level:.0%} error" for level, found in curve.coverage_at.items()]
    return [
        f"Left to judge the images it is surest of, it can judge {'; '.join(parts)}. The mean error over all coverages "
        f"(AURC) is {show(curve.aurc, 'auc')}."
    ]


def _corruption_sections(results: EvaluationResults) -> list[Section]:
    text = [
        "Balanced accuracy and AUC are means over generators, the other columns are of all images together. Every "
        "condition is applied to both classes alike; the last two columns apply it to one class only. Where those "
        "differ much from the one before them, the detector looks at the alteration itself. A flat curve is a reason "
        "for a bias check, not for a celebration.",
        _probe_sentence(results),
    ]
    header = ("detector", "condition", _N, "balanced acc.", "real acc.", "fake acc.", "AUC", "AUC, all images",
              "AUC, fakes only altered", "AUC, photographs only altered")  # fmt: skip
    rows = [
        [detector.detector, condition, *_corruption_cells(found)]
        for detector in results.detectors
        for condition, found in detector.conditions.items()
    ]
    curves = plots.corruption_curves(results)
    table = Table(header, rows, frozenset(header[4:6] + header[7:]))
    sections = [Section("Corruptions", text, table, curves, warning=_alteration_warning(results))]
    if (at_threshold := plots.corruption_curves(results, "balanced_accuracy")) is not None:
        sections.append(Section("Corruptions: balanced accuracy at the threshold", figure=at_threshold, level=3))
    sections += [
        Section(f"{detector.detector}: which generators lose what", figure=radar, level=3)
        for detector in results.detectors
        if (radar := plots.radar(detector)) is not None
    ]
    return sections


def _corruption_cells(found: ConditionResults) -> list[str]:
    only = found.one_class_only
    alone = (None, None) if only is None else (only.fakes.auc, only.photographs.auc)
    return [
        _n(found.pooled),
        show(found.mean.get("balanced_accuracy"), "balanced_accuracy"),
        show(found.pooled.real_accuracy, "real_accuracy"),
        show(found.pooled.fake_accuracy, "fake_accuracy"),
        show(found.mean["auc"], "auc"),
        show(found.pooled.auc, "auc"),
        *(show(auc, "auc") for auc in alone),
    ]


def _alteration_warning(results: EvaluationResults) -> str | None:
    """Name the corruptions that a detector sees: altering one class does not lie between altering none and both."""
    seen = []
    for detector in results.detectors:
        raw = detector.conditions.get(RAW)
        for condition, found in detector.conditions.items():
            ends = [one.pooled.auc for one in (raw, found) if one is not None and one.pooled.auc is not None]
            low, high = min(one.low for one in ends), max(one.high for one in ends)
            only = found.one_class_only
            both = () if only is None else (only.fakes.auc, only.photographs.auc)
            alone = [one.value for one in both if one is not None]
            if any(not low <= value <= high for value in alone):
                seen.append(f"{detector.detector} under {condition} ({' and '.join(f'{one:.3f}' for one in alone)})")
    if not seen:
        return None
    return (
        "Altering the fakes alone or the photographs alone takes the AUC beyond the intervals of altering none and of "
        f"altering both: {'; '.join(seen)}. There the detector sees the alteration, and a data set whose classes "
        "differ in it flatters or hides what it can do."
    )


def _origin(results: EvaluationResults) -> Section:
    rows = [row for name, value in sorted(results.about.items()) if name != "found" for row in _flat(name, value)]
    text = ["All figures follow from the predictions file alone: cinemae report rebuilds them."]
    return Section("Where this comes from", text, Table(("what", "value"), rows))


def _flat(name: str, value: object) -> list[list[str]]:
    """Return a row for each plain value of nested settings."""
    if isinstance(value, dict):
        return [row for key, part in value.items() for row in _flat(f"{name}, {key}", part)]
    return [[name, "none" if value is None else str(value)]]


def _read_as(results: EvaluationResults) -> list[str]:
    """Return the sentence that says which folders stood for which class; none from predictions without it."""
    sentence = results.about.get("found", {}).get("read_as")
    return [] if sentence is None else [sentence]
