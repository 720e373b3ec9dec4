from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw

from cinemae.config import ImageConfig, LcasReference
from cinemae.core.preprocess import preprocess
from cinemae.detect.heatmap import MAX_SIDE, MIN_SIDE, lcas_levels, render_heatmap, view_box
from cinemae.errors import ModelDirError

REFERENCE = LcasReference(levels=(0.0, 0.5, 1.0), values=(-1.0, 0.0, 3.0))
WHOLE = (0.0, 0.0, 1.0, 1.0)
PLAIN = ImageConfig(mean=(0, 0, 0), std=(1, 1, 1))


def _gradient(width: int, height: int) -> Image.Image:
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8))


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (640, 641), (224, 224), (101, 1000)])
@pytest.mark.parametrize(
    "config",
    [
        PLAIN,
        ImageConfig(size=224, resize_to=224, mean=(0, 0, 0), std=(1, 1, 1)),
        ImageConfig(views="five", mean=(0, 0, 0), std=(1, 1, 1)),
        ImageConfig(resize="stretch", mean=(0, 0, 0), std=(1, 1, 1)),
        ImageConfig(resize="stretch", views="five", mean=(0, 0, 0), std=(1, 1, 1)),
        ImageConfig(views="whole_native", mean=(0, 0, 0), std=(1, 1, 1)),
    ],
)
def test_the_box_is_what_preprocess_looks_at(size: tuple[int, int], config: ImageConfig):
    image = _gradient(*size)
    left, top, right, bottom = view_box(*size, config)
    box = (left * size[0], top * size[1], right * size[0], bottom * size[1])
    cut = image.resize((config.size, config.size), Image.Resampling.BICUBIC, box=box)
    expected = preprocess(image, config)[0].transpose(1, 2, 0) * 255
    assert np.abs(np.asarray(cut, float) - expected).mean() < 1


def test_tiles_cover_the_square():
    config = ImageConfig(views="tiles", resize_to=448, mean=(0, 0, 0), std=(1, 1, 1))
    image = _gradient(300, 200)
    left, top, right, bottom = view_box(300, 200, config)
    cut = image.resize((448, 448), Image.Resampling.BICUBIC, box=(left * 300, top * 200, right * 300, bottom * 200))
    tiles = preprocess(image, config).transpose(0, 2, 3, 1) * 255
    whole = np.block([[[tiles[0]], [tiles[1]]], [[tiles[2]], [tiles[3]]]])
    assert np.abs(np.asarray(cut, float) - whole).mean() < 1
    assert view_box(300, 200, ImageConfig(resize="stretch", views="tiles", resize_to=448)) == WHOLE


def test_levels_are_percentiles_of_the_reference():
    levels = lcas_levels(np.array([[-5.0, -1.0, -0.5], [0.0, 1.5, 9.0]]), REFERENCE)
    assert levels.tolist() == [[0, 0, 0.25], [0.5, 0.75, 1]]


@pytest.mark.parametrize(
    "reference",
    [
        LcasReference(),
        LcasReference(levels=(0.0,), values=(1.0,)),
        LcasReference(levels=(0.0, 1.0), values=(1.0,)),
        LcasReference(levels=(0.0, 1.0), values=(1.0, 0.0)),
        LcasReference(levels=(1.0, 0.0), values=(0.0, 1.0)),
    ],
)
def test_a_model_without_reference_is_refused(reference: LcasReference):
    with pytest.raises(ModelDirError, match=r"reference quantiles .* train it again"):
        render_heatmap(_gradient(64, 64), np.zeros((2, 2)), reference, WHOLE)


def test_the_colour_scale_is_fixed():
    """A patch is drawn the same whatever the other patches of its picture are."""
    grey = Image.new("RGB", (512, 512), (128, 128, 128))
    calm = np.asarray(render_heatmap(grey, np.zeros((2, 2)), REFERENCE, WHOLE))
    mixed = np.asarray(render_heatmap(grey, np.array([[0.0, -1.0], [3.0, 0.0]]), REFERENCE, WHOLE))
    np.testing.assert_array_equal(calm[100, 100], mixed[100, 100])
    assert not np.array_equal(mixed[100, 100], mixed[100, 400])
    assert mixed[400, 100].mean() > mixed[100, 100].mean() > mixed[100, 400].mean()  # harder is brighter


def test_colours_are_cividis():
    """Sequential, told apart with every kind of colour vision, neither red nor green."""
    grey = Image.new("RGB", (512, 512), "black")
    at = np.linspace(-1, 3, 9)
    drawn = np.asarray(render_heatmap(grey, at[None].repeat(2, 0), REFERENCE, WHOLE), float)
    found = drawn[100, np.arange(9) * 512 // 9 + 20] / 0.7
    expected = matplotlib.colormaps["cividis"](np.interp(at, (-1, 0, 3), (0, 0.5, 1)))[:, :3] * 255
    np.testing.assert_allclose(found, expected, atol=4)


def test_only_the_scored_part_is_coloured():
    image = Image.new("RGB", (900, 600), (200, 40, 40))
    config = ImageConfig(size=224, resize_to=224)
    drawn = np.asarray(render_heatmap(image, np.full((14, 14), 3.0), REFERENCE, view_box(900, 600, config)), int)
    assert drawn.shape[1] == 900
    red = drawn[:600, :, 0] - drawn[:600, :, 1]
    assert red[300, 20] > 50
    assert red[300, 880] > 50  # the picture's own colour, paled
    assert abs(red[300, 450]) < 50
    assert drawn[300, 450, 2] < 120  # yellow


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (40, 30), (4000, 3000), (1024, 1024)])
def test_any_picture_fits_on_a_sheet(size: tuple[int, int]):
    box = view_box(*size, ImageConfig())
    sheet = render_heatmap(Image.new("RGB", size, "white"), np.zeros((14, 14)), REFERENCE, box)
    assert sheet.mode == "RGB"
    assert MIN_SIDE <= max(sheet.size) <= MAX_SIDE + 200


def test_without_its_legend_a_map_has_the_proportions_of_the_picture():
    image = _gradient(900, 600)
    sheet, bare = (
        render_heatmap(image, np.zeros((14, 14)), REFERENCE, WHOLE, legend=legend) for legend in (True, False)
    )
    assert bare.size == (900, 600)
    assert np.array_equal(np.asarray(sheet)[:600], np.asarray(bare))
    assert render_heatmap(_gradient(30, 90), np.zeros((2, 2)), REFERENCE, WHOLE, legend=False).size == (171, 512)


def test_holes_are_drawn_grey():
    lcas_map = np.array([[np.nan, 3.0], [3.0, 3.0]])
    sheet = render_heatmap(Image.new("RGB", (512, 512), "black"), lcas_map, REFERENCE, WHOLE)
    red, green, blue = sheet.getpixel((100, 100))
    assert red == green == blue


def test_no_word_in_the_picture_judges_it(monkeypatch: pytest.MonkeyPatch):
    words: list[str] = []
    text = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, xy, text_, *rest, **more: (words.append(text_), text(self, xy, text_, *rest, **more)),
    )
    render_heatmap(_gradient(300, 200), np.zeros((14, 14)), REFERENCE, view_box(300, 200, ImageConfig()))
    said = " ".join(words).lower()
    assert "hard to predict from context" in said
    assert "percentile among patches of photographs" in said
    for word in ("fake", "real", "generated", "ai ", "manipulated", "artificial"):
        assert word not in said
