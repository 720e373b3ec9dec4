"""What calibration is worth: ECE, risk and coverage, on clean images and under every corruption.

    python -m benchmarks.calibration predictions.parquet --save     # of cinemae evaluate --corruptions standard

Curve and thresholds are chosen on the clean images, fold by fold; each image, clean or corrupted, is judged by what the
other folds chose. Nothing is ever chosen on a corrupted image, except where the page says "own images".
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import logit as to_log_odds

from benchmarks.measure import RESULTS, ROOT, describe_machine, require_close
from cinemae.calibration.decision import CrossFitted, choose_decision, cross_fit
from cinemae.calibration.record import plot_before_and_after
from cinemae.calibration.report import CalibrationReport, report_calibration
from cinemae.config import DecisionConfig, ModelConfig, TrainConfig
from cinemae.core.calibration import calibrate
from cinemae.evaluation.predictions import RAW, Predictions
from cinemae.models.directory import read_model_config, resolve_model
from cinemae.statistics.metrics import auc, figure, rate
from cinemae.statistics.plot_style import save_figure
from cinemae.statistics.reliability import reliability_bins
from cinemae.statistics.resampling import brier_of, calibration_error_of
from cinemae.statistics.risk_coverage import ERROR_LEVELS, RiskCoverage, plot_risk_coverage, risk_coverage

FOLDER = RESULTS / "calibration"
OTHER_FOLDS = 5
CURVES = ("raw", "jpeg=50", "noise=10", "blur=2", "resize=0.5", "screenshot=2", "social=2")


def main() -> None:
    """Measure, print the table, and with --save keep record and plots."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("predictions", type=Path, help="predictions.parquet of cinemae evaluate --corruptions standard")
    parser.add_argument("--model", help="the model that made them; without it the bundled one")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/calibration/")
    options = parser.parse_args()
    labels, generators, logits = read_logits(options.predictions, read_model_config(resolve_model(options.model)))
    report = report_calibration(logits[RAW], labels, generators, TrainConfig())
    values = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "model": read_model_config(resolve_model(options.model)).model_id,
        "clean": msgspec.to_builtins(report.to_figures()),
        "unseen_generators": unseen_generators(report),
        "other_folds": other_folds(report),
        "conditions": {name: of_condition(report, of_images) for name, of_images in logits.items()},
    }
    for name, row in values["conditions"].items():
        before, after = (row[part]["calibration_error"]["value"] for part in ("before", "after"))
        print(f"{name:14} ECE {before:.3f} -> {after:.3f}  AUC {row['auc']['value']:.3f}")
    if options.save:
        save(values, report, logits)
        print(f"saved to {FOLDER.relative_to(ROOT)}; now: python -m benchmarks.render")


def read_logits(
    path: Path, config: ModelConfig
) -> tuple[NDArray[np.int64], NDArray[np.str_], dict[str, NDArray[np.float64]]]:
    """Return label and generator of the images, and their logits under every condition.

    Predictions hold prob_fake; the curve of the model that made them rises strictly, so it can be taken back. That the
    curve is the same is seen by the threshold, which is a score of that curve to the last bit.
    """
    predictions = Predictions.load(path)
    column = next((column for column in predictions.columns if column.detector == "cinemae"), None)
    if column is None or column.threshold != config.decision.threshold:
        made_by = column.description if column else ", ".join(predictions.detectors)
        sys.exit(
            f"{path} was made by {made_by}, calibrated otherwise than {config.model_id}: name the model (--model)."
        )
    known = ~np.isnan(predictions.of(column, RAW))
    logits = {}
    for condition in predictions.conditions:
        prob = predictions.of(column, condition)[known]
        logits[condition] = uncalibrate(prob, config.decision)
        require_close(f"logits under {condition}", calibrate(logits[condition], config.decision), prob, 1e-9)
    return predictions.images.label[known], predictions.images.generator[known], logits


def uncalibrate(prob_fake: NDArray[np.float64], decision: DecisionConfig) -> NDArray[np.float64]:
    """Return the logits that `calibrate` gives these probabilities for."""
    odds = to_log_odds(prob_fake)
    if decision.calibration == "platt":
        return np.asarray((odds - decision.platt_offset) / decision.platt_scale)
    first, last = decision.knot_log_odds[0], decision.knot_log_odds[-1]
    beyond = (np.minimum(odds - first, 0) + np.maximum(odds - last, 0)) / decision.platt_scale
    return np.asarray(np.interp(odds, decision.knot_log_odds, decision.knot_logits) + beyond)


def of_condition(report: CalibrationReport, logits: NDArray[np.float64]) -> dict[str, Any]:
    """Return every figure of one condition; `logits` are of the report's images, in their order."""
    labels, crossed = report.labels, report.crossed
    real, fake = labels == 0, labels == 1
    prob, called_ai, called_real = judge(crossed, logits)
    before = calibrate(logits, DecisionConfig())
    answered = called_ai | called_real
    wrong = np.where(real, called_ai, called_real)
    counted = {
        "photographs_called_ai": (called_ai, real),
        "fakes_called_ai": (called_ai, fake),
        "photographs_called_real": (called_real, real),
        "fakes_called_real": (called_real, fake),
        "uncertain": (~answered, real | fake),
        "error_of_verdicts": (wrong, answered),
    }
    own = risk_coverage(prob, labels)
    return {
        "auc": auc(prob[real], prob[fake]).to_dict(),
        "before": _quality(before, real, fake),
        "after": _quality(prob, real, fake),
        "rates": {name: _share(hits, of) for name, (hits, of) in counted.items()},
        "aurc": own.aurc.to_dict(),
        "coverage_at": {f"{level:g}": own.coverage_at[level].to_dict() for level in ERROR_LEVELS},
        "set_on_clean": {f"{level:g}": _answer_surest(report, logits, level) for level in ERROR_LEVELS},
    }


def judge(
    crossed: CrossFitted, logits: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return prob_fake, called "ai", called "real" of each image by the decision its clean self had no part in."""
    prob = np.zeros(len(logits))
    called_ai, called_real = np.zeros(len(logits), bool), np.zeros(len(logits), bool)
    for number, decision in enumerate(crossed.decisions):
        held_out = crossed.fold == number
        prob[held_out] = calibrate(logits[held_out], decision)
        called_ai[held_out] = prob[held_out] >= decision.threshold
        called_real[held_out] = prob[held_out] < decision.real_below
    return prob, called_ai, called_real


def _quality(prob: NDArray[np.float64], real: NDArray[np.bool_], fake: NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "calibration_error": figure(calibration_error_of, prob[real], prob[fake]).to_dict(),
        "brier_score": figure(brier_of, prob[real], prob[fake]).to_dict(),
    }


def _share(hits: NDArray[np.bool_], of: NDArray[np.bool_]) -> dict[str, Any] | None:
    return rate(int(hits[of].sum()), int(of.sum())).to_dict() if of.any() else None


def _answer_surest(report: CalibrationReport, logits: NDArray[np.float64], level: float) -> dict[str, Any]:
    """Answer where |prob_fake - 0.5| is as large as kept errors within `level` on the clean images of other folds."""
    labels, crossed = report.labels, report.crossed
    answered, wrong = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    for number, decision in enumerate(crossed.decisions):
        held_out = crossed.fold == number
        least = _least_sure(calibrate(report.logits[~held_out], decision), labels[~held_out], level)
        prob = calibrate(logits[held_out], decision)
        answered[held_out] = np.abs(prob - 0.5) >= least
        wrong[held_out] = (prob >= 0.5) != (labels[held_out] == 1)
    return {"coverage": rate(int(answered.sum()), len(answered)).to_dict(), "error": _share(wrong, answered)}


def _least_sure(prob: NDArray[np.float64], labels: NDArray[np.int64], level: float) -> float:
    """Return the least |prob - 0.5| from which on images are called wrongly in at most a share `level`."""
    sure = np.abs(prob - 0.5)
    order = np.argsort(-sure)
    wrong = np.cumsum(((prob >= 0.5) != (labels == 1))[order])
    within = np.flatnonzero(wrong <= level * np.arange(1, len(order) + 1))
    return float(sure[order[within[-1]]]) if len(within) else np.inf


def other_folds(report: CalibrationReport) -> list[float]:
    """Return the calibration error after, of several other draws of the folds."""
    errors = []
    for seed in range(1, OTHER_FOLDS + 1):
        prob = cross_fit(report.logits, report.labels, TrainConfig(seed=seed)).prob_fake
        errors.append(figure(calibration_error_of, prob[report.labels == 0], prob[report.labels == 1]).value)
    return errors


def unseen_generators(report: CalibrationReport) -> dict[str, Any]:
    """Return calibration after, each fake judged by a curve that saw no image of its generator."""
    prob = report.crossed.prob_fake.copy()
    for name in np.unique(report.generators[report.labels == 1]):
        chosen = (report.labels == 1) & (report.generators == name)
        decision = choose_decision(report.logits[~chosen], report.labels[~chosen], TrainConfig(seed=report.seed))
        prob[chosen] = calibrate(report.logits[chosen], decision)
    return _quality(prob, report.labels == 0, report.labels == 1)


def save(values: Mapping[str, Any], report: CalibrationReport, logits: Mapping[str, NDArray[np.float64]]) -> None:
    """Write record and plots."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = json.dumps(values, indent=1) + "\n"
    (FOLDER / "calibration.json").write_text(text, encoding="utf-8")
    before, after = (
        reliability_bins(prob, report.labels)
        for prob in (calibrate(report.logits, DecisionConfig()), report.crossed.prob_fake)
    )
    save_figure(plot_before_and_after(before, after), FOLDER / "reliability.png")
    curves: dict[str, RiskCoverage] = {
        name: risk_coverage(judge(report.crossed, logits[name])[0], report.labels) for name in CURVES if name in logits
    }
    save_figure(plot_risk_coverage(curves), FOLDER / "risk-coverage.png")


if __name__ == "__main__":
    main()
