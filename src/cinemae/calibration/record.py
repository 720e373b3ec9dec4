"""What a calibration leaves beside a model: calibration.json, a reliability diagram and a risk-coverage curve."""

from __future__ import annotations

import json

import msgspec
import numpy as np
from matplotlib.figure import Figure

from cinemae.calibration.report import CalibrationReport
from cinemae.models.checked_scores import CheckedScores
from cinemae.models.directory import CALIBRATION_FILE, CALIBRATION_PLOTS
from cinemae.statistics.plot_style import BLUE, GREY, new_figure, quiet_axes, to_png
from cinemae.statistics.reliability import ReliabilityTable, reliability_bins
from cinemae.statistics.risk_coverage import plot_risk_coverage, risk_coverage

_CURVE_POINTS = 200


def calibration_files(report: CalibrationReport) -> dict[str, bytes]:
    """Return calibration.json and two plots, all of held-out folds, by name.

    The verdict of the curve is "generated" from 0.5 on, and the distance to 0.5 says how sure it is.

    Args:
        report: From `training.train` or `calibration.calibrate`.
    """
    bins = {
        name: reliability_bins(prob, report.labels)
        for name, prob in report.probabilities().items()
        if name in ("none", "chosen")
    }
    curve = risk_coverage(report.crossed.prob_fake, report.labels)
    drawn = curve.to_dict()
    kept = np.unique(np.linspace(0, len(curve.coverage) - 1, _CURVE_POINTS).astype(int))
    drawn |= {name: getattr(curve, name)[kept].tolist() for name in ("coverage", "error")}
    figures = report.to_figures()
    checked = CheckedScores.of(report.logits, report.labels, figures.rates.uncertain.value)
    values = {
        **msgspec.to_builtins(figures),
        "checked_scores": msgspec.to_builtins(checked),
        "reliability": msgspec.to_builtins(bins),
        "risk_coverage": drawn,
    }
    reliability, abstention = CALIBRATION_PLOTS
    return {
        CALIBRATION_FILE: (json.dumps(values, indent=1) + "\n").encode(),
        reliability: to_png(plot_before_and_after(bins["none"], bins["chosen"])),
        abstention: to_png(plot_risk_coverage({"calibrated, held out": curve})),
    }


def plot_before_and_after(before: ReliabilityTable, after: ReliabilityTable) -> Figure:
    """Draw two tables of `reliability_bins` in one diagram.

    Args:
        before: Of the sigmoid of the logit as it is.
        after: Of calibrated probabilities.
    """
    figure = new_figure(5.6, 6.0)
    axes = figure.subplots()
    quiet_axes(axes)
    axes.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1.2, label="stated probability holds")
    for table, name, colour in ((before, "before", "#a8a8a8"), (after, "after", BLUE)):
        mean, value, reach = table.points
        axes.errorbar(
            mean, value, reach, fmt="o-", color=colour, lw=1.2, ms=5, capsize=3,
            label=f"{name} calibration: error {table.calibration_error:.3f}",
        )  # fmt: skip
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="mean stated probability of being generated")
    axes.set_ylabel("share of generated images (both classes weigh half)")
    figure.legend(loc="outside lower center", frameon=False, fontsize=9)
    axes.set_title("Does the probability hold?\nbins of held-out images with 95 % intervals", fontsize=10)
    return figure
