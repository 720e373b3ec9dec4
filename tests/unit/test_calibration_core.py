"""From logit to probability and from distance to a share, against scipy and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import make_interp_spline
from scipy.special import expit

from cinemae.config import DecisionConfig, OodReference
from cinemae.core.calibration import calibrate, is_out_of_distribution, log_odds, ood_score

LINE = DecisionConfig(platt_scale=2.0, platt_offset=1.0)
BENT = DecisionConfig(
    platt_scale=0.5, calibration="isotonic", knot_logits=(-1.0, 0.0, 2.0), knot_log_odds=(-3.0, -1.0, 0.0)
)
QUANTILES = OodReference(levels=(0.0, 0.5, 0.9, 1.0), values=(4.0, 6.0, 7.0, 10.0), limit=0.95)


def test_platt_is_the_logistic_function_without_overflow():
    logits = np.array([-1e4, -2.0, 0.0, 3.0, 1e4], np.float32)
    expected = [0.0, 1 / (1 + np.exp(3.0)), 1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(-7.0)), 1.0]
    np.testing.assert_allclose(calibrate(logits, LINE), expected, rtol=1e-12)


def test_probabilities_near_nothing_stay_apart():
    low = calibrate(np.array([-300.0, -299.0]), LINE)
    np.testing.assert_allclose(low, expit([-599.0, -597.0]), rtol=1e-12)
    assert low[0] < low[1]


def test_the_bent_curve_interpolates_between_its_knots():
    inside = np.linspace(-1, 2, 50)
    expected = make_interp_spline(BENT.knot_logits, BENT.knot_log_odds, k=1)(inside)
    np.testing.assert_allclose(log_odds(inside, BENT), expected, atol=1e-12)
    np.testing.assert_allclose(calibrate(inside, BENT), expit(expected), rtol=1e-12)


def test_beyond_its_knots_it_goes_on_with_platts_slope():
    np.testing.assert_allclose(log_odds(np.array([-5.0, 6.0]), BENT), [-3 - 0.5 * 4, 0 + 0.5 * 4])


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=20, unique=True))
@settings(max_examples=60, deadline=None)
def test_either_curve_keeps_the_order(logits):
    ordered = np.sort(np.array(logits))
    for decision in (LINE, BENT):
        assert (np.diff(log_odds(ordered, decision)) >= 0).all()
        assert (np.diff(log_odds(ordered, decision))[np.diff(ordered) > 1e-9] > 0).all()


@pytest.mark.parametrize("decision", [LINE, BENT])
def test_what_is_no_number_stays_none_and_shapes_are_kept(decision):
    found = calibrate(np.array([[np.nan, 1.0], [-np.inf, np.inf]]), decision)
    assert found.shape == (2, 2)
    assert np.isnan(found[0, 0])
    assert found[1].tolist() == [0.0, 1.0]


class TestOodScore:
    def test_is_the_share_of_calibration_photographs_that_lie_nearer(self):
        found = ood_score(np.array([1.0, 4.0, 5.0, 6.0, 6.5, 10.0, 99.0]), QUANTILES)
        np.testing.assert_allclose(found, [0.0, 0.0, 0.25, 0.5, 0.7, 1.0, 1.0])

    def test_of_one_image(self):
        assert float(ood_score(7.0, QUANTILES)) == 0.9
        assert bool(is_out_of_distribution(ood_score(9.0, QUANTILES), QUANTILES)) is True

    def test_is_unknown_without_distance_or_quantiles(self):
        assert np.isnan(ood_score(np.nan, QUANTILES))
        assert np.isnan(ood_score(np.array([1.0, 2.0]), OodReference())).all()

    def test_the_limit_is_what_an_image_must_pass(self):
        share = np.array([0.94, 0.95, 0.951, np.nan])
        assert is_out_of_distribution(share, QUANTILES).tolist() == [False, False, True, False]
