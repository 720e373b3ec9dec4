"""The Gaussian of training images and the quantiles of distance, against scipy, scikit-learn and by hand."""

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

from cinemae.calibration.outliers import (
    COMPONENTS,
    LEVELS,
    WIDEST,
    _principal_components,
    cross_fitted_distances,
    fit_distance,
    learn_outliers,
    ood_reference,
)
from cinemae.core.mahalanobis import summary_dim, view_summary
from cinemae.errors import TrainingError
from cinemae.models.directory import read_model_config
from cinemae.models.distance import distance_bytes, load_distance

pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(count, dim=6, seed=0):
    """Correlated features of unequal spread."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(dim, dim)) * np.logspace(-2, 2, dim)
    return (rng.normal(size=(count, dim)) @ mixing + 5).astype(np.float32)


class TestSummary:
    def test_is_mean_and_log_deviation_of_the_views(self):
        views = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
        expected = np.concatenate([views.mean(1), np.log(views.std(1, ddof=1) + 1e-3)], axis=1)
        np.testing.assert_allclose(view_summary(views), expected, rtol=1e-5, atol=1e-6)
        assert view_summary(views).shape == (3, summary_dim(4, 5))

    def test_of_one_view_is_the_view(self):
        views = np.random.default_rng(0).normal(size=(3, 1, 4)).astype(np.float32)
        np.testing.assert_array_equal(view_summary(views), views[:, 0])
        assert summary_dim(4, 1) == 4

    def test_of_views_that_are_all_alike_is_finite(self):
        found = view_summary(np.ones((2, 3, 4), np.float32))
        np.testing.assert_allclose(found[:, 4:], np.log(1e-3), rtol=1e-6)


class TestFit:
    def test_distances_are_scipys_with_ledoit_and_wolfs_covariance(self):
        train, other = drawn(50), drawn(20, seed=1)
        mean, spread = train.astype(np.float64).mean(0), train.astype(np.float64).std(0)
        precision = np.linalg.inv(LedoitWolf().fit((train - mean) / spread).covariance_)
        expected = [mahalanobis((row - mean) / spread, np.zeros(6), precision) for row in other]
        np.testing.assert_allclose(fit_distance(train).of_summary(other), expected, rtol=1e-4)

    def test_neither_scale_nor_origin_of_a_feature_matters(self):
        train, other = drawn(80), drawn(5, seed=1)
        scale, origin = np.array([1, 10, 0.1, 3, 2, 7], np.float32), np.arange(6, dtype=np.float32)
        expected = fit_distance(train).of_summary(other)
        np.testing.assert_allclose(
            fit_distance(train * scale + origin).of_summary(other * scale + origin), expected, rtol=1e-3
        )

    def test_a_gaussians_squared_distances_average_to_its_dimension(self):
        squared = fit_distance(drawn(20_000)).of_summary(drawn(4000, seed=1)) ** 2
        assert squared.mean() == pytest.approx(6, rel=0.05)

    def test_fewer_images_than_features_and_constant_features_are_borne(self):
        train = drawn(4)
        train[:, 0] = 3.0
        found = fit_distance(train).of_summary(drawn(5, seed=1))
        assert np.isfinite(found).all()
        assert (found > 0).all()

    def test_images_farther_out_are_farther(self):
        distance, train = fit_distance(drawn(100)), drawn(100)
        steps = np.stack([train.mean(0) + step * train.std(0) for step in (0, 1, 2, 5)])
        assert (np.diff(distance.of_summary(steps)) > 0).all()

    @pytest.mark.parametrize("summary", [drawn(1), np.full((3, 2), np.nan, np.float32)])
    def test_too_few_or_broken_features_are_refused(self, summary):
        with pytest.raises(TrainingError, match="two images or more with finite features, got"):
            fit_distance(summary)

    def test_the_distance_of_an_image_does_not_depend_on_the_others(self):
        views = np.random.default_rng(0).normal(size=(30, 4, 3)).astype(np.float32)
        distance = fit_distance(view_summary(views))
        found = distance(views)
        np.testing.assert_allclose(found, distance.of_summary(view_summary(views)), rtol=1e-5)
        np.testing.assert_array_equal(distance(views[7:9]), found[7:9])

    def test_is_read_back_to_the_last_bit(self, tiny_model, tmp_path):
        views = np.random.default_rng(0).normal(size=(30, 1, 16)).astype(np.float32)
        distance = fit_distance(view_summary(views))
        (tmp_path / "ood.safetensors").write_bytes(distance_bytes(distance))
        restored = load_distance(tmp_path, read_model_config(tiny_model))
        np.testing.assert_array_equal(restored.mean, distance.mean)
        np.testing.assert_array_equal(restored.whitening, distance.whitening)


@pytest.fixture(scope="module")
def wide():
    """Rows of more columns than a covariance is built of: three strong directions, little beside."""
    rng = np.random.default_rng(5)
    strong = rng.normal(size=(400, 3)) @ (10 * rng.normal(size=(3, WIDEST + 104)))
    return (strong + rng.normal(size=(400, WIDEST + 104)) + 3).astype(np.float32)


class TestWide:
    """Summaries too wide for a covariance of their own."""

    def test_no_matrix_of_all_columns_is_kept_and_strangers_are_farther(self, wide):
        distance = fit_distance(wide[:300])
        assert distance.whitening.shape == (COMPONENTS, WIDEST + 104)
        own = distance.of_summary(wide[300:])
        elsewhere = wide[300:] + 5 * wide.std(0) * np.sign(distance.whitening[0])
        assert distance.of_summary(elsewhere).min() > np.quantile(own, 0.99)

    def test_components_are_those_of_scikit_learn(self, wide):
        rows = wide[:300].astype(np.float64)
        scaled = (rows - rows.mean(0)) / rows.std(0)
        directions = PCA(3).fit(scaled).components_
        found = _principal_components(lambda: iter([scaled[:100], scaled[100:]]), scaled.shape[1])
        np.testing.assert_allclose(np.linalg.norm(directions @ found, axis=1), 1, atol=1e-6)

    def test_is_learnt_and_read_with_the_views_side_by_side(self, wide, tmp_path):
        views = wide.reshape(400, 2, -1)
        distance, _ = learn_outliers(views[:300], views[300:], np.zeros(100, int), True)
        assert distance.side_by_side
        np.testing.assert_allclose(distance(views[300:305]), distance.of_summary(wide[300:305]), rtol=1e-5)
        assert summary_dim(views.shape[2], 2, True) == wide.shape[1]


class TestReference:
    def test_quantiles_are_those_of_the_photographs(self):
        values = np.random.default_rng(0).normal(size=200)
        labels = np.repeat([0, 1], [150, 50])
        found = ood_reference(values, labels)
        assert found.levels == LEVELS
        np.testing.assert_allclose(found.values, np.quantile(values[:150], LEVELS), rtol=1e-12)
        values[150:] += 100
        assert ood_reference(values, labels) == found, "how far out the fakes lie is no matter"

    def test_images_that_were_fitted_on_lie_too_near(self):
        """With few images the difference is large, and cross-fitting measures what a new image would be at."""
        few, new = drawn(30), drawn(2000, seed=1)
        fitted, crossed = fit_distance(few).of_summary(few), cross_fitted_distances(few, seed=0)
        truth = np.median(fit_distance(few).of_summary(new))
        assert np.median(fitted) < 0.95 * truth
        assert np.median(crossed) == pytest.approx(truth, rel=0.15)
        np.testing.assert_array_equal(crossed, cross_fitted_distances(few, seed=0))
        assert not np.array_equal(crossed, cross_fitted_distances(few, seed=1))

    def test_learning_both_at_once(self):
        rng = np.random.default_rng(0)
        trained, validated = (rng.normal(size=(count, 2, 3)).astype(np.float32) for count in (60, 20))
        labels = np.repeat([0, 1], 10)
        distance, reference = learn_outliers(trained, validated, labels)
        expected = ood_reference(fit_distance(view_summary(trained)).of_summary(view_summary(validated)), labels)
        assert reference == expected
        assert len(distance.mean) == 6
