import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from cinemae.errors import ConfigError, EvaluationError
from cinemae.evaluation.analyses.distributions import plot_distributions, score_distributions
from cinemae.evaluation.analyses.transfer import best_threshold, mean_of_rates, plot_transfer, transfer_matrix
from cinemae.statistics.metrics import figure, rate
from cinemae.statistics.plot_style import save_figure
from cinemae.statistics.resampling import balanced_accuracy_at
from cinemae.statistics.scored_set import ScoredSet

SCORES = st.lists(st.sampled_from(np.linspace(-1, 1, 9).tolist()), min_size=1, max_size=15)


def draw_set(seed, shifts, count=40):
    """Photographs about 0, and as many images of each generator about its shift."""
    rng = np.random.default_rng(seed)
    scores = [rng.normal(size=2 * count), *(rng.normal(shift, size=count) for shift in shifts.values())]
    labels = np.repeat([0, 1], [2 * count, count * len(shifts)])
    names = np.repeat(["camera", *shifts], [2 * count, *[count] * len(shifts)])
    return ScoredSet(np.concatenate(scores), labels, names)


def _accuracy(threshold, real, fake):
    return (np.mean(np.array(real) < threshold) + np.mean(np.array(fake) >= threshold)) / 2


class TestBestThreshold:
    @given(SCORES, SCORES)
    @settings(max_examples=200, deadline=None)
    def test_no_other_threshold_is_better_and_none_higher_as_good(self, real, fake):
        found = best_threshold(np.array(real), np.array(fake))
        best = _accuracy(found, real, fake)
        scores = sorted({*real, *fake})
        for other in [*scores, *(np.array(scores) + 1e-3), 9.0]:
            assert _accuracy(other, real, fake) <= best + 1e-12
            called = [score >= other for score in scores]
            if other > found and called != [score >= found for score in scores]:
                assert _accuracy(other, real, fake) < best - 1e-12

    @pytest.mark.parametrize(
        ("real", "fake", "expected"),
        [
            ([0.0, 1.0], [2.0, 5.0], 1.5),  # midway between the neighbours
            ([0.0, 2.0, 2.0], [1.0, 3.0, 3.0], 2.5),
            ([0.0, 2.0], [1.0, 3.0], 2.5),  # 0.5 and 2.5 are as good: the higher
            ([1.0, 1.0], [1.0], np.nextafter(1.0, 2.0)),  # nothing tells them apart: none is called generated
            ([3.0, 4.0], [1.0, 2.0], np.nextafter(4.0, 5.0)),  # turned around
        ],
    )
    def test_by_hand(self, real, fake, expected):
        assert best_threshold(np.array(real), np.array(fake)) == expected

    def test_between_two_numbers_that_have_none_between_the_higher_is_taken(self):
        above = np.nextafter(1.0, 2.0)
        assert best_threshold(np.array([1.0]), np.array([above])) == above

    def test_scores_near_the_largest_number_do_not_overflow(self):
        assert best_threshold(np.array([1.2e308]), np.array([1.6e308])) == pytest.approx(1.4e308)

    @pytest.mark.parametrize(
        ("real", "fake", "sentence"),
        [
            ([], [1.0], r"scores of photographs must be .* got shape \(0,\)"),
            ([1.0], [], r"scores of generated images must be .* got shape \(0,\)"),
            ([1.0, np.nan], [1.0], "scores of photographs must be finite numbers, 1 of 2 are not"),
        ],
    )
    def test_an_empty_class_and_nan_are_refused(self, real, fake, sentence):
        with pytest.raises(EvaluationError, match=sentence):
            best_threshold(np.array(real), np.array(fake))


class TestMeanOfRates:
    def test_is_about_as_wide_as_the_bootstrap(self):
        rng = np.random.default_rng(0)
        real, fake = rng.random(400) < 0.2, rng.random(300) < 0.7
        found = mean_of_rates(rate(int((~real).sum()), 400), rate(int(fake.sum()), 300))
        expected = figure(balanced_accuracy_at(1), real.astype(int), fake.astype(int))
        assert found.value == pytest.approx(expected.value)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.008)
        assert found.n == 700

    def test_equals_the_rule_written_out(self):
        first, second = rate(45, 50), rate(10, 40)
        found = mean_of_rates(first, second)
        # Wilson: (0.7864, 0.9565) and (0.1419, 0.4019)
        assert found.low == pytest.approx(0.575 - 0.5 * np.hypot(0.9 - 0.7864, 0.25 - 0.1419), abs=1e-4)
        assert found.high == pytest.approx(0.575 + 0.5 * np.hypot(0.9565 - 0.9, 0.4019 - 0.25), abs=1e-4)

    def test_holds_the_truth_in_about_95_of_100_draws_near_certainty(self):
        rng = np.random.default_rng(0)
        held = 0
        for right, found in zip(rng.binomial(60, 0.98, 500), rng.binomial(60, 0.9, 500), strict=True):
            estimate = mean_of_rates(rate(int(right), 60), rate(int(found), 60))
            held += estimate.low <= 0.94 <= estimate.high
        assert 0.92 <= held / 500 <= 0.985


@pytest.fixture(scope="module")
def sides():
    shifts = {"far": 4.0, "near": 1.0, "turned": -3.0}
    return draw_set(0, shifts), draw_set(1, {"far": 4.0, "near": 1.0, "other": 2.0, "turned": -3.0}, count=30)


class TestTransferMatrix:
    def test_every_cell_judges_by_the_threshold_of_its_row(self, sides):
        train, test = sides
        matrix = transfer_matrix(train, test)
        assert (matrix.trained_on, matrix.tested_on) == (("far", "near", "turned"), ("far", "near", "other", "turned"))
        for row, name in enumerate(matrix.trained_on):
            threshold = best_threshold(train.real, train.of(name))
            assert matrix.thresholds[row] == threshold
            for column, other in enumerate(matrix.tested_on):
                chosen = (test.labels == 0) | (test.generators == other)
                called = test.scores[chosen] >= threshold
                cell = matrix.cells[row][column]
                assert matrix.values[row, column] == cell.balanced_accuracy.value
                assert cell.balanced_accuracy.value == pytest.approx(
                    balanced_accuracy_score(test.labels[chosen], called)
                )
                assert cell.fakes_found == rate(int((test.of(other) >= threshold).sum()), 30)
                assert cell.photographs_right == rate(int((test.real < threshold).sum()), 60)
                assert cell.balanced_accuracy.n == 90

    def test_a_threshold_far_off_does_not_carry_over(self, sides):
        matrix = transfer_matrix(*sides)
        assert matrix.values[0, 0] > 0.95
        assert matrix.values[0, 1] < 0.75
        assert matrix.worst == np.unravel_index(matrix.values.argmin(), matrix.values.shape)

    def test_to_dict_is_plain_json_with_one_row_a_cell(self, sides):
        matrix = transfer_matrix(*sides)
        written = json.loads(json.dumps(matrix.to_dict()))
        assert len(written["cells"]) == 12
        assert written["cells"][5] == {
            "trained_on": "near",
            "tested_on": "near",
            "threshold": matrix.thresholds[1],
            "balanced_accuracy": matrix.cells[1][1].balanced_accuracy.to_dict(),
            "photographs_right": matrix.cells[1][1].photographs_right.to_dict(),
            "fakes_found": matrix.cells[1][1].fakes_found.to_dict(),
        }

    def test_the_plot_frames_the_worst_and_colours_what_is_below_chance(self, sides, tmp_path, inked):
        train, _ = sides
        matrix = transfer_matrix(train, draw_set(2, {"far": 4.0, "turned": -3.0}))
        figure = plot_transfer(matrix, "NLL")
        axes = figure.axes[0]
        found = [float(text.get_text().split("\n")[0]) for text in axes.texts]
        np.testing.assert_allclose(found, 100 * matrix.values.ravel(), atol=0.051)
        frame = axes.patches[0]
        assert (frame.get_y() + 0.5, frame.get_x() + 0.5) == matrix.worst
        colours = axes.images[0].to_rgba(axes.images[0].get_array())
        below = colours[matrix.values < 0.5]
        assert len(below) > 0
        np.testing.assert_allclose(below[:, :3], np.tile([0xF6, 0xC9, 0xA4], (len(below), 1)) / 255)
        assert "NLL threshold" in figure.get_suptitle()
        assert "higher is better" in figure.get_suptitle()
        save_figure(figure, tmp_path / "transfer.png")
        assert inked(tmp_path / "transfer.png") > 0.2


class TestDistributions:
    def test_counts_quartiles_and_areas_are_those_of_numpy_and_scikit_learn(self, sides):
        data = sides[0]
        table = score_distributions(data, bins=12)
        edges = np.array(table.edges)
        np.testing.assert_allclose(np.diff(edges), np.diff(edges)[0])
        assert (edges[0], edges[-1]) == pytest.approx(tuple(np.quantile(data.scores, (0.005, 0.995))))
        assert [group.name for group in table.generators] == ["far", "near", "turned"]
        for group in [table.photographs, *table.generators]:
            scores = data.real if group.name == "photographs" else data.of(group.name)
            inner, _ = np.histogram(scores, np.r_[-np.inf, edges[1:-1], np.inf])
            assert group.counts == tuple(inner.tolist())
            assert sum(group.counts) == group.n == len(scores)
            assert (group.lower_quartile, group.median, group.upper_quartile) == pytest.approx(
                np.percentile(scores, (25, 50, 75))
            )
        for group in table.generators:
            chosen = (data.labels == 0) | (data.generators == group.name)
            assert group.auc.value == pytest.approx(roc_auc_score(data.labels[chosen], -data.scores[chosen]))
        assert json.loads(msgspec.json.encode(table))["generators"][0]["counts"] == list(table.generators[0].counts)

    def test_the_area_is_above_half_where_photographs_are_harder_to_predict(self, sides):
        by_name = {group.name: group.auc.value for group in score_distributions(sides[0]).generators}
        assert by_name["turned"] > 0.95
        assert by_name["far"] < 0.05

    def test_overlap_of_two_normals_is_that_of_their_densities(self):
        rng = np.random.default_rng(0)
        scores = np.concatenate([rng.normal(1, 1, 40_000), rng.normal(0, 1, 40_000)])
        data = ScoredSet(scores, np.repeat([0, 1], 40_000), np.repeat(["camera", "gan"], 40_000))
        # Two normals one deviation apart overlap by 2 * Phi(-1/2).
        assert score_distributions(data).generators[0].overlap == pytest.approx(0.6171, abs=0.015)

    def test_overlap_is_1_for_the_same_and_0_for_disjoint_values(self):
        labels, names = np.array([0, 0, 1, 1, 1, 1]), np.array(["c", "c", "same", "same", "other", "other"])
        table = score_distributions(ScoredSet(np.array([3.0, 4.0, 3.0, 4.0, 1.0, 2.0]), labels, names))
        assert [(group.name, group.overlap) for group in table.generators] == [("other", 0.0), ("same", 1.0)]

    def test_values_all_alike_have_a_histogram_too(self):
        data = ScoredSet(np.full(4, 2.0), np.array([0, 0, 1, 1]), np.array(["c", "c", "g", "g"]))
        group = score_distributions(data, bins=3).generators[0]
        assert (group.counts, group.auc.value, group.overlap) == ((0, 2, 0), 0.5, 1.0)

    def test_no_bin_is_refused(self, sides):
        with pytest.raises(ConfigError, match="at least 1 bin, got 0"):
            score_distributions(sides[0], bins=0)

    @pytest.mark.parametrize("count", [1, 2, 4, 9])
    def test_the_plot_has_a_panel_for_each_generator(self, tmp_path, count, inked):
        data = draw_set(0, {f"gen{number}": -number / 4 for number in range(count)})
        table = score_distributions(data)
        figure = plot_distributions(table, "LCAS")
        drawn = [axes for axes in figure.axes if axes.axison]
        assert [axes.get_title().split(" (")[0] for axes in drawn] == [f"gen{number}" for number in range(count)]
        assert "harder to predict from context" in figure.get_suptitle()
        for axes, group in zip(drawn, table.generators, strict=True):
            photographs, generator = (patch.get_data().values for patch in axes.patches)
            np.testing.assert_allclose(photographs, np.array(table.photographs.counts) / 80)
            np.testing.assert_allclose(generator, np.array(group.counts) / 40)
            assert axes.lines[1].get_xdata()[0] == group.median
        save_figure(figure, tmp_path / "lcas.png")
        assert inked(tmp_path / "lcas.png") > 0.05
