"""Every figure against scikit-learn or its definition, every interval against `scipy.stats.bootstrap`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from scipy.stats import bootstrap
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from cinemae.statistics import resampling
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.resampling import (
    RESAMPLES,
    accuracy_at,
    auc_apart,
    auc_of,
    average_precision_of,
    balanced_accuracy_at,
    brier_of,
    calibration_error_of,
    draws,
    estimate,
    estimate_groups,
    fake_accuracy_at,
    mean_draws,
    oracle_accuracy_of,
    point,
    real_accuracy_at,
    tpr_at,
)

STATISTICS = {
    "auc": auc_of,
    "average_precision": average_precision_of,
    "tpr_at_0.05": tpr_at(0.05),
    "tpr_at_0.4": tpr_at(0.4),
    "real_accuracy": real_accuracy_at(0.5),
    "fake_accuracy": fake_accuracy_at(0.5),
    "balanced_accuracy": balanced_accuracy_at(0.5),
    "accuracy": accuracy_at(0.5),
    "oracle": oracle_accuracy_of,
    "brier": brier_of,
    "calibration_error": calibration_error_of,
}
GRID = st_numpy.arrays(np.float64, st.integers(1, 25), elements=st.sampled_from(np.linspace(0, 1, 9)))


def _labels(real, fake):
    return np.array([0] * len(real) + [1] * len(fake)), np.concatenate([real, fake])


def _weights(real, fake):
    return [1 / len(real)] * len(real) + [1 / len(fake)] * len(fake)


def _reference_tpr(real, fake, max_fpr):
    fpr, tpr, _ = roc_curve(*_labels(real, fake), drop_intermediate=False)
    return tpr[fpr <= max_fpr].max()


def _reference_oracle(real, fake):
    thresholds = [*real, *fake, np.inf]
    return max((np.mean(real < t) + np.mean(fake >= t)) / 2 for t in thresholds)


def _reference_calibration_error(real, fake):
    error = 0.0
    for number in range(10):
        inside_real, inside_fake = ([p for p in scores if min(int(p * 10), 9) == number] for scores in (real, fake))
        of_real, of_fake = len(inside_real) / len(real), len(inside_fake) / len(fake)
        if weight := of_real + of_fake:
            confidence = (sum(inside_real) / len(real) + sum(inside_fake) / len(fake)) / weight
            error += weight / 2 * abs(confidence - of_fake / weight)
    return error


def _reference(name, real, fake):
    labels, scores = _labels(real, fake)
    called = scores >= 0.5
    return {
        "auc": lambda: roc_auc_score(labels, scores),
        "average_precision": lambda: average_precision_score(labels, scores, sample_weight=_weights(real, fake)),
        "tpr_at_0.05": lambda: _reference_tpr(real, fake, 0.05),
        "tpr_at_0.4": lambda: _reference_tpr(real, fake, 0.4),
        "real_accuracy": lambda: recall_score(labels, called, pos_label=0),
        "fake_accuracy": lambda: recall_score(labels, called),
        "balanced_accuracy": lambda: balanced_accuracy_score(labels, called),
        "accuracy": lambda: accuracy_score(labels, called),
        "oracle": lambda: _reference_oracle(real, fake),
        "brier": lambda: brier_score_loss(labels, scores, sample_weight=_weights(real, fake)),
        "calibration_error": lambda: _reference_calibration_error(real, fake),
    }[name]()


@pytest.fixture(scope="module")
def scores():
    """Few enough to be quick, with ties within and between the classes."""
    rng = np.random.default_rng(0)
    return rng.random(14).round(1), (rng.random(11) ** 0.5).round(1)


@pytest.mark.parametrize("name", STATISTICS)
class TestEachStatistic:
    @given(real=GRID, fake=GRID)
    @settings(max_examples=25, deadline=None)
    def test_equals_its_definition(self, name, real, fake):
        found = point(real, fake, {name: STATISTICS[name]})
        assert found[name] == pytest.approx(_reference(name, real, fake), abs=1e-12)

    @pytest.mark.slow
    def test_has_the_interval_of_scipy(self, name, scores):
        expected = bootstrap(
            scores,
            lambda real, fake: _reference(name, real, fake),
            vectorized=False,
            method="percentile",
            n_resamples=RESAMPLES,
            batch=100,
            rng=np.random.default_rng(7),
        )
        found = estimate(*scores, {name: STATISTICS[name]}, seed=7)[name]
        assert found.low == pytest.approx(expected.confidence_interval.low, abs=1e-12)
        assert found.high == pytest.approx(expected.confidence_interval.high, abs=1e-12)
        drawn = draws(*scores, {name: STATISTICS[name]}, seed=7)[name]
        np.testing.assert_allclose(drawn, expected.bootstrap_distribution, rtol=0, atol=1e-12)
        assert found.n == 25


def test_figures_by_hand():
    real, fake = np.array([0.1, 0.4, 0.6]), np.array([0.4, 0.9])
    found = point(real, fake, STATISTICS)
    assert found["auc"] == pytest.approx((1.5 + 3) / 6)
    assert found["real_accuracy"] == pytest.approx(2 / 3)
    assert found["fake_accuracy"] == 0.5
    assert found["balanced_accuracy"] == pytest.approx(7 / 12)
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["oracle"] == pytest.approx((1 + 0.5) / 2)
    assert found["tpr_at_0.05"] == 0.5
    assert found["tpr_at_0.4"] == 0.5
    assert found["brier"] == pytest.approx(((0.01 + 0.16 + 0.36) / 3 + (0.36 + 0.01) / 2) / 2)


def test_a_share_of_photographs_that_is_just_allowed_is_allowed():
    real, fake = np.arange(20.0), np.array([19.0])
    assert point(real, fake, {"tpr": tpr_at(0.05)})["tpr"] == 1.0
    assert point(real, fake, {"tpr": tpr_at(0.049)})["tpr"] == 0.0


def test_the_threshold_itself_is_called_generated():
    both = np.array([0.3]), np.array([0.3])
    assert point(*both, {"real": real_accuracy_at(0.3), "fake": fake_accuracy_at(0.3)}) == {"real": 0.0, "fake": 1.0}


def test_the_best_threshold_of_scores_turned_around_calls_all_the_same():
    assert point(np.array([2.0, 3.0]), np.array([0.0, 1.0]), {"oracle": oracle_accuracy_of})["oracle"] == 0.5


def test_scores_of_any_scale_and_type():
    real, fake = np.array([-1e300, 3], np.float64), np.array([5, 7], np.int64)
    assert estimate(real, fake, {"auc": auc_of})["auc"] == Estimate(1.0, 1.0, 1.0, 4)
    narrow = np.array([0.1, 0.2], np.float32)
    assert point(narrow, narrow, {"auc": auc_of})["auc"] == 0.5


@pytest.mark.parametrize(("real", "fake"), [([0.5], [0.2, 0.7]), ([0.1, 0.3], [0.9]), ([0.1], [0.9])])
def test_a_single_image_of_a_class_tells_nothing(real, fake):
    real, fake = np.array(real), np.array(fake)
    found = estimate(real, fake, {"auc": auc_of})["auc"]
    assert (found.low, found.high, found.n) == (0.0, 1.0, len(real) + len(fake))
    assert found.value == roc_auc_score(*_labels(real, fake))
    mean = _mean([(real, fake), (real, np.array([0.1, 0.2, 0.3]))], {"auc": auc_of})["auc"]
    assert (mean.low, mean.high, mean.n) == (0.0, 1.0, len(real) + len(fake) + 3)


def test_the_seed_decides(scores):
    one, again, other = (estimate(*scores, STATISTICS, seed=seed) for seed in (3, 3, 4))
    assert one == again
    assert one["brier"] != other["brier"]
    assert one["brier"].value == other["brier"].value


def test_an_estimate_as_json():
    assert Estimate(0.5, 0.25, 0.75, 9).to_dict() == {"value": 0.5, "low": 0.25, "high": 0.75, "n": 9}


@pytest.mark.slow
def test_draws_of_two_detectors_are_paired(scores):
    """The resamples are those of a brute-force bootstrap that takes the same images for both."""
    rng = np.random.default_rng(1)
    others = tuple(of + rng.normal(0, 0.1, len(of)) for of in scores)
    found = [draws(*both, {"auc": auc_of}, seed=5)["auc"] for both in (scores, others)]
    rng = np.random.default_rng(5)
    expected = []
    for _ in range(RESAMPLES // 100):
        of_real, of_fake = (rng.integers(0, len(of), (100, len(of))) for of in scores)
        for i, j in zip(of_real, of_fake, strict=True):
            expected.append([roc_auc_score(*_labels(both[0][i], both[1][j])) for both in (scores, others)])
    np.testing.assert_allclose(np.transpose(found), expected, rtol=0, atol=1e-12)
    assert np.std(found[0] - found[1]) < np.std(found[0])


def test_a_large_table_is_held_in_blocks_with_the_same_result(scores, monkeypatch: pytest.MonkeyPatch):
    groups = [(scores[0], scores[1]), (scores[0], scores[1][:5])]
    whole, mean = draws(*scores, STATISTICS, seed=2), mean_draws(groups, {"brier": brier_of}, seed=2)["brier"]
    heights = []

    def watched(tally):
        heights.append(tally.real.counts.shape[1])
        return auc_of(tally)

    monkeypatch.setattr(resampling, "_MOST_KEPT", 0)
    for most, height in ((7 * max(map(len, scores)), 7), (1, 1)):
        monkeypatch.setattr(resampling, "_MOST_CELLS", most)
        heights.clear()
        found = draws(*scores, {**STATISTICS, "auc": watched}, seed=2)
        assert max(heights) == height
        assert sum(heights) == RESAMPLES
        found_mean = mean_draws(groups, {"brier": brier_of}, seed=2)["brier"]
        np.testing.assert_allclose(found_mean, mean, rtol=0, atol=1e-12)
        for name, values in whole.items():
            np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-12)


def _mean(groups, statistics, *, seed=0):
    return estimate_groups(groups, statistics, seed=seed)[1]


class TestEstimateMean:
    def test_is_the_mean_of_the_groups(self, scores):
        groups = [scores, (scores[0], scores[1] - 0.3), (np.array([0.2, 0.9, 0.4]), np.array([0.3, 0.8]))]
        found = _mean(groups, STATISTICS)
        for name, estimated in found.items():
            expected = np.mean([point(*group, {name: STATISTICS[name]})[name] for group in groups])
            assert estimated.value == pytest.approx(expected)
            assert estimated.low - 0.05 <= estimated.value <= estimated.high + 0.05

    def test_photographs_held_in_common_are_resampled_in_common(self, scores):
        """What depends on the photographs alone varies over two generators exactly as over one."""
        photographs = {"real_accuracy": real_accuracy_at(0.5)}
        one = _mean([scores], photographs)["real_accuracy"]
        two = _mean([scores, (scores[0], scores[1][:4])], photographs)["real_accuracy"]
        assert (two.value, two.low, two.high) == (one.value, one.low, one.high)
        assert one.low < one.high

    def test_fakes_of_each_generator_are_resampled_apart(self, scores):
        fakes = {"fake_accuracy": fake_accuracy_at(0.5)}
        one, two = (mean_draws([scores] * count, fakes)["fake_accuracy"] for count in (1, 2))
        assert np.std(two) == pytest.approx(np.std(one) / np.sqrt(2), rel=0.1)

    def test_counts_photographs_held_in_common_once(self, scores):
        real, fake = scores
        assert _mean([(real, fake), (real, fake[:4])], {"auc": auc_of})["auc"].n == 14 + 11 + 4
        assert _mean([(real, fake), (real[:6], fake[:4])], {"auc": auc_of})["auc"].n == 14 + 11 + 6 + 4

    @pytest.mark.slow
    def test_equals_a_brute_force_bootstrap(self, scores):
        groups = [scores, (scores[0], scores[1][:6] + 0.05)]
        total = np.zeros(RESAMPLES)
        for number, (real, fake) in enumerate(groups):
            of_real, of_fake = np.random.default_rng([3, 0]), np.random.default_rng([3, 1 + number])
            i, j = (
                np.concatenate([rng.integers(0, len(of), (100, len(of))) for _ in range(RESAMPLES // 100)])
                for rng, of in ((of_real, real), (of_fake, fake))
            )
            total += [roc_auc_score(*_labels(real[a], fake[b])) for a, b in zip(i, j, strict=True)]
        found = _mean(groups, {"auc": auc_of}, seed=3)["auc"]
        np.testing.assert_allclose([found.low, found.high], np.percentile(total / 2, (2.5, 97.5)), rtol=0, atol=1e-12)


def test_the_difference_is_paired():
    """Two scores that agree but for a hair differ by little, with certainty; drawn apart they would not."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    first = rng.normal(size=200) + labels
    second = first + 0.01 * rng.normal(size=200)
    found, drawn = auc_apart(first, second, labels)
    assert found.value == pytest.approx(roc_auc_score(labels, first) - roc_auc_score(labels, second))
    assert found.low <= found.value <= found.high
    assert found.high - found.low < 0.01
    assert found.n == 200
    assert (found.low, found.high) == tuple(np.percentile(drawn, (2.5, 97.5)))
