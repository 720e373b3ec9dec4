import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.model_selection import StratifiedKFold

from cinemae.calibration import decision as decision_module
from cinemae.calibration.decision import (
    choose_decision,
    cross_fit,
    held_out_probabilities,
    log_loss,
)
from cinemae.config import DecisionConfig, TrainConfig
from cinemae.core.calibration import calibrate as apply_calibration
from cinemae.errors import TrainingError

CONFIG = TrainConfig()


def cross_fitted_rates(logits, labels, config):
    return msgspec.to_builtins(cross_fit(logits, labels, config).rates(labels))


QUICK = settings(max_examples=30, deadline=None)


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
    return apply_calibration(logits, decision)


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

    def test_each_source_counts_alike_however_many_photographs_it_has(self):
        logits, labels = normal(count=300)
        sources = np.where(np.arange(len(labels)) % 30 == 0, "few", "many")
        sources[labels == 1] = "a generator, which does not count"
        few = (labels == 0) & (sources == "few")
        logits[few] += 3  # all of few lie high, and are half of what counts
        decision = choose_decision(logits, labels, dataclasses.replace(CONFIG, target_fpr=0.1), sources=sources)
        called = _prob(decision, logits) >= decision.threshold
        shares = [called[(labels == 0) & (sources == name)].mean() for name in ("few", "many")]
        assert few.sum() == 10
        assert shares == [0.2, 0.0]  # of 290 photographs of "many" alone 10 % would be 29
        assert "of 300 validation photographs are, each of 2 sources counting alike, " in decision.rule

    @given(validation_sets(), TARGETS)
    @QUICK
    def test_one_source_is_as_none(self, data, config):
        logits, labels = data
        sources = np.full(len(labels), "all")
        assert (
            choose_decision(logits, labels, config, sources=sources).threshold
            == choose_decision(logits, labels, config).threshold
        )

    def test_targets_are_kept_as_numbers_and_small_ones_are_not_rounded_away(self):
        logits, labels = normal(count=50)
        decision = choose_decision(logits, labels, dataclasses.replace(CONFIG, target_fpr=0.005))
        assert (decision.target_fpr, decision.target_fnr) == (0.005, 0.1)
        assert '"ai" where at most 0.5% of 50' in decision.rule


class TestChoiceOfCalibration:
    @given(validation_sets())
    @QUICK
    def test_never_turns_the_score_around(self, data):
        decision = choose_decision(*data, CONFIG)
        assert decision.platt_scale > 0
        ordered = np.linspace(-10, 10, 41)
        assert (np.diff(_prob(decision, ordered)) >= 0).all()

    def test_a_straight_relation_takes_platt_and_a_bent_one_isotonic(self):
        rng = np.random.default_rng(0)
        logits = rng.uniform(-4, 4, 3000)
        kinds = {}
        for name, truth in (("straight", logits), ("bent", np.where(np.abs(logits) < 2, 0, 2 * logits))):
            labels = (rng.random(3000) < 1 / (1 + np.exp(-truth))).astype(int)
            kinds[name] = choose_decision(logits, labels, CONFIG).calibration
        assert kinds == {"straight": "platt", "bent": "isotonic"}

    def test_the_lower_log_loss_on_held_out_folds_decides(self):
        for seed in range(4):
            logits, labels = normal(count=60, seed=seed)
            logits = np.sinh(logits) if seed % 2 else logits
            found = held_out_probabilities(logits, labels, CONFIG.seed)
            losses = {kind: log_loss(prob, labels) for kind, prob in found.items()}
            assert choose_decision(logits, labels, CONFIG).calibration == min(losses, key=losses.get)

    def test_held_out_probabilities_come_from_the_other_folds(self):
        logits, labels = normal(count=40)
        found = held_out_probabilities(logits, labels, 3)
        for fitted, judged in StratifiedKFold(5, shuffle=True, random_state=3).split(logits, labels):
            model = LogisticRegression(C=1e6, class_weight="balanced").fit(logits[fitted, None], labels[fitted])
            expected = model.predict_proba(logits[judged, None])[:, 1]
            np.testing.assert_allclose(found["platt"][judged], expected, rtol=1e-6)
        assert not np.array_equal(found["platt"], found["isotonic"])

    def test_log_loss_is_that_of_scikit_learn_with_both_classes_weighing_half(self):
        rng = np.random.default_rng(0)
        prob, labels = rng.random(50), np.repeat([0, 1], [40, 10])
        weights = np.where(labels == 1, 1 / 10, 1 / 40)
        assert log_loss(prob, labels) == pytest.approx(sklearn_log_loss(labels, prob, sample_weight=weights))
        assert np.isfinite(log_loss(np.array([0.0, 1.0]), np.array([1, 0])))

    def test_a_class_of_one_image_takes_platt(self):
        assert choose_decision(np.array([0.0, 1.0, 5.0]), np.array([0, 0, 1]), CONFIG).calibration == "platt"


class TestPlatt:
    def test_a_score_worse_than_chance_is_left_uncalibrated(self):
        logits, labels = normal(shift=-2.0)
        decision = choose_decision(logits, labels, CONFIG)
        assert (decision.platt_scale, decision.platt_offset, decision.calibration) == (1.0, 0.0, "platt")

    @pytest.mark.parametrize("count", [20, 180])
    def test_both_classes_weigh_alike(self, count):
        logits, labels = normal(seed=1)
        kept = np.r_[0:200, 200 : 200 + count]
        decision = choose_decision(logits[kept], labels[kept], CONFIG)
        assert decision.calibration == "platt"
        prob = _prob(decision, logits[kept])
        means = [prob[labels[kept] == label].mean() for label in (0, 1)]
        assert sum(means) == pytest.approx(1, abs=1e-3)

    def test_recovers_known_scale_and_offset(self):
        rng = np.random.default_rng(0)
        logits = rng.normal(size=40_000)
        labels = (rng.random(40_000) < 1 / (1 + np.exp(-2 * logits))).astype(int)
        decision = choose_decision(logits, labels, CONFIG)
        assert decision.platt_scale == pytest.approx(2.0, rel=0.05)
        assert decision.platt_offset == pytest.approx(0.0, abs=0.05)


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

        def spy(fitted_logits, fitted_labels, config, **named):
            decision = real_choose(fitted_logits, fitted_labels, config, **named)
            chosen.append((fitted_logits, decision))
            return decision

        monkeypatch.setattr(decision_module, "choose_decision", spy)
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

        def spy(fitted_logits, fitted_labels, config, **named):
            seen.append(np.bincount(fitted_labels).tolist())
            return DecisionConfig()

        monkeypatch.setattr(decision_module, "choose_decision", spy)
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

    def test_the_probability_of_each_image_is_that_of_its_folds_decision(self):
        logits, labels = normal(count=30)
        crossed = cross_fit(logits, labels, CONFIG)
        assert sorted(set(crossed.fold.tolist())) == list(range(5)) == list(range(len(crossed.decisions)))
        for number, decision in enumerate(crossed.decisions):
            held_out = crossed.fold == number
            expected = choose_decision(logits[~held_out], labels[~held_out], CONFIG)
            assert decision == expected
            np.testing.assert_array_equal(crossed.prob_fake[held_out], _prob(decision, logits[held_out]))
        assert msgspec.to_builtins(crossed.rates(labels)) == cross_fitted_rates(logits, labels, CONFIG)

    @pytest.mark.parametrize(("real", "fake"), [(1, 3), (2, 2), (3, 50), (50, 4)])
    def test_few_images_of_a_class_make_fewer_folds(self, real, fake):
        logits, labels = normal(count=50)
        kept = np.r_[0:real, 50 : 50 + fake]
        rates = cross_fitted_rates(logits[kept], labels[kept], CONFIG)
        assert all(0 <= rate <= 1 for rate in rates.values())
