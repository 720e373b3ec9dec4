"""The plots of a report. Blue marks AUC, orange balanced accuracy; bars are 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cinemae.data.corruptions import STANDARD_GRID
from cinemae.evaluation.predictions import ALIGNED, RAW

_SHOWN = (("auc", "AUC", "#0072b2"), ("balanced_accuracy", "balanced accuracy", "#d55e00"))
_GREY = "#666666"


def generators(rows: Sequence[dict[str, Any]], title: str) -> Figure:
    """Draw AUC and balanced accuracy of each generator with their intervals, worst first.

    Args:
        rows: `generators` of one condition in the results.
        title: Above the plot.
    """
    figure = Figure(figsize=(7, 1.2 + 0.45 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    shown = [one for one in _SHOWN if one[0] in rows[0]]
    for index, (name, label, color) in enumerate(shown):
        values = np.array([row[name]["value"] for row in rows])
        ends = np.array([[row[name]["low"], row[name]["high"]] for row in rows])
        bars = np.clip(np.abs(ends - values[:, None]).T, 0, None)
        offset = (index - (len(shown) - 1) / 2) * 0.22
        axes.errorbar(values, places + offset, xerr=bars, fmt="o", color=color, label=label, capsize=2, ms=5)
    axes.axvline(0.5, color=_GREY, lw=1, ls=":")
    axes.set(yticks=places, yticklabels=[row["generator"] or "not stated" for row in rows], xlim=(0, 1.01), title=title)
    axes.set_xlabel("dotted: chance")
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def corruption_curves(results: dict[str, Any]) -> Figure:
    """Draw the AUC of all images against each family of corruptions, one line a detector (Fig. 6)."""
    present = set(results["conditions"])
    families = {name: [level for level in levels if level in present] for name, levels in STANDARD_GRID.items()}
    families = {name: levels for name, levels in families.items() if levels}
    others = [name for name in results["conditions"] if not any(name in levels for levels in STANDARD_GRID.values())]
    others = [name for name in others if name not in (RAW, ALIGNED)]
    if others:
        families["others"] = others
    columns = min(4, len(families))
    lines = math.ceil(len(families) / columns)
    figure = Figure(figsize=(3.1 * columns, 2.7 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(families) :]:
        axes.set_visible(False)
    for axes, (family, levels) in zip(grid.flat, families.items(), strict=False):
        places = ["raw", *levels]
        for number, detector in enumerate(results["detectors"]):
            found = [detector["conditions"].get(name) for name in places]
            if any(one is None for one in found):
                continue
            values = [one["pooled"]["auc"] for one in found if one is not None]
            line = [value["value"] for value in values]
            color = f"C{number}"
            axes.plot(range(len(places)), line, color=color, marker="o", ms=3, label=detector["detector"])
            axes.fill_between(
                range(len(places)),
                [value["low"] for value in values],
                [value["high"] for value in values],
                color=color,
                alpha=0.15,
                lw=0,
            )
        names = ["raw", *(level.removeprefix(f"{family}=") for level in levels)]
        axes.set_xticks(range(len(places)), names, fontsize=8, rotation=90 if family == "others" else 0)
        axes.set_title(family, fontsize=9)
        axes.axhline(0.5, color=_GREY, lw=1, ls=":")
        axes.grid(alpha=0.3)
    grid[0][0].set_ylabel("AUC, all images")
    if grid[0][0].lines[:-1]:  # the last line is that of chance
        grid[0][0].legend(fontsize=7)
    return figure


def radar(
    detector: dict[str, Any], conditions: Sequence[str] = ("jpeg=50", "resize=0.5", "grayscale")
) -> Figure | None:
    """Draw each generator's balanced accuracy under some conditions as a radar (Fig. 6, right).

    Returns:
        None with fewer than three generators, no threshold, or none of the conditions.
    """
    found = {name: detector["conditions"][name] for name in ("raw", *conditions) if name in detector["conditions"]}
    if "raw" not in found or len(found) < 2 or detector["threshold"] is None or len(found["raw"]["generators"]) < 3:
        return None
    names = sorted(row["generator"] for row in found["raw"]["generators"])
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    figure = Figure(figsize=(5, 4.2), layout="constrained")
    axes = figure.add_subplot(projection="polar")
    for number, (condition, one) in enumerate(found.items()):
        values = {row["generator"]: row["balanced_accuracy"]["value"] for row in one["generators"]}
        line = [values[name] for name in names]
        axes.plot([*angles, angles[0]], [*line, line[0]], color=f"C{number}", label=condition, marker="o", ms=3)
    axes.set_xticks(angles, names, fontsize=8)
    axes.set_ylim(0, 1)
    axes.set_title("balanced accuracy", fontsize=9)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.35, -0.1), fontsize=7)
    return figure
