"""The benchmark on calibration: what it takes back, whom it judges by what, and what it shows."""

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cinemae.calibration.decision import choose_decision
from cinemae.calibration.report import report_calibration
from cinemae.config import DecisionConfig, TrainConfig
from cinemae.core.calibration import calibrate
from cinemae.statistics.metrics import figure
from cinemae.statistics.resampling import calibration_error_of

sys.path.append(str(Path(__file__).resolve().parents[2]))  # benchmarks are no part of the installed package

from benchmarks.calibration import _least_sure, judge, of_condition, uncalibrate, unseen_generators
from benchmarks.drawn_pictures import KINDS, draw_pictures

LINE = DecisionConfig(platt_scale=0.4, platt_offset=0.5)
BENT = DecisionConfig(
    platt_scale=0.5, calibration="isotonic", knot_logits=(-1.0, 0.0, 2.0), knot_log_odds=(-3.0, -1.0, 0.0)
)


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [90, 70])
    generators = np.where(labels == 0, "camera", np.where(np.arange(160) % 2, "gan", "flow"))
    return report_calibration(3 * rng.normal(size=160) + 2 * labels, labels, generators, TrainConfig(target_fpr=0.05))


@pytest.mark.parametrize("decision", [LINE, BENT])
def test_logits_are_taken_back_from_probabilities(decision):
    logits = np.array([-9.0, -1.0, -0.3, 0.0, 1.5, 2.0, 7.0])
    np.testing.assert_allclose(uncalibrate(calibrate(logits, decision), decision), logits, atol=1e-9)


def test_clean_images_are_judged_as_in_the_report(report):
    prob, called_ai, called_real = judge(report.crossed, report.logits)
    np.testing.assert_array_equal(prob, report.crossed.prob_fake)
    np.testing.assert_array_equal(called_ai, report.crossed.called_ai)
    np.testing.assert_array_equal(called_real, report.crossed.called_real)
    row, values = of_condition(report, report.logits), msgspec.to_builtins(report.to_figures())
    assert row["after"]["calibration_error"] == values["held_out"]["chosen"]["calibration_error"]
    for name, found in values["rates"].items():
        assert row["rates"][name] == found


def test_corrupted_images_are_judged_by_what_the_clean_ones_of_other_folds_chose(report):
    corrupted = report.logits - 1.0
    prob, called_ai, _ = judge(report.crossed, corrupted)
    for number, decision in enumerate(report.crossed.decisions):
        held_out = report.crossed.fold == number
        np.testing.assert_array_equal(prob[held_out], calibrate(corrupted[held_out], decision))
        np.testing.assert_array_equal(called_ai[held_out], prob[held_out] >= decision.threshold)
    assert of_condition(report, corrupted)["rates"]["photographs_called_ai"]["value"] < report.decision.measured_fpr


def test_errors_are_those_of_ai_and_real(report):
    row, crossed = of_condition(report, report.logits), report.crossed
    wrong = (crossed.called_ai & (report.labels == 0)) | (crossed.called_real & (report.labels == 1))
    answered = crossed.called_ai | crossed.called_real
    assert row["rates"]["error_of_verdicts"]["value"] == pytest.approx(wrong.sum() / answered.sum())


def test_the_least_sure_answer_within_an_error():
    """Surest first: right, wrong, right, right; half of two and a third of three are wrong, a quarter of four."""
    prob, labels = np.array([0.99, 0.03, 0.9, 0.8]), np.array([1, 1, 1, 1])
    assert _least_sure(prob, labels, 0.0) == pytest.approx(0.49)
    assert _least_sure(prob, labels, 0.25) == pytest.approx(0.3)
    assert _least_sure(1 - prob, labels, 0.1) == np.inf


def test_fakes_of_each_generator_are_judged_without_it(report):
    prob = report.crossed.prob_fake.copy()
    for name in ("gan", "flow"):
        others = report.generators != name
        decision = choose_decision(report.logits[others], report.labels[others], TrainConfig())
        prob[~others] = calibrate(report.logits[~others], decision)
    expected = figure(calibration_error_of, prob[report.labels == 0], prob[report.labels == 1]).to_dict()
    assert unseen_generators(report)["calibration_error"] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_pictures_are_the_same_each_time_and_differ_from_each_other(kind):
    first, second = draw_pictures(kind, 2)
    again = draw_pictures(kind, 1)[0]
    assert first.mode == "RGB"
    assert first.size == (256, 256)
    assert first.tobytes() == again.tobytes() != second.tobytes()
