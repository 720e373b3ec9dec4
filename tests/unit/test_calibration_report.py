"""What is said of a calibration, against the metrics themselves and by hand."""

import dataclasses
import json

import msgspec
import numpy as np
import pytest
from scipy.special import expit

from cinemae.calibration.decision import choose_decision, cross_fit, held_out_probabilities, log_loss
from cinemae.calibration.report import report_calibration, require_enough
from cinemae.config import TrainConfig
from cinemae.errors import TrainingError
from cinemae.statistics.metrics import evaluate, figure, rate
from cinemae.statistics.resampling import brier_of, calibration_error_of

CONFIG = TrainConfig(target_fpr=0.05, target_fnr=0.1, seed=2)


@pytest.fixture(scope="module")
def data():
    """Logits far too sure of themselves: three times the log-odds that generated the labels."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=400)
    labels = (rng.random(400) < expit(truth)).astype(np.int64)
    return 3 * truth + 1, labels, np.where(labels == 1, "gan", "camera")


@pytest.fixture(scope="module")
def report(data):
    return report_calibration(*data, CONFIG, left_out={"unreadable": 2})


@pytest.fixture(scope="module")
def values(report):
    return json.loads(json.dumps(msgspec.to_builtins(report.to_figures())))


def test_the_decision_is_the_chosen_one_with_what_cross_fitting_measured(report, data):
    chosen, crossed = choose_decision(*data[:2], CONFIG), cross_fit(*data[:2], CONFIG)
    rates = crossed.rates(data[1])
    assert report.decision == dataclasses.replace(
        chosen, measured_fpr=rates.photographs_called_ai, measured_fnr=rates.fakes_called_real
    )
    np.testing.assert_array_equal(report.crossed.prob_fake, crossed.prob_fake)


def test_quality_before_and_after_is_that_of_the_metrics_on_held_out_folds(values, report, data):
    logits, labels, _ = data
    held_out = held_out_probabilities(logits, labels, CONFIG.seed)
    expected = {"none": expit(logits), **held_out, "chosen": report.crossed.prob_fake}
    assert set(values["held_out"]) == set(expected)
    for name, prob in expected.items():
        found, real, fake = values["held_out"][name], prob[labels == 0], prob[labels == 1]
        assert found["log_loss"] == pytest.approx(log_loss(prob, labels))
        assert found["brier_score"] == pytest.approx(figure(brier_of, real, fake).to_dict())
        assert found["calibration_error"] == pytest.approx(figure(calibration_error_of, real, fake).to_dict())


def test_calibration_helps_a_score_that_is_too_sure(values):
    before, after = (values["held_out"][name] for name in ("none", "chosen"))
    assert after["calibration_error"]["value"] < 0.5 * before["calibration_error"]["value"]
    assert after["log_loss"] < before["log_loss"]


def test_rates_are_counted_over_each_class_with_wilson_intervals(values, report, data):
    labels, crossed = data[1], report.crossed
    called = int(crossed.called_ai[labels == 0].sum())
    assert values["rates"]["photographs_called_ai"] == rate(called, int((labels == 0).sum())).to_dict()
    missed = int(crossed.called_real[labels == 1].sum())
    assert values["rates"]["fakes_called_real"] == rate(missed, int((labels == 1).sum())).to_dict()
    undecided = int((~crossed.called_ai & ~crossed.called_real).sum())
    assert values["rates"]["uncertain"] == rate(undecided, 400).to_dict()


def test_figures_are_those_of_the_shipped_decision(report, data):
    logits, labels, generators = data
    prob = expit(report.decision.platt_scale * logits + report.decision.platt_offset)
    assert report.decision.calibration == "platt"
    assert report.figures().auc == evaluate(prob, labels, generators, report.decision).auc


def test_counts_seed_and_origin_are_stated(values, data):
    assert (values["n_real"], values["n_fake"]) == tuple(np.bincount(data[1]))
    assert (values["seed"], values["origin"], values["left_out"]) == (2, "validation", {"unreadable": 2})
    assert values["decision"]["target_fpr"] == 0.05


def test_a_class_of_one_image_is_borne():
    report = report_calibration(np.array([0.0, 1.0, 5.0]), np.array([0, 0, 1]), np.array(["", "", "g"]), CONFIG)
    assert json.dumps(msgspec.to_builtins(report.to_figures()))


class TestWarnings:
    @staticmethod
    def _warnings(reals, fakes, **targets):
        rng = np.random.default_rng(0)
        labels = np.repeat([0, 1], [reals, fakes])
        logits = rng.normal(size=reals + fakes) + labels
        config = TrainConfig(**targets)
        return report_calibration(logits, labels, np.full(len(labels), "x"), config).warnings

    def test_enough_images_give_none(self):
        assert self._warnings(681, 581) == ()

    def test_a_wide_interval_is_told_with_what_would_be_enough(self):
        low, high = rate(1, 50).low, rate(1, 50).high
        (sentence,) = self._warnings(50, 300)
        assert sentence == (
            f'50 photographs are few: where 2% of them are called "ai", in truth {100 * low:.1f}% to {100 * high:.1f}% '
            "may be. 400 would keep it below double."
        )
        assert rate(8, 400).high <= 0.04 < rate(7, 350).high

    def test_either_class_may_be_too_small(self):
        photographs, generated = self._warnings(20, 12)
        assert photographs.startswith("20 photographs are few")
        assert generated.startswith('12 generated images are few: where 10% of them are called "real"')


class TestEnough:
    def test_just_enough_is_accepted(self):
        require_enough(50, 10, TrainConfig())

    @pytest.mark.parametrize(
        ("real", "fake", "sentence"),
        [
            (49, 10, '2% of photographs are called "ai" needs at least 50 photographs, got 49: .*--target-fpr'),
            (50, 9, '10% of generated images are called "real" needs at least 10 generated images, got 9: .*-fnr'),
            (0, 9, "at least 50 photographs, got 0"),
        ],
    )
    def test_too_few_are_refused_with_how_many_are_needed(self, real, fake, sentence):
        with pytest.raises(TrainingError, match=sentence):
            require_enough(real, fake, TrainConfig())
