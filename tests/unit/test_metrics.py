import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from cinemae.config import DecisionConfig
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.metrics import auc, evaluate, figure, mean_generator_auc, rate
from cinemae.statistics.resampling import average_precision_of, brier_of, calibration_error_of, tpr_at

SCORES = st_numpy.arrays(np.float64, st.integers(2, 30), elements=st.sampled_from(np.linspace(0, 1, 9)))


def _reference_auc(real, fake):
    """The share of pairs in which the fake scores higher; a tie counts half."""
    pairs = [(r, f) for r in real for f in fake]
    return sum((f > r) + 0.5 * (f == r) for r, f in pairs) / len(pairs)


class TestAuc:
    @given(SCORES, SCORES)
    @settings(max_examples=40, deadline=None)
    def test_equals_the_rank_formula_and_lies_in_its_interval(self, real, fake):
        estimate = auc(real, fake)
        assert estimate.value == pytest.approx(_reference_auc(real, fake))
        assert 0 <= estimate.low <= estimate.value + 1e-12
        assert estimate.value - 1e-12 <= estimate.high <= 1
        assert estimate.n == len(real) + len(fake)

    def test_equals_scikit_learn(self):
        rng = np.random.default_rng(0)
        scores, labels = rng.normal(size=300), rng.integers(0, 2, 300)
        found = auc(scores[labels == 0], scores[labels == 1])
        assert found.value == pytest.approx(roc_auc_score(labels, scores))

    def test_the_interval_follows_from_the_seed(self):
        rng = np.random.default_rng(0)
        real, fake = rng.normal(size=40), rng.normal(1, size=40)
        assert auc(real, fake) == auc(real, fake)
        assert auc(real, fake, seed=1) != auc(real, fake)

    def test_the_interval_narrows_with_more_images(self):
        rng = np.random.default_rng(0)
        few, many = (auc(rng.normal(size=n), rng.normal(1, size=n)) for n in (20, 2000))
        assert many.high - many.low < 0.3 * (few.high - few.low)

    def test_the_interval_is_about_as_wide_as_hanley_and_mcneil_say(self):
        rng = np.random.default_rng(0)
        found = auc(rng.normal(size=200), rng.normal(1, size=200))
        a = found.value
        q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
        error = math.sqrt((a * (1 - a) + 199 * (q1 - a * a) + 199 * (q2 - a * a)) / 200**2)
        assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.2)

    @pytest.mark.parametrize(("real", "fake"), [([0.5], [0.2, 0.7]), ([0.1, 0.3], [0.9]), ([0.1], [0.9])])
    def test_of_a_single_image_nothing_is_known(self, real, fake):
        found = auc(np.array(real), np.array(fake))
        assert found == Estimate(_reference_auc(real, fake), 0.0, 1.0, len(real) + len(fake))


def _reference_tpr(real, fake, max_fpr):
    """The most fakes that some threshold finds while accusing few enough photographs."""
    thresholds = [*real, *fake, math.inf]
    allowed = [t for t in thresholds if sum(r >= t for r in real) <= max_fpr * len(real)]
    return max(sum(f >= t for f in fake) / len(fake) for t in allowed)


def _reference_calibration_error(real, fake):
    """Ten bins, a photograph weighing 1 / R and a fake 1 / F, weights summing to 2."""
    error = 0.0
    for index in range(10):
        inside = [
            (p, label, 1 / len(scores))
            for label, scores in ((0, real), (1, fake))
            for p in scores
            if index == min(int(p * 10), 9)
        ]
        weight = sum(w for _, _, w in inside)
        if inside:
            confidence = sum(w * p for p, _, w in inside) / weight
            share = sum(w * label for _, label, w in inside) / weight
            error += weight / 2 * abs(confidence - share)
    return error


class TestOverTheWholeRange:
    """Average precision, TPR at a FPR, Brier score and calibration error."""

    @given(SCORES, SCORES)
    @settings(max_examples=15, deadline=None)
    def test_equal_their_definitions_and_lie_in_their_intervals(self, real, fake):
        labels, weights = [0] * len(real) + [1] * len(fake), [1 / len(real)] * len(real) + [1 / len(fake)] * len(fake)
        scores = np.concatenate([real, fake])
        for found, expected in (
            (figure(average_precision_of, real, fake), average_precision_score(labels, scores, sample_weight=weights)),
            (figure(tpr_at(0.05), real, fake), _reference_tpr(real, fake, 0.05)),
            (figure(tpr_at(0.5), real, fake), _reference_tpr(real, fake, 0.5)),
            (figure(brier_of, real, fake), brier_score_loss(labels, scores, sample_weight=weights)),
            (figure(calibration_error_of, real, fake), _reference_calibration_error(real, fake)),
        ):
            assert found.value == pytest.approx(expected)
            assert 0 <= found.low <= found.high <= 1
            assert found.n == len(real) + len(fake)

    def test_more_fakes_of_the_same_kind_move_nothing(self):
        rng = np.random.default_rng(0)
        real, fake = rng.random(100), rng.random(80) ** 0.5
        for statistic in (average_precision_of, brier_of, calibration_error_of):
            expected = figure(statistic, real, fake).value
            assert figure(statistic, real, np.tile(fake, 5)).value == pytest.approx(expected)

    def test_good_scores_are_better_than_chance_and_chance_is_chance(self):
        rng = np.random.default_rng(0)
        real, fake, nothing = rng.random(2000) * 0.5, 0.5 + rng.random(2000) * 0.5, rng.random(2000)
        assert figure(average_precision_of, real, fake).value == figure(tpr_at(0.01), real, fake).value == 1
        assert figure(average_precision_of, nothing, rng.random(2000)).value == pytest.approx(0.5, abs=0.03)
        assert figure(tpr_at(0.05), nothing, rng.random(2000)).value == pytest.approx(0.05, abs=0.02)
        halves = np.full(2000, 0.5)
        assert figure(brier_of, halves, halves).value == 0.25
        assert figure(calibration_error_of, halves, halves).value == pytest.approx(0)

    @pytest.mark.parametrize("statistic", [average_precision_of, brier_of, calibration_error_of])
    def test_intervals_follow_from_the_seed_and_hold_the_value(self, statistic):
        rng = np.random.default_rng(0)
        real, fake = rng.random(60), rng.random(60) ** 0.5
        found = figure(statistic, real, fake)
        assert found == figure(statistic, real, fake)
        assert found != figure(statistic, real, fake, seed=1)
        assert found.low < found.value + 0.05
        assert found.high > found.value - 0.05

    def test_of_a_single_image_nothing_is_known(self):
        found = figure(brier_of, np.array([0.5]), np.array([0.25, 0.75]))
        assert (found.low, found.high, found.n) == (0.0, 1.0, 3)


class TestRate:
    @given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
    def test_is_wilsons_interval_in_closed_form(self, counts):
        hits, n = counts
        found, share, z = rate(hits, n), hits / n, 1.959963984540054
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        assert (found.value, found.n) == (share, n)
        assert found.low == pytest.approx(max(0.0, centre - half), abs=1e-9)
        assert found.high == pytest.approx(min(1.0, centre + half), abs=1e-9)
        assert found.low <= found.value + 1e-12
        assert found.value - 1e-12 <= found.high

    def test_becomes_plain_json(self):
        assert rate(1, 2).to_dict() == {"value": 0.5, "low": rate(1, 2).low, "high": rate(1, 2).high, "n": 2}


class TestMeanGeneratorAuc:
    def test_is_the_mean_of_each_generator_against_all_photographs(self):
        rng = np.random.default_rng(0)
        scores = rng.normal(size=60)
        labels = np.r_[np.zeros(20, int), np.ones(40, int)]
        generators = np.array(["camera"] * 20 + ["a"] * 5 + ["b"] * 35)
        of_each = [_reference_auc(scores[:20], scores[generators == name]) for name in ("a", "b")]
        assert mean_generator_auc(scores, labels, generators) == pytest.approx(np.mean(of_each))

    def test_weighs_small_generators_as_much_as_large_ones(self):
        scores, labels = np.r_[np.zeros(4), np.ones(1), np.full(9, -1.0)], np.r_[np.zeros(4, int), np.ones(10, int)]
        generators = np.array(["camera"] * 4 + ["good"] + ["bad"] * 9)
        assert mean_generator_auc(scores, labels, generators) == 0.5


class TestEvaluate:
    LABELS = np.r_[np.zeros(12, int), np.ones(12, int)]
    GENERATORS = np.array(["phone"] * 6 + ["scan"] * 6 + ["easy"] * 4 + ["hard"] * 4 + ["middling"] * 4)
    PROB = np.r_[
        np.full(5, 0.1), 0.9, np.full(3, 0.2), 0.6, 0.9, 0.95,
        np.full(4, 0.99), np.full(4, 0.05), 0.5, 0.6, 0.85, 0.9,
    ]  # fmt: skip
    DECISION = DecisionConfig(threshold=0.8, real_below=0.3)

    @pytest.fixture(scope="class")
    @classmethod
    def table(cls):
        return msgspec.to_builtins(evaluate(cls.PROB, cls.LABELS, cls.GENERATORS, cls.DECISION))

    def test_generators_come_worst_first(self, table):
        assert [row["generator"] for row in table["per_generator"]] == ["hard", "middling", "easy"]
        values = [row["auc"]["value"] for row in table["per_generator"]]
        assert values == sorted(values)

    def test_photo_sources_come_most_falsely_accused_first(self, table):
        assert [row["source"] for row in table["per_photo_source"]] == ["scan", "phone"]
        assert [row["false_positive_rate"]["value"] for row in table["per_photo_source"]] == [2 / 6, 1 / 6]

    def test_rates_are_counted_at_the_thresholds(self, table):
        assert (table["n_real"], table["n_fake"]) == (12, 12)
        assert table["false_positive_rate"] == rate(3, 12).to_dict()
        assert table["called_ai"] == rate(6, 12).to_dict()
        assert table["uncertain"] == rate(3, 24).to_dict()
        middling = table["per_generator"][1]
        assert middling["called_ai"] == rate(2, 4).to_dict()
        assert middling["called_real"] == rate(0, 4).to_dict()
        assert table["per_photo_source"][1]["called_real"] == rate(5, 6).to_dict()

    def test_a_score_right_at_a_threshold_is_ai_and_right_at_the_floor_is_not_real(self):
        prob = np.array([0.3, 0.1, 0.8, 0.3])
        table = msgspec.to_builtins(
            evaluate(prob, np.array([0, 0, 1, 1]), np.array(["r", "r", "g", "g"]), self.DECISION)
        )
        assert table["called_ai"]["value"] == 0.5
        assert table["uncertain"]["value"] == 0.5
        assert table["per_photo_source"][0]["called_real"]["value"] == 0.5

    def test_auc_is_pooled_and_a_mean_over_generators(self, table):
        assert table["auc"]["value"] == pytest.approx(_reference_auc(self.PROB[:12], self.PROB[12:]))
        assert table["mean_generator_auc"] == pytest.approx(
            np.mean([row["auc"]["value"] for row in table["per_generator"]])
        )

    def test_unnamed_generators_are_a_group_of_their_own(self):
        generators = np.where(self.GENERATORS == "easy", "", self.GENERATORS)
        table = msgspec.to_builtins(evaluate(self.PROB, self.LABELS, generators, self.DECISION))
        assert [row["generator"] for row in table["per_generator"]] == ["hard", "middling", ""]
