"""evidence/image_warnings, image_measures: each warning on real and drawn pictures, silence on ordinary photographs."""

from __future__ import annotations

import dataclasses
import importlib
import io
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy.fft import dctn
from sklearn.datasets import load_sample_image

from cinemae.config import ImageConfig
from cinemae.evidence.image_measures import GRID_QUALITY, ImageMeasures, measure_image
from cinemae.evidence.image_warnings import WARNINGS, WarningLimits, explain, image_warnings, warnings_of
from cinemae.pictures.image import load_image
from cinemae.pictures.jpeg_quality import luminance_steps
from cinemae.statistics.metrics import rate

ROOT = Path(__file__).resolve().parents[2]
BICUBIC = Image.Resampling.BICUBIC
PHOTOGRAPHS = {
    "astronaut": skimage.data.astronaut(),
    "chelsea": skimage.data.chelsea(),
    "coffee": skimage.data.coffee(),
    "motorcycle": skimage.data.stereo_motorcycle()[0],
    "china": load_sample_image("china.jpg"),
    "flower": load_sample_image("flower.jpg"),
}


def photograph(name: str) -> Image.Image:
    return Image.fromarray(PHOTOGRAPHS[name])


def jpeg(image: Image.Image, quality: int, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, **options)
    return file.getvalue()


def warned(source, **settings) -> tuple[str, ...]:
    return image_warnings(load_image(source), **settings)


def scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize([round(side * factor) for side in image.size], BICUBIC)


def enlarged(name: str, factor: float = 0.25) -> Image.Image:
    return scaled(photograph(name), factor).resize(photograph(name).size, BICUBIC)


def text_page(width: int, height: int, size: int, ink="black", paper="white") -> Image.Image:
    page = Image.new("RGB", (width, height), paper)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size)
    words = np.random.default_rng(0).choice(["quick", "brown", "fox", "jumps", "over", "lazy", "dog"], (99, 99))
    for line, top in enumerate(range(size, height - 2 * size, round(1.4 * size))):
        draw.text((size, top), " ".join(words[line % 99]), fill=ink, font=font)
    return page


def window() -> Image.Image:
    """A program's window: a bar, a list, cards with words, and a photograph."""
    page = Image.new("RGB", (1280, 800), (245, 245, 247))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    draw.rectangle((0, 0, 1280, 40), fill=(40, 44, 52))
    draw.text((12, 12), "File   Edit   View   Help", fill="white", font=font)
    for top in range(60, 780, 26):
        draw.text((10, top), f"Item number {top}", fill=(30, 30, 30), font=font)
    for top in range(60, 740, 90):
        draw.rounded_rectangle((276, top, 1260, top + 74), 8, fill="white", outline=(200, 200, 205))
        draw.text((290, top + 12), "A heading in a list of cards", fill=(20, 20, 20), font=font)
    page.paste(photograph("coffee").resize((300, 200)), (900, 90))
    return page


def on_plain_background(name: str, noise: float = 1.0) -> Image.Image:
    image = photograph(name)
    plain, mask = Image.new("RGB", image.size, (228, 226, 220)), Image.new("L", image.size)
    width, height = image.size
    ImageDraw.Draw(mask).ellipse((0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height), fill=255)
    plain.paste(image, mask=mask.filter(ImageFilter.GaussianBlur(4)))
    noisy = np.asarray(plain) + np.random.default_rng(0).normal(0, noise, (height, width, 3))
    return Image.fromarray(np.rint(noisy).clip(0, 255).astype(np.uint8))


def noisy(name: str, deviation: float) -> Image.Image:
    image = scaled(photograph(name), 256 / min(photograph(name).size))
    pixels = np.asarray(image) + np.random.default_rng(0).normal(0, deviation, (image.height, image.width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def toned(name: str) -> Image.Image:
    gray = np.asarray(photograph(name).convert("L"), np.float64) / 255
    return Image.fromarray(np.stack([255 * gray**0.9, 235 * gray, 205 * gray], axis=-1).astype(np.uint8))


def framed(name: str, bar: int, colour: str, side: str = "left") -> Image.Image:
    image = photograph(name)
    left, top, right, bottom = (bar * (side == each) for each in ("left", "top", "right", "bottom"))
    whole = Image.new("RGB", (image.width + left + right, image.height + top + bottom), colour)
    whole.paste(image, (left, top))
    return whole


FIRES = [
    ("low_texture", lambda: on_plain_background("astronaut")),
    ("low_texture", lambda: on_plain_background("chelsea", noise=1.5)),
    ("low_texture", lambda: jpeg(on_plain_background("coffee"), 92)),
    ("low_texture", lambda: skimage.data.rocket()),
    ("low_texture", lambda: skimage.data.clock()),
    ("low_texture", lambda: Image.new("RGB", (4000, 3000), "navy")),
    ("high_texture", lambda: skimage.data.grass()),
    ("high_texture", lambda: skimage.data.gravel()),
    ("high_texture", lambda: noisy("astronaut", 20)),
    ("high_texture", lambda: noisy("flower", 20)),
    ("high_texture", lambda: np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)),
    ("grayscale", lambda: skimage.data.camera()),
    ("grayscale", lambda: skimage.data.coins()),
    ("grayscale", lambda: jpeg(photograph("china").convert("L"), 75)),
    ("grayscale", lambda: jpeg(photograph("motorcycle").convert("L").convert("RGB"), 75)),
    ("grayscale", lambda: toned("astronaut")),
    ("grayscale", lambda: jpeg(toned("chelsea"), 85)),
    ("small", lambda: photograph("astronaut").resize((255, 255))),
    ("small", lambda: scaled(photograph("china"), 0.4)),
    ("small", lambda: Image.new("RGB", (1, 1))),
    ("upscaled", lambda: enlarged("astronaut")),
    ("upscaled", lambda: enlarged("flower")),
    ("upscaled", lambda: jpeg(enlarged("coffee"), 85)),
    ("upscaled", lambda: scaled(photograph("chelsea"), 0.3).resize((2000, 1500), Image.Resampling.BILINEAR)),
    ("upscaled", lambda: photograph("motorcycle").filter(ImageFilter.GaussianBlur(6))),
    ("heavy_compression", lambda: jpeg(photograph("astronaut"), 60)),
    ("heavy_compression", lambda: jpeg(Image.new("RGB", (64, 64)), 30)),
    ("heavy_compression", lambda: load_image(jpeg(photograph("china"), 60)).image),
    ("heavy_compression", lambda: load_image(jpeg(photograph("flower"), 30)).image),
    ("heavy_compression", lambda: jpeg(load_image(jpeg(photograph("coffee"), 50)).image, 95)),
    ("heavy_compression", lambda: load_image(jpeg(photograph("chelsea"), 50)).image.crop((3, 5, 403, 285))),
    ("screenshot_or_text", lambda: text_page(800, 1000, 12)),
    ("screenshot_or_text", lambda: text_page(1600, 1200, 40)),
    ("screenshot_or_text", lambda: text_page(1200, 700, 20, ink=(220, 220, 220), paper=(20, 20, 25))),
    ("screenshot_or_text", lambda: jpeg(text_page(800, 1000, 12), 75)),
    ("screenshot_or_text", lambda: scaled(text_page(800, 1000, 12), 0.5)),
    ("screenshot_or_text", window),
    ("screenshot_or_text", lambda: jpeg(window(), 80)),
    ("screenshot_or_text", lambda: window().resize((2560, 1600), Image.Resampling.BILINEAR)),
    ("screenshot_or_text", lambda: skimage.data.logo()),
    ("screenshot_or_text", lambda: framed("coffee", 8, "white")),
    ("screenshot_or_text", lambda: framed("motorcycle", 5, "black", "bottom")),
    ("screenshot_or_text", lambda: jpeg(framed("chelsea", 60, "black", "top"), 80)),
    ("screenshot_or_text", lambda: framed("astronaut", 40, "gray", "right").resize((2000, 1855), BICUBIC)),
    ("extreme_aspect", lambda: photograph("china").crop((0, 0, 640, 300))),
    ("extreme_aspect", lambda: photograph("motorcycle").crop((0, 0, 240, 500))),
]
SILENT = [
    ("as it is", lambda image: image),
    ("JPEG 95", lambda image: jpeg(image, 95)),
    ("JPEG 80", lambda image: jpeg(image, 80)),
    ("JPEG 75, progressive, without subsampling", lambda image: jpeg(image, 75, progressive=True, subsampling=0)),
    ("three times as large", lambda image: image.resize((3 * image.width, 3 * image.height), BICUBIC)),
    ("as a phone delivers it", lambda image: jpeg(image.resize((2000, 1500), BICUBIC), 90)),
    ("mirrored", lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    ("on its side", lambda image: image.transpose(Image.Transpose.ROTATE_90)),
]


class TestWarnings:
    @pytest.mark.parametrize(("name", "make"), FIRES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(FIRES)])
    def test_fire_where_they_should(self, name, make):
        assert name in warned(make())

    @pytest.mark.parametrize("name", PHOTOGRAPHS)
    @pytest.mark.parametrize(("what", "change"), SILENT, ids=[what for what, _ in SILENT])
    def test_are_silent_on_ordinary_photographs(self, name, what, change):
        assert warned(change(photograph(name))) == ()

    def test_come_in_the_order_of_the_table_and_leave_the_picture_alone(self):
        image = Image.new("RGB", (900, 200), "gray")
        before = image.tobytes()
        assert warned(image) == ("low_texture", "grayscale", "small", "extreme_aspect")
        assert image.tobytes() == before
        assert list(WARNINGS)[:8] == [
            "low_texture",
            "high_texture",
            "grayscale",
            "small",
            "upscaled",
            "heavy_compression",
            "screenshot_or_text",
            "extreme_aspect",
        ]

    def test_a_picture_of_one_strong_colour_is_not_gray(self):
        assert "grayscale" not in warned(Image.new("RGB", (300, 300), "navy"))

    def test_a_few_coloured_letters_do_not_make_a_gray_picture_coloured(self):
        image = photograph("china").convert("L").convert("RGB")
        ImageDraw.Draw(image).rectangle((10, 10, 80, 30), fill="red")
        assert "grayscale" in warned(image)

    def test_noise_hides_a_plain_background(self):
        assert "low_texture" not in warned(on_plain_background("astronaut", noise=20))

    def test_a_photograph_that_fades_into_white_has_no_frame(self):
        pixels = np.asarray(photograph("coffee"), np.float64)
        share = np.linspace(0, 1, pixels.shape[1])[None, :, None].clip(0, 0.5) * 2
        faded = Image.fromarray((share * pixels + (1 - share) * 255).astype(np.uint8))
        assert "screenshot_or_text" not in warned(faded)

    @pytest.mark.parametrize("quality", range(1, 101, 3))
    def test_the_quality_in_the_file_decides_up_to_60(self, quality):
        loaded = load_image(jpeg(Image.new("RGB", (300, 300), "red"), quality))
        assert loaded.jpeg_quality == quality
        assert ("heavy_compression" in image_warnings(loaded)) == (quality <= 60)

    @pytest.mark.parametrize(
        "size", [(1, 1), (2, 9), (23, 23), (24, 24), (25, 400), (5, 3000), (70_000, 2), (257, 255)]
    )
    @pytest.mark.parametrize(
        "config", [ImageConfig(), ImageConfig(resize="stretch"), ImageConfig(views="whole_native")]
    )
    def test_no_size_is_too_odd(self, size, config):
        names = warned(Image.new("RGB", size, "teal"), config=config)
        assert set(names) <= set(WARNINGS)
        assert ("small" in names) == (min(size) < config.square_side)

    def test_what_is_small_depends_on_what_the_model_looks_at(self):
        image = photograph("astronaut").resize((300, 300))
        assert "small" not in warned(image)
        assert "small" in warned(image, config=ImageConfig(resize_to=384))
        assert "small" not in warned(image, config=ImageConfig(resize="stretch", resize_to=384))
        assert "small" in warned(image, config=ImageConfig(resize="stretch", resize_to=384, views="five"))

    def test_what_holds_the_detail_depends_on_what_the_model_looks_at(self):
        """Enlarged from 340 pixels: no loss to a model that looks at 256, a loss to one that looks at 1024."""
        image = scaled(photograph("motorcycle"), 0.68).resize((2000, 1350), BICUBIC)
        assert "upscaled" not in warned(image)
        assert "upscaled" in warned(image, config=ImageConfig(resize_to=1024))

    def test_the_centre_square_is_judged_and_not_what_lies_beside_it(self):
        square = Image.new("RGB", (1100, 512), "gray")
        square.paste(photograph("astronaut"), (294, 0))
        assert "low_texture" not in warned(square)
        assert "low_texture" in warned(square, config=ImageConfig(resize="stretch", size=256))

    def test_limits_can_be_set(self):
        loaded = load_image(photograph("china"))
        measures = measure_image(loaded.image)
        limits = dataclasses.replace(WarningLimits(), flat_share=measures.flat_share)
        assert image_warnings(loaded, limits=limits) == ("low_texture",)
        limits = dataclasses.replace(WarningLimits(), enlargement=0.5)
        assert image_warnings(loaded, limits=limits) == ("small",)

    @pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(WarningLimits)])
    def test_each_limit_is_reached_and_not_passed(self, field):
        """A measure on the limit warns, one just inside does not; the two strict ones the other way round."""
        limits = WarningLimits()
        name = re.search(rf"{field}: `(\w+)`", " ".join((WarningLimits.__doc__ or "").split())).group(1)
        quiet = ImageMeasures(256, 1.0, 0.0, 0.0, 99.0, 0.0, 1.0, 0.0, 0.0)
        assert warnings_of(quiet) == ()
        limit, outside = getattr(limits, field), {"colour_spread", "fine_detail", "grid_ratio"}
        if field == "jpeg_quality":
            assert warnings_of(quiet, limit) == (name,)
            assert warnings_of(quiet, limit + 1) == ()
        elif field == "enlargement":
            assert warnings_of(dataclasses.replace(quiet, short_side=255)) == (name,)
        elif field == "in_square":
            assert warnings_of(dataclasses.replace(quiet, in_square=limit)) == ()
            assert warnings_of(dataclasses.replace(quiet, in_square=limit - 1e-6)) == (name,)
        else:
            inside = limit + (1e-6 if field in outside else -1e-6)
            assert warnings_of(dataclasses.replace(quiet, **{field: limit})) == (name,)
            assert warnings_of(dataclasses.replace(quiet, **{field: inside})) == ()

    def test_a_measure_that_is_no_number_warns_of_nothing(self):
        nan = math.nan
        assert warnings_of(ImageMeasures(256, 1.0, nan, nan, nan, nan, nan, nan, 0.0)) == ()

    def test_every_name_has_one_plain_sentence(self):
        loaders = re.findall(
            r"``(animated_\w+|exif_\w+)``", (ROOT / "src/cinemae/pictures/image.py").read_text("utf-8")
        )
        assert set(loaders) <= set(WARNINGS)
        for name, sentence in WARNINGS.items():
            assert re.fullmatch(r"[a-z_]+", name)
            assert re.fullmatch(r"[A-Z][^`\n.]+\.", sentence), sentence
        assert explain(["small", "unheard_of"]) == (WARNINGS["small"], "unheard_of")
        assert explain([]) == ()


class TestMeasures:
    def test_flat_share_and_detail_floor_by_hand(self):
        """Half of the view is a checkerboard of +-10, half is flat: the mean of four neighbours is 20 away."""
        board = 128 + 10 * (1 - 2 * (np.indices((256, 256)).sum(axis=0) % 2))
        board[:, 128:] = 128
        measures = measure_image(Image.fromarray(board.astype(np.uint8)).convert("RGB"))
        assert measures.flat_share == 0.5
        assert measures.detail_floor == 0
        whole = measure_image(Image.fromarray(np.tile(board[:, :128], 2).astype(np.uint8)).convert("RGB"))
        assert whole.flat_share == 0
        assert whole.detail_floor == pytest.approx(20, abs=0.01)

    def test_fine_detail_is_the_ratio_of_two_waves(self):
        """A wave at 0.75 of the highest frequency and one at 0.375, of amplitudes 1 and 10: 1/100 of the power."""
        across = np.arange(256)
        wave = 1 * np.cos(np.pi * 0.75 * across) + 10 * np.cos(np.pi * 0.375 * across)
        rows = np.broadcast_to(128 + 8 * wave, (256, 256))
        pixels = rows + np.random.default_rng(0).uniform(-0.5, 0.5, rows.shape)  # rounding spreads, and forms no wave
        found = measure_image(Image.fromarray(np.rint(pixels).astype(np.uint8)).convert("RGB")).fine_detail
        cells = (1 - 0.6875**2) / (0.5**2 - 0.25**2)  # squares around 0: the finest band holds more cells
        assert found == pytest.approx(np.log10(1 / 100 / cells), abs=0.05)

    def test_grid_ratio_agrees_with_scipy(self):
        """A picture of one tile, so that every block can be transformed one by one."""
        image = load_image(jpeg(photograph("china").crop((100, 200, 196, 296)), 72)).image
        plane = np.asarray(image.convert("L"), np.float64)
        low = np.add.outer(range(8), range(8))
        chosen = (low > 0) & (low <= 5)

        def share(across, down):
            rows, columns = (96 - down) // 8, (96 - across) // 8
            sizes = [
                np.abs(dctn(plane[top : top + 8, left : left + 8], norm="ortho"))[chosen]
                / luminance_steps(GRID_QUALITY)[chosen]
                for top in range(down, down + 8 * rows, 8)
                for left in range(across, across + 8 * columns, 8)
            ]
            return np.mean((np.array(sizes) > 0.2) & (np.array(sizes) < 0.8))

        found = measure_image(image).grid_ratio
        assert found == pytest.approx(share(0, 0) / share(4, 4), rel=0.01)
        assert 0.1 < found < 0.9  # neither of the ends, where anything would agree

    @pytest.mark.parametrize("quality", [20, 40, 60])
    def test_grid_ratio_tells_compressed_from_not(self, quality):
        for name in PHOTOGRAPHS:
            image = photograph(name)
            assert measure_image(image).grid_ratio > 0.9
            assert measure_image(load_image(jpeg(image, quality)).image).grid_ratio < 0.1
            assert measure_image(load_image(jpeg(image, 90)).image).grid_ratio > 0.5

    @pytest.mark.parametrize("offset", [(0, 0), (1, 0), (0, 7), (4, 4), (6, 3)])
    def test_grid_ratio_finds_a_grid_that_a_crop_has_moved(self, offset):
        left, top = offset
        image = load_image(jpeg(photograph("astronaut"), 50)).image.crop((left, top, left + 480, top + 480))
        assert measure_image(image).grid_ratio < 0.1

    def test_hard_edges_by_hand(self):
        """One black line of 4 pixels in a white tile: two edges, each a step beside three pixels alike."""
        pixels = np.full((96, 96), 255, np.uint8)
        pixels[:, 40:44] = 0
        line = pixels[0].astype(int)
        even = [abs(line[i + 1] - line[i]) <= 2 for i in range(95)]
        flat = [even[i] and even[i + 1] for i in range(94)]
        step = [abs(line[i + 2] - line[i]) >= 48 for i in range(94)]
        edges = sum((flat[i] and step[i + 2]) or (step[i] and flat[i + 2]) for i in range(92))
        found = measure_image(Image.fromarray(pixels).convert("RGB")).hard_edges
        assert found == pytest.approx(edges / flat.count(False))
        assert edges > 0

    def test_colour_spread_by_hand(self):
        """Two colours of equal brightness, 4x4 and more: what is left is the length of their (R - Y, B - Y)."""
        pixels = np.zeros((256, 256, 3), np.uint8)
        pixels[:128], pixels[128:] = (140, 100, 100), (79, 120, 160)
        luma = pixels[[0, -1], 0].astype(float) @ (0.299, 0.587, 0.114)
        lengths = [np.hypot(pixels[at, 0, 0] - y, pixels[at, 0, 2] - y) for at, y in zip((0, -1), luma, strict=True)]
        assert luma.std() < 10
        assert measure_image(Image.fromarray(pixels)).colour_spread == pytest.approx(max(lengths), abs=0.01)

    def test_a_large_picture_measures_like_the_same_picture_shrunk(self):
        image = photograph("astronaut").resize((3000, 3000), BICUBIC)
        large, shrunk = measure_image(image), measure_image(image.resize((256, 256), BICUBIC))
        assert large.flat_share == pytest.approx(shrunk.flat_share, abs=0.02)
        assert large.detail_floor == pytest.approx(shrunk.detail_floor, abs=0.1)
        assert large.colour_spread == pytest.approx(shrunk.colour_spread, rel=0.02)
        assert large.fine_detail == pytest.approx(shrunk.fine_detail, abs=0.1)

    @pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
    @pytest.mark.parametrize("bar", [2, 10, 100])
    def test_a_bar_is_found_at_every_edge(self, side, bar):
        assert measure_image(framed("astronaut", bar, "white", side)).frame > 0.7
        assert measure_image(photograph("astronaut")).frame == 0


@pytest.fixture
def benchmark_module(monkeypatch):
    """Import modules of benchmarks/, which is no part of the package."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


class TestMeasurement:
    @pytest.mark.parametrize("name", ["astronaut", "coffee", "china"])
    def test_each_altered_picture_carries_the_warning_it_stands_for(self, benchmark_module, name):
        image = photograph(name).resize((256, 256), BICUBIC)
        for condition in benchmark_module("warning_conditions").CONDITIONS:
            if condition.name in {"noise=10", "toned", "screenshot=1", "screenshot=2", "jpeg=50+crop=0.9+jpeg=92"}:
                continue  # as a rule, not always
            altered = condition.change(image, "0f")
            assert condition.expects is None or condition.expects in warned(altered), condition.name
            assert altered.tobytes() == condition.change(image, "0f").tobytes()

    def test_difference_of_rates_is_newcombe_s(self, benchmark_module):
        """His example (a) of Table II, 56/70 against 48/80, and (h), 0/10 against 0/10."""
        difference = benchmark_module("image_warnings").difference_of_rates
        found = difference(rate(56, 70), rate(48, 80))
        assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
        found = difference(rate(0, 10), rate(0, 10))
        assert (found.value, found.low, found.high) == pytest.approx((0, -0.2775, 0.2775), abs=5e-5)


def test_the_page_on_warnings_is_what_the_record_gives(benchmark_module, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["warnings_page", "--check"])
    benchmark_module("warnings_page").main()  # ends the process if it is not


def test_every_warning_and_every_limit_is_on_the_page():
    page = (ROOT / "docs" / "warnings.md").read_text(encoding="utf-8")
    assert re.findall(r"^## `(\w+)`$", page, re.MULTILINE) == list(WARNINGS)
    for name, sentence in WARNINGS.items():
        assert f"## `{name}`\n\n{sentence}" in page
    for field in dataclasses.fields(WarningLimits):
        assert f"`{field.name}`" in page
