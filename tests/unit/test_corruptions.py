"""pictures/corruptions, alignment and codecs: any chain gives RGB, the same for the same picture, stronger for more."""

from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from cinemae.errors import ConfigError, ImageError
from cinemae.pictures.alignment import AlignConfig, align_picture
from cinemae.pictures.codecs import LONGEST_SIDE, through_codec
from cinemae.pictures.corruptions import SCREEN_SIDE, SOCIAL_SIDES, STANDARD_GRID, Corruption, Step, parse_condition

NAMES = "raw, aligned, jpeg, webp, noise, blur, resize, crop, grayscale, screenshot, social"
GRID = [condition for family in STANDARD_GRID.values() for condition in family]
HASHES = ["0f", "1a", "2b", "ff" * 32]


def corrupt(text: str, image: Image.Image, content_hash: str = "0f", seed: int = 0) -> Image.Image:
    return parse_condition(text).apply(image, content_hash, seed)


def saved(image: Image.Image, format: str, **options) -> Image.Image:
    """The reference: Pillow alone."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return Image.open(file).convert("RGB")


def psnr(image: Image.Image, other: Image.Image) -> float:
    error = np.asarray(image, np.float64) - np.asarray(other, np.float64)
    return 10 * math.log10(255**2 / np.mean(error**2))


def same(image: Image.Image, other: Image.Image) -> bool:
    return image.size == other.size and image.tobytes() == other.tobytes()


class TestEachStep:
    @pytest.mark.parametrize("quality", [1, 30, 95, 100])
    def test_jpeg_is_pillow_s_own_with_halved_chroma(self, picture, quality):
        image = picture(3)
        assert same(corrupt(f"jpeg={quality}", image), saved(image, "JPEG", quality=quality, subsampling="4:2:0"))

    @pytest.mark.parametrize("quality", [1, 50, 100])
    def test_webp_is_pillow_s_own(self, picture, quality):
        image = picture(3)
        assert same(corrupt(f"webp={quality}", image), saved(image, "WEBP", quality=quality))

    def test_noise_has_the_stated_deviation_in_8_bit_levels_and_no_mean(self):
        grey = Image.new("RGB", (300, 700), (128, 128, 128))
        noise = np.asarray(corrupt("noise=10", grey), np.float64) - 128
        assert noise.mean() == pytest.approx(0, abs=4 * 10 / math.sqrt(noise.size))
        assert noise.std() == pytest.approx(math.sqrt(10**2 + 1 / 12), rel=4 / math.sqrt(2 * noise.size))

    def test_noise_is_drawn_for_every_pixel_and_channel(self):
        noise = np.asarray(corrupt("noise=10", Image.new("RGB", (300, 700), (128, 128, 128))), np.float64) - 128
        channels = noise.reshape(-1, 3).T
        rows = noise[:256].ravel(), noise[256:512].ravel()
        for correlation in (*np.corrcoef(channels)[np.triu_indices(3, 1)], np.corrcoef(rows)[0, 1]):
            assert abs(correlation) < 0.02

    def test_noise_is_clipped_and_not_wrapped(self):
        assert np.asarray(corrupt("noise=20", Image.new("RGB", (50, 50), "white"))).min() > 100

    def test_levels_of_noise_share_their_draws(self):
        grey = Image.new("RGB", (40, 40), (128, 128, 128))
        ten, twenty = (np.asarray(corrupt(f"noise={level}", grey), np.float64) - 128 for level in (10, 20))
        assert np.abs(twenty - 2 * ten).max() <= 1.5  # both were rounded

    def test_blur_is_pillow_s_gaussian(self, picture):
        image = picture(4)
        assert same(corrupt("blur=1.5", image), image.filter(ImageFilter.GaussianBlur(1.5)))

    def test_blur_spreads_a_point_by_its_radius(self):
        image = Image.new("RGB", (101, 101))
        image.putpixel((50, 50), (255, 255, 255))
        bright = np.asarray(corrupt("blur=2", image), np.float64)[50, :, 0]
        spread = math.sqrt((bright * (np.arange(101) - 50) ** 2).sum() / bright.sum())
        assert spread == pytest.approx(2, rel=0.15)

    @pytest.mark.parametrize(("factor", "size"), [(1, (61, 50)), (0.5, (30, 25)), (0.25, (15, 12)), (0.01, (1, 1))])
    def test_resize_scales_down_and_not_back(self, picture, factor, size):
        image = picture(4, 61, 50)
        assert same(corrupt(f"resize={factor}", image), image.resize(size, Image.Resampling.BICUBIC))

    @pytest.mark.parametrize("share", [0.5, 0.75, 0.9])
    def test_crop_is_a_piece_with_that_share_of_each_side(self, share):
        across, down = np.meshgrid(np.arange(100), np.arange(60))
        image = Image.fromarray(np.stack([across, down, 0 * down], 2).astype(np.uint8))
        piece = np.asarray(corrupt(f"crop={share}", image), int)
        height, width = round(60 * share), round(100 * share)
        assert piece.shape == (height, width, 3)
        assert (piece[:, :, 0] == piece[0, 0, 0] + np.arange(width)).all()
        assert (piece[:, :, 1] == piece[0, 0, 1] + np.arange(height)[:, None]).all()

    def test_crops_lie_everywhere(self):
        image = Image.fromarray(np.arange(100, dtype=np.uint8)[:, None, None].repeat(3, 2).repeat(4, 1))
        tops = [corrupt("crop=0.5", image, str(index)).getpixel((0, 0))[0] for index in range(300)]
        assert min(tops) < 3
        assert max(tops) > 47
        assert np.mean(tops) == pytest.approx(25, abs=4 * 50 / math.sqrt(12 * 300))

    def test_grayscale_is_luma_in_all_channels(self, picture):
        image = picture(3)
        luma = np.asarray(image, np.float64) @ [0.299, 0.587, 0.114]
        grey = np.asarray(corrupt("grayscale", image), np.float64)
        assert np.abs(grey - luma[:, :, None]).max() <= 1

    def test_raw_is_the_picture_itself(self, picture):
        image = picture(3)
        assert corrupt("raw", image) is image


class TestChainsOfTheWorld:
    def test_a_screenshot_s_sides_follow_its_numbers(self, picture):
        image = picture(3, 400, 200)
        sizes = [corrupt("screenshot", image, str(index)).size for index in range(200)]
        widths = [width for width, _ in sizes]
        assert min(widths) >= 400 * 0.75 * 0.94 - 2
        assert max(widths) <= 400 * 1.5 * 1.06 + 2
        assert min(widths) < 400 < max(widths)
        assert all(0.85 < width / height / 2 < 1.15 for width, height in sizes)

    def test_a_screenshot_fits_the_screen_and_its_frame(self, picture):
        shown = corrupt("screenshot", picture(3, 6000, 30))
        assert 0.94 * SCREEN_SIDE - 2 <= shown.width <= 1.06 * SCREEN_SIDE + 2

    def test_a_screenshot_adds_window_at_some_edges_and_cuts_others(self):
        red = Image.new("RGB", (300, 300), (255, 0, 0))
        colours, framed = set(), 0
        for index in range(60):
            pixels = np.asarray(corrupt("screenshot", red, str(index)))
            window = pixels[(pixels != (255, 0, 0)).any(axis=2)]
            colours |= {tuple(map(int, colour)) for colour in window}
            framed += bool((pixels[0] != (255, 0, 0)).any(axis=1).all())
            assert len(window) < 0.13 * pixels.shape[0] * pixels.shape[1]
        assert colours == {(255, 255, 255), (240, 240, 240), (18, 18, 18)}
        assert 15 < framed < 45

    def test_the_second_screenshot_is_the_first_as_a_jpeg(self, picture):
        image = picture(3, 200, 150)
        for content_hash in HASHES:
            first, second = (corrupt(f"screenshot={level}", image, content_hash) for level in (1, 2))
            jpegs = [saved(first, "JPEG", quality=quality, subsampling="4:2:0") for quality in range(80, 96)]
            assert not same(first, second)
            assert any(same(second, jpeg) for jpeg in jpegs)

    def test_shared_once_is_one_reduction_and_one_jpeg(self, picture):
        image = picture(3, 200, 150)
        for content_hash in HASHES:
            once = corrupt("social", image, content_hash)
            assert 150 <= once.width <= 200
            small = image.resize(once.size, Image.Resampling.LANCZOS)
            jpegs = [saved(small, "JPEG", quality=quality, subsampling="4:2:0") for quality in range(70, 86)]
            assert any(same(once, jpeg) for jpeg in jpegs)

    def test_shared_twice_begins_as_shared_once(self, picture):
        image = picture(3, 200, 150)
        for content_hash in HASHES:
            once, twice = (corrupt(f"social={level}", image, content_hash) for level in (1, 2))
            small = once.resize(twice.size, Image.Resampling.LANCZOS)
            jpegs = [saved(small, "JPEG", quality=quality, subsampling="4:2:0") for quality in range(70, 86)]
            assert any(same(twice, jpeg) for jpeg in jpegs)

    def test_networks_limit_the_longer_side(self, picture):
        widths = {corrupt("social", picture(3, 4000, 20), str(index)).width for index in range(30)}
        assert widths == set(SOCIAL_SIDES)


class TestTheGrid:
    def test_entries_are_canonical_and_under_their_family(self):
        for family, conditions in STANDARD_GRID.items():
            for condition in conditions:
                assert parse_condition(condition).name == condition
                assert [step.family for step in parse_condition(condition).steps] == [family]

    def test_families_go_from_mild_to_strong(self, picture):
        image = picture(3, 120, 90)
        for family in ("jpeg", "webp", "noise", "blur", "resize"):
            corrupted = [corrupt(condition, image).resize(image.size) for condition in STANDARD_GRID[family]]
            quality = [psnr(image, each) for each in corrupted]
            assert all(mild > strong for mild, strong in itertools.pairwise(quality)), (family, quality)
        areas = [math.prod(corrupt(condition, image).size) for condition in STANDARD_GRID["crop"]]
        assert areas == sorted(areas, reverse=True)

    @pytest.mark.parametrize("condition", [*GRID, "aligned"])
    def test_every_entry_has_an_effect(self, picture, condition):
        image = picture(3, 300, 200)
        assert not same(corrupt(condition, image), image)

    @pytest.mark.parametrize("condition", [*GRID, "raw", "aligned", "social=5", "resize=0.01+crop=0.01+blur=100"])
    @pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
    def test_the_smallest_pictures_survive(self, condition, size):
        corrupted = corrupt(condition, Image.new("RGB", size, (200, 30, 90)))
        assert corrupted.mode == "RGB"
        assert min(corrupted.size) >= 1


class TestDeterminism:
    @pytest.mark.parametrize("condition", [*GRID, "crop=0.5+noise=5+screenshot+social"])
    def test_neither_order_nor_number_of_pictures_counts(self, picture, condition):
        images = {str(index): picture(index) for index in range(3)}
        corruption = parse_condition(condition)
        forth = {key: corruption.apply(image, key) for key, image in images.items()}
        alone = {key: parse_condition(condition).apply(images[key], key) for key in reversed(images)}
        assert all(same(forth[key], alone[key]) for key in images)

    @pytest.mark.parametrize("condition", ["noise=5", "crop=0.5", "screenshot", "social"])
    def test_seed_and_picture_count(self, picture, condition):
        image = picture(3, 300, 200)
        first = corrupt(condition, image)
        assert not same(first, corrupt(condition, image, content_hash="1a"))
        assert not same(first, corrupt(condition, image, seed=1))

    def test_the_same_step_draws_anew_at_another_place(self):
        grey = Image.new("RGB", (60, 60), (128, 128, 128))
        twice = np.asarray(corrupt("noise=10+noise=10", grey), np.float64)
        assert twice.std() == pytest.approx(10 * math.sqrt(2), rel=0.05)  # twice the same draw would give 20

    def test_the_picture_given_is_not_changed(self, picture):
        image = picture(3)
        before = image.tobytes()
        for condition in [*GRID, "aligned"]:
            corrupt(condition, image)
        assert image.tobytes() == before

    def test_metadata_is_lost(self, picture):
        image = picture(3)
        exif = Image.Exif()
        exif[0x0112] = 6
        image.info = {"exif": exif.tobytes(), "icc_profile": b"profile", "comment": b"hello", "dpi": (300, 300)}
        for condition in ("jpeg=90", "webp=90", "aligned", "social", "screenshot=2"):
            corrupted = corrupt(condition, image)
            assert corrupted.info == {}
            assert not corrupted.getexif()
            assert same(corrupted, corrupt(condition, picture(3)))

    def test_a_chain_is_its_steps_in_order(self, picture):
        image = picture(3)
        both = corrupt("resize=0.5+jpeg=70", image)
        assert same(both, corrupt("jpeg=70", corrupt("resize=0.5", image)))
        assert not same(both, corrupt("jpeg=70+resize=0.5", image))


class TestAlignment:
    def test_both_classes_end_in_one_size_and_codec(self, picture):
        image = picture(3, 90, 60)
        square = image.crop((15, 0, 75, 60)).resize((256, 256), Image.Resampling.BICUBIC)
        assert same(align_picture(image, AlignConfig()), saved(square, "JPEG", quality=96, subsampling="4:2:0"))

    def test_a_picture_of_the_right_size_is_not_resampled(self, picture):
        image = picture(3, 80, 64)
        config = AlignConfig(size=64, jpeg_quality=90)
        square = image.crop((8, 0, 72, 64))
        assert same(align_picture(image, config), saved(square, "JPEG", quality=90, subsampling="4:2:0"))

    def test_an_aligned_picture_may_be_corrupted(self, picture):
        image, config = picture(3), AlignConfig(size=32)
        corruption = parse_condition("aligned+jpeg=50", align=config)
        assert corruption.name == "aligned+jpeg=50"
        assert same(corruption.apply(image, "0f"), corrupt("jpeg=50", align_picture(image, config)))

    def test_settings_are_read_back(self):
        config = AlignConfig(size=128)
        assert AlignConfig.from_dict(config.to_dict()) == config

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"size": 0}, "size must be from 1 to 16384 pixels, got 0."),
            ({"jpeg_quality": 101}, "jpeg_quality must be from 1 to 100, got 101."),
        ],
    )
    def test_settings_out_of_range_are_refused(self, settings, sentence):
        with pytest.raises(ConfigError) as refused:
            AlignConfig(**settings)
        assert str(refused.value) == sentence


class TestParsing:
    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("raw", "raw"),
            (" jpeg=050 ", "jpeg=50"),
            ("blur=1.0", "blur=1"),
            ("noise=2.50", "noise=2.5"),
            ("social", "social=1"),
            ("screenshot", "screenshot=1"),
            ("resize=0.5 + jpeg=70", "resize=0.5+jpeg=70"),
        ],
    )
    def test_one_spelling_for_one_condition(self, text, name):
        assert parse_condition(text).name == name
        assert parse_condition(name) == parse_condition(text)

    def test_a_condition_is_frozen_and_hashable(self):
        corruption = parse_condition("jpeg=50")
        assert corruption == Corruption((Step("jpeg", 50.0),))
        assert len({corruption, parse_condition(" jpeg=50")}) == 1
        with pytest.raises(AttributeError):
            corruption.steps = ()

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            (
                "jpg=50",
                f"a condition is one of {NAMES}, or a chain of them as in resize=0.5+jpeg=70, got 'jpg=50': choose "
                "one.",
            ),
            (
                "resize=0.5+",
                f"a condition is one of {NAMES}, or a chain of them as in resize=0.5+jpeg=70, got '' in 'resize=0.5+': "
                "choose one.",
            ),
            ("jpeg", "jpeg takes a whole number from 1 to 100, as in jpeg=50, got 'jpeg'."),
            ("jpeg=0", "jpeg takes a whole number from 1 to 100, as in jpeg=50, got 'jpeg=0'."),
            ("jpeg=50.5", "jpeg takes a whole number from 1 to 100, as in jpeg=50, got 'jpeg=50.5'."),
            ("webp=101", "webp takes a whole number from 1 to 100, as in webp=50, got 'webp=101'."),
            ("noise=256", "noise takes a number from 0.01 to 255, as in noise=10, got 'noise=256'."),
            ("noise=nan", "noise takes a number from 0.01 to 255, as in noise=10, got 'noise=nan'."),
            ("blur=-1", "blur takes a number from 0.01 to 100, as in blur=1, got 'blur=-1'."),
            ("resize=2", "resize takes a number from 0.01 to 1, as in resize=0.5, got 'resize=2'."),
            (
                "aligned+crop=0",
                "crop takes a number from 0.01 to 1, as in crop=0.8, got 'crop=0' in 'aligned+crop=0'.",
            ),
            ("grayscale=1", "grayscale has no levels, got 'grayscale=1': write grayscale."),
            ("screenshot=3", "screenshot takes a whole number from 1 to 2, as in screenshot=2, got 'screenshot=3'."),
            ("social=", "social takes a whole number from 1 to 5, as in social=2, got 'social='."),
            ("raw+jpeg=50", "raw stands alone, got it in 'raw+jpeg=50': leave it out of the chain."),
        ],
    )
    def test_mistakes_are_told_in_one_sentence(self, text, sentence):
        with pytest.raises(ConfigError) as refused:
            parse_condition(text)
        assert str(refused.value) == sentence


class TestRefusals:
    def test_pictures_that_are_not_rgb(self):
        with pytest.raises(ImageError, match="needs an RGB image of at least 1x1 pixels, got mode L, 4x3: pass it thr"):
            corrupt("raw", Image.new("L", (4, 3)))
        with pytest.raises(ImageError, match="got mode RGB, 0x3"):
            corrupt("jpeg=50", Image.new("RGB", (0, 3)))

    def test_negative_seeds(self):
        with pytest.raises(ConfigError, match="the seed of a corruption must not be negative, got -1"):
            corrupt("noise=1", Image.new("RGB", (4, 3)), seed=-1)

    @pytest.mark.parametrize("codec", LONGEST_SIDE)
    def test_sides_longer_than_the_codec_takes(self, codec):
        longest = LONGEST_SIDE[codec]
        assert through_codec(Image.new("RGB", (longest, 1)), codec, 50).size == (longest, 1)
        with pytest.raises(ImageError) as refused:
            through_codec(Image.new("RGB", (1, longest + 1)), codec, 50)
        assert str(refused.value) == (
            f"a picture sent through {codec} has sides of at most {longest:,} pixels, got 1x{longest + 1}: scale it "
            "down first, or leave this condition out."
        )


LEVELS = {
    "jpeg": st.integers(1, 100),
    "webp": st.integers(1, 100),
    "noise": st.floats(0.01, 255),
    "blur": st.floats(0.01, 100),
    "resize": st.floats(0.01, 1),
    "crop": st.floats(0.01, 1),
    "screenshot": st.integers(1, 2),
    "social": st.integers(1, 5),
}
STEPS = st.one_of(
    st.sampled_from(["aligned", "grayscale", "screenshot", "social"]),
    *(levels.map(lambda level, family=family: f"{family}={level}") for family, levels in LEVELS.items()),
)


@settings(max_examples=80)
@given(
    chain=st.lists(STEPS, min_size=1, max_size=4).map("+".join),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    content_hash=st.text("0123456789abcdef", max_size=8),
    seed=st.integers(0, 2**40),
)
def test_any_chain_keeps_rgb_and_a_size_and_is_read_back(chain, size, content_hash, seed):
    corruption = parse_condition(chain)
    assert parse_condition(corruption.name) == corruption
    noise = np.random.default_rng(size).integers(0, 256, (*size, 3), np.uint8)
    corrupted = corruption.apply(Image.fromarray(noise), content_hash, seed)
    assert corrupted.mode == "RGB"
    assert min(corrupted.size) >= 1
    assert same(corrupted, corruption.apply(Image.fromarray(noise), content_hash, seed))
