import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from cinemae.config import DecisionConfig, TrainConfig
from cinemae.errors import TrainingError
from cinemae.jobs import calibrate
from cinemae.jobs.calibrate import apply_platt, choose_decision, cross_fitted_rates

CONFIG = TrainConfig()
QUICK = settings(max_examples=60, deadline=None)


def normal(shift=1.0, count=200, seed=0):
    """Logits of as many photographs as fakes, the fakes' moved up."""
    logits = np.random.default_rng(seed).normal(size=2 * count)
    labels = np.repeat([0, 1], count)
    return logits + shift * labels, labels


@st.composite
def validation_sets(draw):
    real = draw(st_numpy.arrays(np.float64, st.integers(2, 60), elements=st.floats(-10, 10, width=32)))
    fake = draw(st_numpy.arrays(np.float64, st.integers(2, 60), elements=st.floats(-10, 10, width=32)))
    return np.concatenate([real, fake]), np.repeat([0, 1], [len(real), len(fake)])


TARGETS = st.builds(
    TrainConfig, target_fpr=st.sampled_from([0.001, 0.02, 0.1, 0.5]), target_fnr=st.sampled_from([0.001, 0.1, 0.3])
)


def _prob(decision, logits):
    return apply_platt(logits, decision.platt_scale, decision.platt_offset)


class TestThresholds:
    @given(validation_sets(), TARGETS)
    @QUICK
    def test_no_more_than_the_target_shares_are_misjudged_and_no_tighter_thresholds_would_do(self, data, config):
        logits, labels = data
        decision = choose_decision(logits, labels, config)
        prob = _prob(decision, logits)
        real, fake = prob[labels == 0], prob[labels == 1]
        assert (real >= decision.threshold).mean() <= config.target_fpr
        assert (real >= real[real < decision.threshold].max()).mean() > config.target_fpr
        assert (fake < decision.real_below).mean() <= config.target_fnr
        assert 0 <= decision.real_below <= decision.threshold <= 1
        if decision.real_below < decision.threshold:
            assert (fake <= fake[fake >= decision.real_below].min()).mean() > config.target_fnr

    @pytest.mark.parametrize(("target", "called"), [(0.02, 4), (0.05, 10), (0.004, 0)])
    def test_without_ties_the_target_is_met_exactly(self, target, called):
        logits, labels = normal()
        decision = choose_decision(logits, labels, dataclasses.replace(CONFIG, target_fpr=target, target_fnr=target))
        prob = _prob(decision, logits)
        assert (prob[labels == 0] >= decision.threshold).sum() == called
        assert (prob[labels == 1] < decision.real_below).sum() == called

    def test_thresholds_lie_halfway_between_the_scores_that_they_divide(self):
        logits, labels = normal()
        decision = choose_decision(logits, labels, CONFIG)
        prob = np.sort(_prob(decision, logits))
        for value in (decision.threshold, decision.real_below):
            assert value == pytest.approx((prob[prob < value].max() + prob[prob >= value].min()) / 2, abs=1e-12)

    def test_a_perfect_separation_leaves_nothing_uncertain(self):
        logits, labels = normal(shift=30.0)
        decision = choose_decision(logits, labels, CONFIG)
        prob = _prob(decision, logits)
        assert (prob[labels == 1] >= decision.threshold).all()
        assert decision.real_below == decision.threshold

    def test_the_rule_says_targets_and_numbers(self):
        logits, labels = normal(count=50)
        rule = choose_decision(logits, labels, dataclasses.replace(CONFIG, target_fpr=0.04, target_fnr=0.3)).rule
        assert rule == (
            '"ai" where at most 4% of 50 validation photographs are, '
            '"real" where at most 30% of 50 validation fakes are'
        )


class TestPlatt:
    @given(validation_sets())
    @QUICK
    def test_never_turns_the_score_around(self, data):
        decision = choose_decision(*data, CONFIG)
        assert decision.platt_scale > 0
        ordered = np.linspace(-10, 10, 41)
        assert (np.diff(_prob(decision, ordered)) >= 0).all()

    def test_a_score_worse_than_chance_is_left_uncalibrated(self):
        logits, labels = normal(shift=-2.0)
        decision = choose_decision(logits, labels, CONFIG)
        assert (decision.platt_scale, decision.platt_offset) == (1.0, 0.0)

    @pytest.mark.parametrize("count", [20, 180])
    def test_both_classes_weigh_alike(self, count):
        logits, labels = normal()
        kept = np.r_[0:200, 200 : 200 + count]
        decision = choose_decision(logits[kept], labels[kept], CONFIG)
        prob = _prob(decision, logits[kept])
        means = [prob[labels[kept] == label].mean() for label in (0, 1)]
        assert sum(means) == pytest.approx(1, abs=1e-3)

    def test_recovers_known_scale_and_offset(self):
        rng = np.random.default_rng(0)
        logits = rng.normal(size=40_000)
        labels = (rng.random(40_000) < apply_platt(logits, 2.0, 0.0)).astype(int)
        decision = choose_decision(logits, labels, CONFIG)
        assert decision.platt_scale == pytest.approx(2.0, rel=0.05)
        assert decision.platt_offset == pytest.approx(0.0, abs=0.05)

    def test_apply_platt_is_the_logistic_function_without_overflow(self):
        logits = np.array([-1e4, -2.0, 0.0, 3.0, 1e4], np.float32)
        expected = [0.0, 1 / (1 + np.exp(3.0)), 1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(-7.0)), 1.0]
        np.testing.assert_allclose(apply_platt(logits, 2.0, 1.0), expected, rtol=1e-12)


class TestRefusals:
    @pytest.mark.parametrize("label", [0, 1])
    def test_one_class_alone(self, label):
        with pytest.raises(
            TrainingError, match="chosen on photographs and generated images; validation holds one class"
        ):
            choose_decision(np.zeros(4), np.full(4, label), CONFIG)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_logits_that_are_no_numbers(self, value):
        logits, labels = normal(count=3)
        logits[2] = value
        with pytest.raises(TrainingError, match="a validation logit is not finite"):
            choose_decision(logits, labels, CONFIG)


class TestCrossFitting:
    def test_every_image_is_judged_once_by_thresholds_chosen_without_it(self, monkeypatch):
        logits, labels = normal(count=30)
        chosen = []
        real_choose = choose_decision

        def spy(fitted_logits, fitted_labels, config):
            decision = real_choose(fitted_logits, fitted_labels, config)
            chosen.append((fitted_logits, decision))
            return decision

        monkeypatch.setattr(calibrate, "choose_decision", spy)
        rates = cross_fitted_rates(logits, labels, CONFIG)
        judged, called_ai, called_real = [], [], []
        for fitted, decision in chosen:
            held_out = np.flatnonzero(~np.isin(logits, fitted))
            prob = _prob(decision, logits[held_out])
            judged.extend(held_out.tolist())
            called_ai.extend(held_out[prob >= decision.threshold].tolist())
            called_real.extend(held_out[prob < decision.real_below].tolist())
        assert sorted(judged) == list(range(60))
        assert len(chosen) == 5
        assert rates == pytest.approx(
            {
                "photographs_called_ai": sum(labels[i] == 0 for i in called_ai) / 30,
                "photographs_called_real": sum(labels[i] == 0 for i in called_real) / 30,
                "fakes_called_ai": sum(labels[i] == 1 for i in called_ai) / 30,
                "fakes_called_real": sum(labels[i] == 1 for i in called_real) / 30,
            }
        )

    def test_folds_hold_both_classes_in_their_shares(self, monkeypatch):
        logits, labels = normal(count=50)
        seen = []

        def spy(fitted_logits, fitted_labels, config):
            seen.append(np.bincount(fitted_labels).tolist())
            return DecisionConfig()

        monkeypatch.setattr(calibrate, "choose_decision", spy)
        cross_fitted_rates(logits, labels, CONFIG)
        assert seen == [[40, 40]] * 5

    def test_the_rates_follow_from_the_seed(self):
        logits, labels = normal(count=40)
        rates = [cross_fitted_rates(logits, labels, dataclasses.replace(CONFIG, seed=seed)) for seed in (0, 0, 1)]
        assert rates[0] == rates[1]
        assert rates[0] != rates[2]

    def test_on_average_they_are_near_the_targets_but_not_forced_to_meet_them(self):
        config = dataclasses.replace(CONFIG, target_fpr=0.1, target_fnr=0.1)
        rates = [cross_fitted_rates(*normal(count=100, seed=seed), config) for seed in range(6)]
        false_alarms = [rate["photographs_called_ai"] for rate in rates]
        assert np.mean(false_alarms) == pytest.approx(0.1, abs=0.04)
        assert max(false_alarms) > 0.1

    @pytest.mark.parametrize(("real", "fake"), [(2, 2), (3, 50), (50, 4)])
    def test_few_images_of_a_class_make_fewer_folds(self, real, fake):
        logits, labels = normal(count=50)
        kept = np.r_[0:real, 50 : 50 + fake]
        rates = cross_fitted_rates(logits[kept], labels[kept], CONFIG)
        assert all(0 <= rate <= 1 for rate in rates.values())
