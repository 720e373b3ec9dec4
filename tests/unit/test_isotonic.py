import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from sklearn.isotonic import IsotonicRegression

from cinemae.calibration.isotonic import GRID, centred_isotonic

QUICK = settings(max_examples=60, deadline=None)


@st.composite
def scored_sets(draw):
    real = draw(st_numpy.arrays(np.float64, st.integers(1, 40), elements=st.floats(-20, 20, width=32)))
    fake = draw(st_numpy.arrays(np.float64, st.integers(1, 40), elements=st.floats(-20, 20, width=32)))
    return np.concatenate([real, fake]), np.repeat([0, 1], [len(real), len(fake)])


def _reference(logits, labels):
    """Blocks of scikit-learn's regression: the weighted centre of each, and its probability."""
    reals, fakes = (labels == 0).sum(), (labels == 1).sum()
    weights = np.where(labels == 1, 0.5 / fakes, 0.5 / reals)
    regression = IsotonicRegression(y_min=1 / (fakes + 2), y_max=1 - 1 / (reals + 2))
    fitted = regression.fit(logits, labels, sample_weight=weights).predict(logits).round(9)
    blocks = [fitted == value for value in np.unique(fitted)]
    centres = [np.average(logits[block], weights=weights[block]) for block in blocks]
    return np.array(centres), np.array([fitted[block][0] for block in blocks])


@pytest.mark.parametrize("seed", range(4))
def test_knots_are_the_centres_of_scikit_learns_blocks(seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [80, 30])
    logits = (rng.normal(size=110) + labels).round(1)
    logits = np.append(logits, [-GRID / 20, GRID / 20])  # the range makes one step of the grid 0.1, so nothing is moved
    labels = np.append(labels, [0, 1])
    x, y = centred_isotonic(logits, labels)
    centres, levels = _reference(logits, labels)
    assert len(x) == len(centres) > 3
    np.testing.assert_allclose(x, centres, atol=1e-9)
    np.testing.assert_allclose(1 / (1 + np.exp(-np.array(y))), levels, atol=1e-8)


def test_two_images_of_each_class_by_hand():
    """Weights 1/4 each: blocks {0}, {1, 2} and {3}, the outer ones held off 0 and 1 by 1 / (2 + 2)."""
    x, y = centred_isotonic(np.array([3.0, 1.0, 2.0, 0.0]), np.array([1, 1, 0, 0]))
    np.testing.assert_allclose(x, [0.0, 1.5, 3.0])
    np.testing.assert_allclose(y, [-np.log(3), 0.0, np.log(3)], atol=1e-12)


def test_three_photographs_weigh_as_much_as_one_fake():
    """The block {1, 2} holds a fake of weight 1/2 and a photograph of weight 1/6: its share of fakes is 3/4."""
    x, y = centred_isotonic(np.array([0.0, 0.0, 2.0, 1.0]), np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(x, [0.0, (1 / 2 * 1 + 1 / 6 * 2) / (2 / 3)])
    np.testing.assert_allclose(y, [np.log(1 / 3 / (2 / 3)), np.log(3)])  # 1 / (1 + 2) is as low as it may say


@given(scored_sets())
@QUICK
def test_knots_ascend_and_keep_apart(data):
    x, y = (np.array(knots) for knots in centred_isotonic(*data))
    assert len(x) == len(y) >= 1
    assert (np.diff(y) > 0).all()
    step = np.ptp(data[0]) / GRID
    assert (np.diff(x) > 0.5 * step).all()
    assert data[0].min() - step <= x[0] <= x[-1] <= data[0].max() + step


def test_a_perfect_separation_is_finite():
    x, y = centred_isotonic(np.array([-5.0, -4.0, 4.0, 5.0]), np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(x, [-4.5, 4.5], atol=0.01)
    np.testing.assert_allclose(y, [-np.log(3), np.log(3)])


@pytest.mark.parametrize("logits", [[1.0, 1.0, 1.0, 1.0], [3.0, 2.0, 1.0, 0.0]])
def test_a_score_that_does_not_rise_with_the_label_is_one_knot_at_even_odds(logits):
    x, y = centred_isotonic(np.array(logits), np.array([0, 0, 1, 1]))
    assert len(x) == 1
    assert y == pytest.approx((0.0,), abs=1e-12)
