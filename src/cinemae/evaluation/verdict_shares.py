"""How the three verdicts share out over photographs and generators: what people who ask for a verdict will get."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cinemae.evaluation.predictions import RAW, Column, Images
from cinemae.evaluation.results import EvaluationResults, VerdictShares
from cinemae.evaluation.section import Section, Table, show
from cinemae.statistics.metrics import rate
from cinemae.statistics.plot_style import GREY, ORANGE, SKY, new_figure, quiet_axes

_VERDICTS = (("ai", "AI-generated", ORANGE), ("uncertain", "uncertain", "#c8c8c8"), ("real", "photograph", SKY))
_PHOTOGRAPHS, _GENERATED = "photographs", "generated, all"


def verdict_shares(images: Images, scores: NDArray[np.float64], column: Column) -> list[VerdictShares]:
    """Return how many images of each group get each verdict; the generators that are missed most come first.

    Args:
        images: Their labels and generators.
        scores: (N,); nan where there is none.
        column: With both limits, or nothing is returned.
    """
    if column.threshold is None or column.real_below is None:
        return []
    usable = images.readable & np.isfinite(scores)
    words = np.where(scores >= column.threshold, "ai", np.where(scores < column.real_below, "real", "uncertain"))
    fake = usable & (images.label == 1)
    groups = [(name, fake & (images.generator == name)) for name in sorted(set(images.generator[fake].tolist()))]
    rows = [_shares(name or "not stated", words[chosen]) for name, chosen in groups]
    rows.sort(key=lambda row: row.ai.value)
    whole = [(_PHOTOGRAPHS, usable & (images.label == 0)), (_GENERATED, fake)]
    return [*(_shares(name, words[chosen]) for name, chosen in whole if chosen.any()), *rows]


def _shares(name: str, words: NDArray[np.str_]) -> VerdictShares:
    found = {word: rate(int((words == word).sum()), len(words)) for word, _, _ in _VERDICTS}
    return VerdictShares(name, len(words), **found)


def verdict_lines(results: EvaluationResults) -> list[str]:
    """Return a line for a terminal for each detector that has three verdicts, of the files as they are."""
    lines = []
    for detector in results.detectors:
        groups = []
        for row in getattr(detector.conditions.get(RAW), "verdicts", None) or ():
            if row.group in (_PHOTOGRAPHS, _GENERATED):
                shares = (f"{getattr(row, word).value:.1%} {title}" for word, title, _ in _VERDICTS)
                groups.append(f"{row.group}: {', '.join(shares)}")
        if groups:
            lines.append(f"verdicts of {detector.detector}, {RAW}: {'; '.join(groups)}")
    return lines


def verdict_sections(results: EvaluationResults) -> list[Section]:
    """Return a table and a plot of the shares for each detector that has three verdicts, files as they are first."""
    sections = []
    for detector in results.detectors:
        for condition, found in detector.conditions.items():
            if not (rows := found.verdicts):
                continue
            cells = [
                [row.group, str(row.n), *(show(getattr(row, word), "x") for word, _, _ in _VERDICTS)] for row in rows
            ]
            text = (
                f"Called AI-generated from {detector.threshold:.4g} on, photograph below "
                f"{detector.real_below:.4g}, uncertain between them; 95 % intervals in brackets; generators "
                "that are found least come first.",
            )
            header = (
                "images",
                "n",
                *(f"called {title}" if word != "uncertain" else title for word, title, _ in _VERDICTS),
            )
            title = f"The three verdicts, {detector.detector}, {condition}"
            sections.append(Section(title, text, Table(header, cells), _plot(rows), level=3))
    return sections


def _plot(rows: Sequence[VerdictShares]) -> Figure:
    """Draw a bar a group, cut into the three verdicts."""
    figure = new_figure(7, 1.2 + 0.32 * len(rows))
    axes = figure.subplots()
    quiet_axes(axes)
    start = np.zeros(len(rows))
    for word, title, colour in _VERDICTS:
        width = np.array([100 * getattr(row, word).value for row in rows])
        axes.barh(range(len(rows)), width, left=start, color=colour, edgecolor="white", label=title)
        for place in np.nonzero(width >= 7)[0].tolist():
            middle = start[place] + width[place] / 2
            axes.text(middle, place, f"{width[place]:.0f}", ha="center", va="center", fontsize=8)
        start += width
    axes.axhline(1.5, color=GREY, lw=0.8)
    axes.set(xlim=(0, 100), xlabel="share of the group, %")
    axes.set_yticks(range(len(rows)), [f"{row.group} ({row.n})" for row in rows], fontsize=8)
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure
