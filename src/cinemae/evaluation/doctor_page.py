"""The doctor's report as one HTML page: findings, what the files give away with plots, and the look-alikes to see."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from cinemae.doctor.check import DoctorReport
from cinemae.doctor.file_rows import FileRow
from cinemae.doctor.text import IMBALANCE_HEADER, SOURCE_HEADER, imbalance_cells, source_cells, summary
from cinemae.errors import ImageError
from cinemae.evaluation.report import render_page
from cinemae.evaluation.section import Section, Table
from cinemae.pictures.image import load_image
from cinemae.sources.archives import read_encoded
from cinemae.statistics.plot_style import BLUE, VERMILION, new_figure, quiet_axes, to_png

_MOST_FILES = 100
_MOST_PAIRS = 8  # of each finding
_SIDE = 160  # pixels of one picture of a pair
_BINS = 30
_CLASSES = ((0, "photographs", BLUE), (1, "generated", VERMILION))


def write_doctor_page(report: DoctorReport, path: Path) -> None:
    """Write one self-contained HTML file; it asks for nothing from the network.

    Small copies of the first pairs of equal and like pictures are in it, so that a person can judge them.

    Args:
        report: Of a data set whose files are still there.
        path: The file; it is replaced.
    """
    sections = [*_pairs(report), _files_alone(report), _sources(report)]
    with rc_context({"text.parse_math": False}):  # a container's or folder's name may hold dollar signs
        plots = [None if section.figure is None else to_png(section.figure) for section in sections]
    page = render_page(
        "doctor.html.j2",
        sections,
        plots,
        title=f"Data check of {report.source}",
        summary=summary(report),
        severities=report.severities,
        findings=report.findings,
        most=_MOST_FILES,
    )
    path.write_text(page, encoding="utf-8", errors="backslashreplace")


def _pairs(report: DoctorReport) -> list[Section]:
    """Show the first two pictures of groups, for findings about pictures that look alike."""
    found = []
    for finding in report.findings:
        if not finding.check.startswith(("copy_", "look_alike_")):
            continue
        maps = []
        for group in finding.groups[:_MOST_PAIRS]:
            rows = [report.by_name[name] for name in group[:2] if name in report.by_name]
            pair = _pair(rows)
            if pair is not None:
                maps.append((" | ".join(row.name for row in rows), pair))
        text = f"The first two pictures of each group; {len(maps)} of {len(finding.groups):,} groups are shown."
        found.append(Section(finding.title, (text,), maps=maps))
    return found


def _pair(rows: Sequence[FileRow]) -> bytes | None:
    """Return two pictures side by side, as a PNG file; None if one is no longer there."""
    canvas = Image.new("RGB", (2 * _SIDE + 4, _SIDE), "white")
    for place, row in enumerate(rows):
        try:
            picture = load_image(read_encoded(row.record)).image
        except ImageError:
            return None
        picture.thumbnail((_SIDE, _SIDE))
        canvas.paste(picture, (place * (_SIDE + 4), 0))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def _files_alone(report: DoctorReport) -> Section:
    text = (
        "Distance is the largest difference between the shares of the two classes that a rule on one fact can reach; "
        "the best rule tells apart as many files as stated, both classes weighing half. V is Cramér's V, AUC the share "
        "of pairs in which the fake has the greater value. The last lines are a random forest on all facts at once, "
        "judged on files it did not see, with 95 % intervals.",
    )
    rows = imbalance_cells(report)
    figure = _histograms(report.rows) if report.classes.imbalances else None
    title = "What the files alone give away"
    return Section(title, text, Table(IMBALANCE_HEADER, rows) if rows else None, figure)


def _sources(report: DoctorReport) -> Section:
    text = ("Medians, with smallest and greatest in brackets. JPEG quality is told by the tables in the file.",)
    return Section("Sources and generators", text, Table(SOURCE_HEADER, source_cells(report)))


def _histograms(rows: Sequence[FileRow]) -> Figure:
    """Draw container, JPEG quality, width, height and aspect of both classes."""
    usable = [row for row in rows if row.status == "ok" and row.label is not None]
    figure = new_figure(9, 5)
    grid = figure.subplots(2, 3)
    _bars(grid[0, 0], usable)
    panels = (
        (grid[0, 1], "JPEG quality", [(row.label, row.jpeg_quality) for row in usable if row.jpeg_quality]),
        (grid[0, 2], "aspect, width / height", [(row.label, row.width / row.height) for row in usable]),
        (grid[1, 0], "width, pixels", [(row.label, row.width) for row in usable]),
        (grid[1, 1], "height, pixels", [(row.label, row.height) for row in usable]),
    )
    for axes, title, values in panels:
        _histogram(axes, title, values)
    grid[1, 2].set_visible(False)
    figure.supylabel("share of the class", fontsize=9)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _bars(axes: Axes, rows: Sequence[FileRow]) -> None:
    names = sorted({row.container for row in rows})
    for place, (label, word, colour) in enumerate(_CLASSES):
        part = [row.container for row in rows if row.label == label]
        shares = [part.count(name) / max(len(part), 1) for name in names]
        axes.bar(np.arange(len(names)) + 0.4 * place - 0.2, shares, 0.4, color=colour, label=word)
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_title("container", fontsize=10)
    quiet_axes(axes)


def _histogram(axes: Axes, title: str, values: Sequence[tuple[int | None, float]]) -> None:
    numbers = np.array([number for _, number in values], np.float64)
    labels = np.array([label for label, _ in values])
    if len(numbers):
        low, high = float(numbers.min()), float(numbers.max())
        bins = np.linspace(low - 0.5, high + 0.5, 12) if high - low < 1 else np.linspace(low, high, _BINS)
        for label, _, colour in _CLASSES:
            part = numbers[labels == label]
            if len(part):
                axes.hist(part, bins.tolist(), weights=np.full(len(part), 1 / len(part)), color=colour, alpha=0.55)
    axes.set_title(title, fontsize=10)
    quiet_axes(axes)
