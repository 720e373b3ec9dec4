import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from cinemae.errors import ConfigError, EvaluationError
from cinemae.statistics.metrics import figure, rate
from cinemae.statistics.plot_style import save_figure
from cinemae.statistics.reliability import plot_reliability, reliability_bins
from cinemae.statistics.resampling import calibration_error_of
from cinemae.statistics.risk_coverage import plot_risk_coverage, risk_coverage


def draw_probabilities(seed, n_real, n_fake):
    """Probabilities that hold where both classes are equally likely."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [n_real, n_fake])
    logits = rng.normal(2 * labels - 1, np.sqrt(2))  # the log ratio of the two densities is the logit itself
    return 1 / (1 + np.exp(-logits)), labels


class TestReliability:
    def test_plain_bins_are_those_of_scikit_learn_with_wilson_intervals(self):
        prob, labels = draw_probabilities(0, 150, 90)
        table = reliability_bins(prob, labels, bins=7, balanced=False)
        share, mean = calibration_curve(labels, prob, n_bins=7)
        filled = [row for row in table.bins if row.n]
        np.testing.assert_allclose([row.share_of_fakes.value for row in filled], share)
        np.testing.assert_allclose([row.mean_prob for row in filled], mean)
        for row in filled:
            inside = labels[(prob >= row.low) & (prob < row.high)]
            expected = rate(int(inside.sum()), len(inside))
            assert row.share_of_fakes.to_dict() == pytest.approx(expected.to_dict())
            assert row.weight == pytest.approx(len(inside) / 240)

    def test_the_balanced_error_is_that_of_the_metrics(self):
        prob, labels = draw_probabilities(1, 300, 40)
        table = reliability_bins(prob, labels)
        expected = figure(calibration_error_of, prob[labels == 0], prob[labels == 1]).value
        assert table.calibration_error == pytest.approx(expected)
        assert sum(row.weight for row in table.bins) == pytest.approx(1)

    def test_balanced_shares_do_not_move_with_the_class_shares(self):
        prob, labels = draw_probabilities(2, 30_000, 3_000)
        table = reliability_bins(prob, labels)
        assert table.calibration_error < 0.02
        assert reliability_bins(prob, labels, balanced=False).calibration_error > 0.2
        inside = [row.share_of_fakes for row in table.bins]
        held = [share.low <= row.mean_prob <= share.high for share, row in zip(inside, table.bins, strict=True)]
        assert sum(held) >= 8

    def test_a_balanced_share_by_hand(self):
        # One of 2 photographs and all 6 fakes lie in the bin: half against the whole.
        table = reliability_bins(np.array([0.1, 0.9] + [0.9] * 6), np.array([0, 0] + [1] * 6), bins=2)
        low, high = table.bins
        assert high.share_of_fakes.value == pytest.approx(1 / 1.5)
        assert (low.weight, high.weight) == pytest.approx((0.25, 0.75))
        assert (low.n, high.n) == (1, 7)
        plain = rate(6, 7)  # odds of fakes shrink by 6 / 2
        assert high.share_of_fakes.low == pytest.approx(1 / (1 + 3 * (1 - plain.low) / plain.low))
        assert high.share_of_fakes.high == pytest.approx(1 / (1 + 3 * (1 - plain.high) / plain.high))

    def test_empty_bins_say_so_and_1_belongs_to_the_last(self):
        table = reliability_bins(np.array([0.0, 1.0]), np.array([0, 1]), bins=3)
        first, middle, last = table.bins
        assert (first.n, last.n) == (1, 1)
        assert (middle.n, middle.mean_prob, middle.share_of_fakes) == (0, None, None)
        assert json.loads(msgspec.json.encode(table))["bins"][1]["share_of_fakes"] is None

    @pytest.mark.parametrize(
        ("prob", "labels", "sentence"),
        [
            ([0.1, 1.2], [0, 1], "needs probabilities from 0 to 1, got 0.1 to 1.2"),
            ([-0.1, 0.2], [0, 1], "needs probabilities from 0 to 1, got -0.1 to 0.2"),
            ([0.1, np.nan], [0, 1], "probabilities must be finite numbers, 1 of 2 are not"),
            ([0.1, 0.2], [0, 0], "both needed, got 2 and 0"),
            ([0.1, 0.2], [0, 1, 1], r"got labels of shape \(3,\) for 2 images"),
        ],
    )
    def test_refuses_what_is_no_probability_or_one_class(self, prob, labels, sentence):
        with pytest.raises(EvaluationError, match=sentence):
            reliability_bins(np.array(prob), np.array(labels))

    def test_no_bin_is_refused(self):
        with pytest.raises(ConfigError, match="at least 1 bin, got 0"):
            reliability_bins(np.array([0.1, 0.2]), np.array([0, 1]), bins=0)

    def test_the_plot_shows_every_filled_bin(self, tmp_path, inked):
        prob, labels = draw_probabilities(0, 30, 30)
        table = reliability_bins(prob, labels, bins=40)
        figure = plot_reliability(table, "cinemae")
        filled = [row for row in table.bins if row.n]
        assert len(filled) < 40
        points = figure.axes[0].lines[1]
        np.testing.assert_allclose(points.get_xdata(), [row.mean_prob for row in filled])
        np.testing.assert_allclose(points.get_ydata(), [row.share_of_fakes.value for row in filled])
        assert [bar.get_height() for bar in figure.axes[1].patches] == [row.n for row in table.bins]
        assert "above the line: more generated images than stated" in figure.axes[0].get_title()
        save_figure(figure, tmp_path / "reliability.png")
        assert inked(tmp_path / "reliability.png") > 0.05


def _reference_curve(scores, labels, threshold, centre):
    """Coverage and error for every smallest confidence that is still answered."""
    wrong = [(score >= threshold) != (label == 1) for score, label in zip(scores, labels, strict=True)]
    confidence = [abs(score - centre) for score in scores]
    points = []
    for least in sorted(set(confidence), reverse=True):
        answered = [w for w, c in zip(wrong, confidence, strict=True) if c >= least]
        points.append((len(answered) / len(scores), sum(answered) / len(answered)))
    return points


def _shuffled_area(scores, labels, rng):
    """The area of one random order of the images of equal confidence."""
    order = np.lexsort((rng.random(len(scores)), -np.abs(scores - 0.5)))
    wrong = ((scores >= 0.5) != labels)[order]
    return np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1))


class TestRiskCoverage:
    @given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1)), min_size=2, max_size=25), st.sampled_from([2, 4]))
    @settings(max_examples=25, deadline=None)
    def test_the_curve_is_that_of_every_cut_and_coverage_the_largest_within_the_error(self, images, centre):
        images = [*images, (3, 0), (5, 1)]
        scores, labels = (np.array(column) for column in zip(*images, strict=True))
        levels = (0.0, 0.2, 0.5)
        found = risk_coverage(scores, labels, threshold=4, centre=centre, levels=levels)
        expected = _reference_curve(scores, labels, 4, centre)
        np.testing.assert_allclose(found.coverage, [point[0] for point in expected])
        np.testing.assert_allclose(found.error, [point[1] for point in expected])
        for level in levels:
            largest = max([coverage for coverage, error in expected if error <= level], default=0.0)
            assert found.coverage_at[level].value == pytest.approx(largest)

    def test_the_area_is_the_mean_error_over_all_coverages(self):
        prob, labels = draw_probabilities(3, 80, 120)
        found = risk_coverage(prob, labels)
        assert found.aurc.value == pytest.approx(_shuffled_area(prob, labels, np.random.default_rng(0)))
        assert found.aurc.value == pytest.approx(found.error.mean())

    def test_among_equal_confidences_the_area_is_the_mean_over_orders(self):
        prob, labels = draw_probabilities(3, 40, 40)
        prob = np.round(prob * 4) / 4
        rng = np.random.default_rng(0)
        areas = [_shuffled_area(prob, labels, rng) for _ in range(4000)]
        assert risk_coverage(prob, labels).aurc.value == pytest.approx(np.mean(areas), abs=0.002)

    def test_confidence_is_the_distance_to_the_threshold_or_to_a_half(self):
        prob, labels = np.array([0.1, 0.75, 0.55, 0.95]), np.array([0, 0, 1, 1])
        by_threshold, by_half = (
            risk_coverage(prob, labels, threshold=0.8),
            risk_coverage(prob, labels, threshold=0.8, centre=0.5),
        )
        # From 0.8: 0.1 right, 0.55 wrong, 0.95 right, 0.75 right; from 0.5: 0.95, 0.1, 0.75 right, 0.55 wrong.
        np.testing.assert_allclose(by_threshold.error, [0, 1 / 2, 1 / 3, 1 / 4])
        np.testing.assert_allclose(by_half.error, [0, 0, 0, 1 / 4])

    def test_a_level_that_is_met_exactly_is_met(self):
        scores = np.concatenate([np.full(99, 0.0), np.full(101, 1.0)])
        labels = np.concatenate([np.zeros(99, int), np.ones(99, int), [0, 0]])
        assert risk_coverage(scores, labels, levels=(0.01,)).coverage_at[0.01].value == 1.0

    def test_intervals_follow_from_the_seed_hold_the_figure_and_narrow(self):
        prob, labels = draw_probabilities(4, 100, 100)
        first, again, other = (risk_coverage(prob, labels, seed=seed) for seed in (0, 0, 1))
        assert first.to_dict() == again.to_dict() != other.to_dict()
        many = risk_coverage(*draw_probabilities(4, 4000, 4000))
        for few, wide in ((first.aurc, many.aurc), (first.coverage_at[0.05], many.coverage_at[0.05])):
            assert few.low <= few.value <= few.high
            assert wide.high - wide.low < 0.5 * (few.high - few.low)

    @pytest.mark.slow
    def test_the_interval_is_as_wide_as_the_spread_over_fresh_images(self):
        areas = [risk_coverage(*draw_probabilities(100 + draw, 200, 200), levels=()).aurc for draw in range(40)]
        spread = 2 * 1.96 * np.std([area.value for area in areas], ddof=1)
        assert np.mean([area.high - area.low for area in areas]) == pytest.approx(spread, rel=0.3)

    def test_of_a_single_image_of_a_class_nothing_is_known(self):
        found = risk_coverage(np.array([0.1, 0.2, 0.9]), np.array([0, 0, 1]))
        assert (found.aurc.value, found.aurc.low, found.aurc.high, found.aurc.n) == (0.0, 0.0, 1.0, 3)

    @pytest.mark.parametrize(
        ("scores", "labels", "sentence"),
        [
            ([0.1, np.nan], [0, 1], "the scores must be finite numbers, 1 of 2 are not"),
            ([0.1, 0.2], [1, 1], "both needed, got 0 and 2"),
            ([0.1, 0.2], [0], r"got labels of shape \(1,\) for 2 images"),
        ],
    )
    def test_broken_scores_and_one_class_are_refused(self, scores, labels, sentence):
        with pytest.raises(EvaluationError, match=sentence):
            risk_coverage(np.array(scores), np.array(labels))

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"threshold": float("nan")}, "threshold and centre must be finite numbers, got nan and nan"),
            ({"centre": float("inf")}, "threshold and centre must be finite numbers, got 0.5 and inf"),
            ({"levels": (0.1, 5)}, "a level of error lies from 0 to 1, got 5"),
        ],
    )
    def test_settings_out_of_range_are_refused(self, settings, sentence):
        with pytest.raises(ConfigError, match=sentence):
            risk_coverage(np.array([0.1, 0.9]), np.array([0, 1]), **settings)

    def test_to_dict_is_plain_json(self):
        found = risk_coverage(np.array([0.25, 1.0]), np.array([0, 1]))
        written = json.loads(json.dumps(found.to_dict()))
        assert (written["coverage"], written["error"]) == ([0.5, 1.0], [0.0, 0.0])
        assert written["aurc"] == found.aurc.to_dict()
        assert list(written["coverage_at"]) == ["0.01", "0.02", "0.05"]
        assert written["n"] == 2

    def test_the_plot_holds_each_curve_and_its_coverages(self, tmp_path, inked):
        curves = {
            "cinemae": risk_coverage(*draw_probabilities(5, 200, 200)),
            "other": risk_coverage(*draw_probabilities(6, 90, 200)),
        }
        figure = plot_risk_coverage(curves)
        axes = figure.axes[0]
        for position, curve in enumerate(curves.values()):
            line, dots = axes.lines[2 * position : 2 * position + 2]
            np.testing.assert_array_equal(line.get_xdata(), curve.coverage)
            np.testing.assert_array_equal(line.get_ydata(), curve.error)
            reached = [estimate.value for estimate in curve.coverage_at.values() if estimate.value > 0]
            assert list(dots.get_xdata()) == reached
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert [label.split(":")[0] for label in labels] == ["cinemae", "other"]
        assert labels[0].endswith("n = 400")
        assert "lower is better" in axes.get_title()
        save_figure(figure, tmp_path / "risk.png")
        assert inked(tmp_path / "risk.png") > 0.02

    def test_a_first_image_called_wrongly_does_not_squeeze_the_plot(self):
        prob, labels = draw_probabilities(5, 200, 200)
        curve = risk_coverage(np.append(prob, 1.0), np.append(labels, 0))
        assert curve.error[0] == 1.0
        assert plot_risk_coverage({"cinemae": curve}).axes[0].get_ylim()[1] < 0.4

    @pytest.mark.parametrize("count", [0, 8])
    def test_as_many_curves_as_colours_fit_one_plot(self, count):
        curve = risk_coverage(np.array([0.1, 0.9]), np.array([0, 1]))
        with pytest.raises(EvaluationError, match=f"one plot holds 1 to 7 curves, got {count}"):
            plot_risk_coverage({str(number): curve for number in range(count)})
