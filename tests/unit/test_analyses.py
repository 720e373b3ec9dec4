import warnings

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr
from skimage.measure import shannon_entropy as reference_entropy

from cinemae.errors import ConfigError, EvaluationError, ImageError
from cinemae.evaluation.analyses.correlation import correlation_table, plot_correlations, spearman
from cinemae.evaluation.analyses.image_statistics import (
    gradient_total_variation,
    high_frequency_ratio,
    image_statistics,
    luminance,
    shannon_entropy,
)
from cinemae.statistics.plot_style import new_figure, save_figure
from cinemae.statistics.scored_set import ScoredSet


def texts_of(figure):
    """Every text inside the axes of a figure."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def wave(cycles_down, cycles_across, height=32, width=48):
    """One plane wave, as 8-bit luminance."""
    rows, columns = np.mgrid[:height, :width]
    phase = 2 * np.pi * (cycles_down * rows / height + cycles_across * columns / width)
    return np.round(127 + 100 * np.cos(phase + 0.3)).astype(np.uint8)


class TestScoredSet:
    def test_holds_float64_scores_and_finds_each_generator(self):
        data = ScoredSet(np.array([1, 2, 3, 4], np.float32), np.array([1, 0, 1, 1]), np.array(["b", "x", "a", "b"]))
        assert data.scores.dtype == np.float64
        assert (data.real.tolist(), data.fake.tolist()) == ([2.0], [1.0, 3.0, 4.0])
        assert data.generator_names == ("a", "b")
        assert data.of("b").tolist() == [1.0, 4.0]
        assert len(data) == 4

    @pytest.mark.parametrize(
        ("scores", "labels", "generators", "sentence"),
        [
            ([0.1, np.nan], [0, 1], ["a", "b"], "the scores must be finite numbers, 1 of 2 are not"),
            ([0.1, np.inf], [0, 1], ["a", "b"], "the scores must be finite numbers, 1 of 2 are not"),
            ([], [], [], r"of one image at least; got shape \(0,\)"),
            ([[0.1, 0.2]], [0, 1], ["a", "b"], r"one number an image, .* got shape \(1, 2\)"),
            ([0.1, 0.2], [0], ["a", "b"], r"one label, got labels of shape \(1,\) for 2 images"),
            ([0.1, 0.2], [0, -1], ["a", "b"], r"a label is 0 \(real\) or 1 \(fake\), got -1: leave out unlabelled"),
            ([0.1, 0.2], [0, 0], ["a", "b"], "both needed, got 2 and 0: add the missing class"),
            ([0.1, 0.2], [1, 1], ["a", "b"], "both needed, got 0 and 2: add the missing class"),
            ([0.1, 0.2], [0, 1], ["a"], "each image has one generator, got 1 for 2 images"),
        ],
    )
    def test_refuses_what_cannot_be_judged(self, scores, labels, generators, sentence):
        with pytest.raises(EvaluationError, match=sentence):
            ScoredSet(np.array(scores), np.array(labels), np.array(generators))

    def test_an_unknown_generator_is_named_with_those_there_are(self):
        data = ScoredSet(np.array([0.1, 0.2]), np.array([0, 1]), np.array(["camera", "gan"]))
        with pytest.raises(EvaluationError, match="no image is of generator camera; there are gan"):
            data.of("camera")


class TestImageStatistics:
    @pytest.mark.parametrize("seed", range(5))
    def test_entropy_is_that_of_scikit_image(self, picture, seed):
        pixels = np.asarray(picture(seed).convert("L"))
        assert shannon_entropy(pixels) == pytest.approx(reference_entropy(pixels, base=2))

    def test_entropy_of_all_values_alike_is_8_bits_and_of_one_is_0(self):
        assert shannon_entropy(np.arange(256, dtype=np.uint8).reshape(16, 16)) == 8.0
        assert str(shannon_entropy(np.full((3, 3), 7, np.uint8))) == "0.0"

    @pytest.mark.parametrize("shape", [(32, 48), (31, 48), (32, 47), (31, 47), (1, 9), (9, 1)])
    @pytest.mark.parametrize("radius", [0.25, 0.5, 1.0])
    def test_the_high_frequency_share_is_that_of_the_whole_spectrum(self, shape, radius):
        pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        power = np.abs(np.fft.fft2(pixels.astype(float))) ** 2
        far, total = 0.0, 0.0
        for row, down in enumerate(np.fft.fftfreq(shape[0])):
            for column, across in enumerate(np.fft.fftfreq(shape[1])):
                if (row, column) != (0, 0):
                    total += power[row, column]
                    far += power[row, column] * ((down**2 + across**2) ** 0.5 > radius * 0.5)
        assert high_frequency_ratio(pixels, radius=radius) == pytest.approx(far / total)

    @pytest.mark.parametrize(
        ("cycles", "beyond"),
        [((2, 3), False), ((0, 11), False), ((0, 13), True), ((7, 0), False), ((9, 0), True), ((7, 9), True)],
    )
    def test_a_plane_wave_lies_within_half_the_nyquist_frequency_or_beyond(self, cycles, beyond):
        # A quarter of a cycle a pixel is 8 cycles over 32 rows and 12 over 48 columns, whatever the picture's shape.
        share = high_frequency_ratio(wave(*cycles))
        assert share > 0.99 if beyond else share < 0.01

    def test_total_variation_of_a_step_and_of_a_grid_by_hand(self):
        step = np.zeros((4, 10), np.uint8)
        step[:, 5:] = 51  # 0.2
        assert gradient_total_variation(step) == pytest.approx(4 * 0.2 / 40)
        assert gradient_total_variation(np.array([[0, 255, 0], [255, 0, 255]], np.uint8)) == pytest.approx(7 / 6)
        assert gradient_total_variation(np.array([[9]], np.uint8)) == 0.0

    def test_all_three_of_one_picture_in_their_order(self, picture):
        image = picture(3)
        pixels = luminance(image)
        red, green, blue = np.asarray(image, np.float64).transpose(2, 0, 1)
        assert np.abs(pixels - (0.299 * red + 0.587 * green + 0.114 * blue)).max() <= 0.51
        expected = [shannon_entropy(pixels), high_frequency_ratio(pixels, radius=0.7), gradient_total_variation(pixels)]
        assert image_statistics(image, radius=0.7).tolist() == expected

    def test_noise_raises_all_three(self):
        smooth = np.tile(np.linspace(60, 190, 64), (64, 1))
        noisy = smooth + np.random.default_rng(0).normal(0, 20, smooth.shape)
        before, after = (
            image_statistics(Image.fromarray(x.clip(0, 255).astype(np.uint8)).convert("RGB")) for x in (smooth, noisy)
        )
        assert (after > before).all()

    @pytest.mark.parametrize("radius", [0.0, -1.0, 1.5, float("nan")])
    def test_a_radius_outside_the_spectrum_is_refused(self, radius):
        with pytest.raises(ConfigError, match=r"between 0 and sqrt\(2\), got"):
            high_frequency_ratio(wave(1, 1), radius=radius)

    def test_only_rgb_is_taken(self):
        with pytest.raises(ImageError, match="need an RGB picture of at least 1x1 pixels, got mode L, 3x2"):
            image_statistics(Image.new("L", (3, 2)))


def _reference_interval(rho, n):
    """Bonett and Wright (2000), written out."""
    z, error = np.arctanh(rho), np.sqrt((1 + rho * rho / 2) / (n - 3))
    return np.tanh(z - 1.959964 * error), np.tanh(z + 1.959964 * error)


class TestSpearman:
    @pytest.mark.parametrize("weight", [-1.0, 0.0, 0.4])
    def test_equals_scipy_with_ties_and_has_the_interval_of_bonett_and_wright(self, weight):
        rng = np.random.default_rng(0)
        first = np.round(rng.normal(size=90), 1)
        second = np.round(weight * first + rng.normal(size=90), 1)
        found = spearman(first, second)
        rho = spearmanr(first, second).statistic
        assert found.value == pytest.approx(rho)
        assert (found.low, found.high) == pytest.approx(_reference_interval(rho, 90), abs=1e-6)
        assert found.n == 90

    def test_the_interval_holds_the_truth_in_about_95_of_100_draws(self):
        rng = np.random.default_rng(1)
        truth = 6 / np.pi * np.arcsin(0.5 / 2)  # Spearman's rho of a normal pair with correlation 0.5
        held = 0
        for _ in range(400):
            pair = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 60)
            found = spearman(pair[:, 0], pair[:, 1])
            held += found.low <= truth <= found.high
        assert 0.92 <= held / 400 <= 0.98

    def test_perfect_order_of_few_images_is_not_taken_for_certain(self):
        found = spearman(np.arange(5), np.arange(5) ** 3)
        assert found.value == pytest.approx(1.0)
        assert found.high == 1.0
        assert found.low < 0.6
        turned = spearman(np.arange(5), -np.arange(5))
        assert (turned.value, turned.low, turned.high) == pytest.approx((-1.0, -1.0, -found.low))

    def test_perfect_order_of_very_many_images_has_an_interval_too(self):
        found = spearman(np.arange(600_000), np.arange(600_000))
        assert 0.999 < found.low <= found.value <= found.high == 1.0

    def test_what_does_not_vary_has_no_rho(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert spearman(np.arange(9), np.full(9, 0.1)) is None

    def test_lengths_few_images_and_nan_are_refused(self):
        with pytest.raises(EvaluationError, match="as many numbers on both sides, got 5 and 4"):
            spearman(np.arange(5), np.arange(4))
        with pytest.raises(EvaluationError, match="at least 4 images, got 3"):
            spearman(np.arange(3), np.arange(3))
        with pytest.raises(EvaluationError, match="the second numbers must be finite numbers, 1 of 4"):
            spearman(np.arange(4), np.array([1, 2, 3, np.nan]))


@pytest.fixture(scope="module")
def paradox():
    """Within each class s1 falls with entropy; pooled it rises, because both are higher for fakes. s3 never varies."""
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], [60, 40])
    entropy = rng.normal(size=100) + 10 * labels
    stats = np.stack([20 * labels - entropy, rng.normal(size=100), np.zeros(100)], axis=1)
    return stats, np.stack([entropy, rng.normal(size=100), rng.normal(size=100)], axis=1), labels


class TestCorrelationTable:
    def test_every_cell_is_the_rho_of_its_group(self, paradox):
        stats, images, labels = paradox
        groups = correlation_table(*paradox).groups
        chosen = {"all": labels < 2, "photographs": labels == 0, "fakes": labels == 1}
        assert {name: group.n for name, group in groups.items()} == {"all": 100, "photographs": 60, "fakes": 40}
        for name, mask in chosen.items():
            for row, statistic in enumerate(("variability", "overall")):
                for column, classical in enumerate(("entropy", "high_frequency_ratio", "gradient_tv")):
                    cell = groups[name].rho[statistic][classical]
                    expected = spearmanr(stats[mask, row], images[mask, column]).statistic
                    assert cell.value == pytest.approx(expected)
                    assert cell.n == mask.sum()

    def test_classes_apart_show_what_pooling_turns_around(self, paradox):
        table = correlation_table(*paradox)
        rho = {name: group.rho["variability"]["entropy"].value for name, group in table.groups.items()}
        assert rho["all"] > 0.4
        assert (rho["photographs"], rho["fakes"]) == pytest.approx((-1.0, -1.0))
        assert "how both differ between the classes" in table.note

    def test_no_rho_for_a_column_that_never_varies_nor_for_a_class_of_three(self, paradox):
        stats, images, labels = paradox
        few = np.r_[0:60, 60:63]
        groups = correlation_table(stats[few], images[few], labels[few]).groups
        assert groups["all"].rho["sensitivity"]["entropy"] is None
        assert groups["fakes"].n == 3
        assert groups["fakes"].rho["variability"]["entropy"] is None

    def test_shapes_classes_and_nan_are_refused(self, paradox):
        stats, images, labels = paradox
        with pytest.raises(
            EvaluationError, match=r"image statistics must be three numbers for each of 100 images, got"
        ):
            correlation_table(stats, images[:50], labels)
        with pytest.raises(EvaluationError, match=r"s1, s2, s3 must be three .* got shape \(100, 2\)"):
            correlation_table(stats[:, :2], images, labels)
        with pytest.raises(EvaluationError, match="both needed, got 100 and 0"):
            correlation_table(stats, images, np.zeros(100, int))
        with pytest.raises(EvaluationError, match="at least 4 images, got 3"):
            correlation_table(stats[58:61], images[58:61], labels[58:61])
        broken = images.copy()
        broken[3, 1] = np.nan
        with pytest.raises(EvaluationError, match="image statistics must be finite numbers, 1 of 300"):
            correlation_table(stats, broken, labels)

    def test_the_plot_says_every_rho_and_where_there_is_none(self, paradox, tmp_path, inked):
        table = correlation_table(*paradox)
        figure = plot_correlations(table)
        texts = texts_of(figure)
        assert len(texts) == 27
        assert texts.count("does not\nvary") == 9
        cell = table.groups["all"].rho["overall"]["gradient_tv"]
        assert f"{cell.value:+.2f}\n[{cell.low:+.2f}, {cell.high:+.2f}]" in texts
        titles = [axes.get_title() for axes in figure.axes[:3]]
        assert titles == ["all (n = 100)", "photographs (n = 60)", "fakes (n = 40)"]
        save_figure(figure, tmp_path / "rho.png")
        assert inked(tmp_path / "rho.png") > 0.2

    def test_the_plot_says_where_a_class_is_too_small(self, paradox):
        stats, images, labels = (values[:63] for values in paradox)
        assert texts_of(plot_correlations(correlation_table(stats, images, labels))).count("fewer than\n4 images") == 9


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_figure_is_written_with_the_same_bytes_each_time(tmp_path, suffix, monkeypatch):
    written = []
    for second in ("1000000000", "1100000000"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", second)
        figure = new_figure(2, 2)
        figure.subplots().plot([0, 1])
        save_figure(figure, tmp_path / f"x.{suffix}")
        written.append((tmp_path / f"x.{suffix}").read_bytes())
    assert written[0] == written[1]
