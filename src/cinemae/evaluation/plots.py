"""The plots of a report; bars and bands are 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes

from cinemae.evaluation.predictions import ALIGNED, RAW
from cinemae.evaluation.results import DetectorResults, EvaluationResults, JudgedImages
from cinemae.pictures.corruptions import STANDARD_GRID
from cinemae.statistics.plot_style import BLUE, GREY, VERMILION, line_style, new_figure, quiet_axes

_FIGURES = {"auc": "AUC", "balanced_accuracy": "balanced accuracy"}
_COLOURS = {"auc": BLUE, "balanced_accuracy": VERMILION}
_OTHERS, _CHANCE = "others", "chance"


def generators(rows: Sequence[JudgedImages], title: str) -> Figure:
    """Draw AUC and balanced accuracy of each generator with their intervals, worst first.

    Args:
        rows: `generators` of one condition in the results.
        title: Above the plot.
    """
    figure = new_figure(7, 1.3 + 0.45 * len(rows))
    axes = figure.subplots()
    quiet_axes(axes)
    places = np.arange(len(rows))
    shown = [name for name in _FIGURES if rows[0].figure(name) is not None]
    for index, name in enumerate(shown):
        found = [one for row in rows if (one := row.figure(name)) is not None]
        values = np.array([one.value for one in found])
        ends = np.array([[one.low, one.high] for one in found])
        bars = np.clip(np.abs(ends - values[:, None]).T, 0, None)
        offset = (index - (len(shown) - 1) / 2) * 0.22
        axes.errorbar(
            values, places + offset, xerr=bars, fmt="o", color=_COLOURS[name], label=_FIGURES[name], capsize=2, ms=5
        )
    axes.axvline(0.5, color=GREY, lw=1, ls=":")
    axes.set(yticks=places, yticklabels=[row.generator or "not stated" for row in rows], xlim=(0, 1.01), title=title)
    axes.set_xlabel("dotted: chance")
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def corruption_curves(results: EvaluationResults, figure_of_merit: str = "auc") -> Figure | None:
    """Draw a mean over generators against each family of corruptions, one line a detector (Fig. 6).

    Args:
        results: Of any number of detectors.
        figure_of_merit: "auc" or "balanced_accuracy".

    Returns:
        None without corruptions, or if no detector has such a figure.
    """
    shown = {
        number: detector
        for number, detector in enumerate(results.detectors)
        if (raw := detector.conditions.get(RAW)) is not None and figure_of_merit in raw.mean
    }
    families = _families(results.conditions)
    if not shown or not families:
        return None
    columns = min(3, len(families))
    lines = math.ceil(len(families) / columns)
    figure = new_figure(3.4 * columns, 0.4 + 2.5 * lines)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(families) :]:
        axes.set_visible(False)
    for axes, (family, levels) in zip(grid.flat, families.items(), strict=False):
        _curves(axes, [RAW, *levels], shown, figure_of_merit)
        names = [RAW, *(level.removeprefix(f"{family}=") for level in levels)]
        axes.set_xticks(range(len(names)), names, fontsize=8, rotation=90 if family == _OTHERS else 0)
        axes.set_title(family, fontsize=9)
    for row in grid:
        row[0].set_ylabel(f"{_FIGURES[figure_of_merit]}, mean", fontsize=8)
    lines_of = {str(line.get_label()): line for axes in grid.flat for line in axes.lines if line.get_label() != _CHANCE}
    if lines_of:
        figure.legend(lines_of.values(), lines_of, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _families(conditions: Sequence[str]) -> dict[str, list[str]]:
    """Return the corruptions among some conditions by family, from mild to strong; chains are "others"."""
    found = {name: [level for level in levels if level in conditions] for name, levels in STANDARD_GRID.items()}
    placed = {RAW, ALIGNED, *(level for levels in found.values() for level in levels)}
    found[_OTHERS] = [name for name in conditions if name not in placed]
    return {name: levels for name, levels in found.items() if levels}


def _curves(
    axes: Axes, conditions: Sequence[str], detectors: Mapping[int, DetectorResults], figure_of_merit: str
) -> None:
    """Draw each detector's figures with their intervals as a line and a band; nothing where it is silent."""
    quiet_axes(axes)
    axes.axhline(0.5, color=GREY, lw=1, ls=":", label=_CHANCE)
    for number, detector in detectors.items():
        if any(name not in detector.conditions for name in conditions):
            continue
        values = [detector.conditions[name].mean[figure_of_merit] for name in conditions]
        line, low, high = ([getattr(value, end) for value in values] for end in ("value", "low", "high"))
        style = line_style(number)
        axes.plot(line, **style, marker="o", ms=3, label=detector.detector)
        axes.fill_between(range(len(line)), low, high, color=style["color"], alpha=0.15, lw=0)


def radar(
    detector: DetectorResults, conditions: Sequence[str] = ("jpeg=50", "resize=0.5", "grayscale")
) -> Figure | None:
    """Draw each generator's AUC and balanced accuracy under some conditions as radars (Fig. 6, right).

    Returns:
        None with fewer than three generators, or none of the conditions.
    """
    found = {name: detector.conditions[name] for name in (RAW, *conditions) if name in detector.conditions}
    if RAW not in found or len(found) < 2 or len(found[RAW].generators) < 3:
        return None
    shown = [name for name in _FIGURES if found[RAW].generators[0].figure(name) is not None]
    figure = new_figure(4.6 * len(shown), 4.6)
    for place, name in enumerate(shown, start=1):
        axes = cast("PolarAxes", figure.add_subplot(1, len(shown), place, projection="polar"))
        rows = {
            condition: {
                row.generator or "": one.value for row in judged.generators if (one := row.figure(name)) is not None
            }
            for condition, judged in found.items()
        }
        _radar(axes, rows)
        axes.set_title(_FIGURES[name], fontsize=9)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return figure


def _radar(axes: PolarAxes, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Draw a closed line for each condition, one spoke a generator."""
    names = sorted(rows[RAW])
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    axes.plot(np.linspace(0, 2 * np.pi, 100), np.full(100, 0.5), color=GREY, lw=1, ls=":", label=_CHANCE)
    for number, (condition, values) in enumerate(rows.items()):
        line = [values[name] for name in names]
        width = 3 if condition == RAW else 1.5  # or the others would cover it
        axes.plot(
            [*angles, angles[0]], [*line, line[0]], **line_style(number), lw=width, label=condition, marker="o", ms=3
        )
    axes.set_xticks(angles, [name or "not stated" for name in names], fontsize=8)
    for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
        across = np.cos(angle)
        label.set_horizontalalignment("left" if across > 0.1 else "right" if across < -0.1 else "center")
    axes.set_yticks([0.25, 0.5, 0.75, 1], ["0.25", "0.5", "0.75", "1"], fontsize=7, color=GREY)
    axes.set_rlabel_position(180 / len(names))  # between the first two generators
    axes.set_ylim(0, 1)
