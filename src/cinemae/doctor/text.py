"""A doctor's report for a terminal: what there is, what the files give away, what is wrong and what to do."""

from __future__ import annotations

import textwrap

from cinemae.doctor.check import DoctorReport
from cinemae.doctor.class_checks import per_cent
from cinemae.doctor.findings import Finding, count_of
from cinemae.sources.labels import CLASS_NAMES
from cinemae.sources.text_table import table_of

_WIDTH = 100
_EXAMPLES = 3


def to_text(report: DoctorReport) -> str:
    """Return tables and findings, to be read in a terminal.

    Args:
        report: Of a data set.
    """
    parts = [_heading(report), _sources(report), _imbalances(report)]
    parts += [_finding(finding) for finding in report.findings]
    return "\n\n".join(part for part in (*parts, _result(report)) if part)


def imbalance_cells(report: DoctorReport) -> list[tuple[str, ...]]:
    """Return a row for each fact, and for the format probe: fact, classes, distance, accuracy, sizes."""
    rows: list[tuple[str, ...]] = []
    for each in report.classes.imbalances:
        size = f"{each.num_real:,} / {each.num_fake:,}"
        measures = f"V {each.cramers_v:.2f}" if each.cramers_v is not None else f"AUC {each.auc:.2f}"
        rows.append((each.fact, each.real, each.fake, f"{each.distance:.2f}", measures, per_cent(each.accuracy), size))
    for name, probe in report.classes.probes.items():
        fact = "all of these" if name == "all" else f"all of these, {name}"
        rows.append((fact, "", "", "", "", f"{probe:.1%}", f"{probe.n:,}"))
    return rows


IMBALANCE_HEADER = ("fact", "real", "fake", "distance", "effect", "tells apart", "n real / fake")
SOURCE_HEADER = ("class", "source or generator", "files", "formats", "width", "height", "JPEG quality")


def source_cells(report: DoctorReport) -> list[tuple[str, ...]]:
    """Return a row for each source of photographs and each generator."""
    return [
        (
            CLASS_NAMES[source.label],
            source.name or "not stated",
            f"{source.num_files:,}",
            source.containers,
            source.width,
            source.height,
            source.jpeg_quality,
        )
        for source in report.classes.sources
    ]


def summary(report: DoctorReport) -> str:
    """Return how many files of which kind there are, in one sentence."""
    splits = ", ".join(f"{name or 'no split'} {number:,}" for name, number in report.splits.items())
    text = (
        f"{count_of(len(report.rows), 'file')}, {len(report.readable):,} readable: "
        f"{count_of(report.num_real, 'photograph')}, {count_of(report.num_fake, 'generated image')}"
    )
    return f"{text} ({splits})." if splits and set(report.splits) != {""} else f"{text}."


def _heading(report: DoctorReport) -> str:
    return f"{report.source} (layout {report.layout})\n{summary(report)}"


def _sources(report: DoctorReport) -> str:
    rows = source_cells(report)
    return table_of(SOURCE_HEADER, rows, left=2) if rows else ""


def _imbalances(report: DoctorReport) -> str:
    rows = imbalance_cells(report)
    if not rows:
        return ""
    heading = "How well the files alone tell the classes apart, pixels unseen (chance 50 %):"
    return f"{heading}\n{table_of(IMBALANCE_HEADER, rows)}"


def _finding(finding: Finding) -> str:
    lines = [f"{finding.severity.upper()}: {finding.title}"]
    lines += textwrap.wrap(finding.sentence, _WIDTH, initial_indent="  ", subsequent_indent="  ")
    if finding.severity != "note" or finding.advice != "Nothing.":
        lines += textwrap.wrap(f"-> {finding.advice}", _WIDTH, initial_indent="  ", subsequent_indent="     ")
    for group in finding.groups[:_EXAMPLES]:
        more = f" (+{len(group) - 2})" if len(group) > 2 else ""
        sign = " ~ " if finding.check.startswith("look_alike") else " = "
        lines.append(f"     {sign.join(group[:2])}{more}")
    if len(finding.groups) > _EXAMPLES:
        lines.append(f"     ... and {len(finding.groups) - _EXAMPLES:,} more")
    return "\n".join(lines)


def _result(report: DoctorReport) -> str:
    parts = [
        count_of(report.count("serious"), "serious finding"),
        count_of(report.count("warning"), "warning"),
        count_of(report.count("note"), "note"),
    ]
    return f"{', '.join(parts)}."
