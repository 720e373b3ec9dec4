"""An unexpected error in measuring, scoring or reading metadata is the row of that image, and of no other."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from cinemae.config import ImageConfig
from cinemae.detect import detector as detector_module
from cinemae.detect.detector import Detector
from cinemae.errors import ConfigError
from cinemae.evaluation import pictures as evaluation_pictures
from cinemae.evaluation.pictures import load_row
from cinemae.evidence.image_measures import measure_image
from cinemae.features import extract as extract_module
from cinemae.features.extract import decode_record
from cinemae.sources.records import ImageRecord

CASES = Path(__file__).parents[1] / "cases"
SENTENCE = re.compile(
    r"^an unexpected ZeroDivisionError \(error ([0-9a-f]{8})\) kept this image from being examined: the log explains "
    r"it under that id; please report both\.$"
)


@pytest.fixture(scope="module")
def detector(tiny_model) -> Detector:
    return Detector.from_pretrained(tiny_model, num_threads=1)


def _breaks_on_small(function):
    """Return the function, which then fails for the pictures of 24 pixels."""

    def broken(given, *arguments, **options):
        size = getattr(given, "image", given).size
        if size == (24, 24):
            raise ZeroDivisionError("made for a test")
        return function(given, *arguments, **options)

    return broken


def _pictures(folder: Path) -> list[str]:
    paths = []
    for index, side in enumerate((64, 24, 80)):
        paths.append(str(folder / f"{index}.png"))
        Image.effect_noise((side, side), 50).convert("RGB").save(paths[-1])
    return paths


@pytest.mark.parametrize("broken", ["measuring", "preprocessing", "metadata"])
@pytest.mark.parametrize("stable", [False, True])
def test_an_unexpected_error_of_one_image_is_its_row(broken, stable, detector, tmp_path, monkeypatch, caplog):
    paths = _pictures(tmp_path)
    if broken == "metadata":
        read = detector_module.read_provenance

        def failing(picture, **options):
            if picture.path == paths[1]:
                raise ZeroDivisionError("made for a test")
            return read(picture, **options)

        monkeypatch.setattr(detector_module, "read_provenance", failing)
    else:
        name = {"measuring": "image_warnings", "preprocessing": "preprocess"}[broken]
        monkeypatch.setattr(detector_module, name, _breaks_on_small(getattr(detector_module, name)))
    with caplog.at_level(logging.ERROR):
        verdicts = list(detector.detect_batch(paths, stable=stable))
    assert [verdict.status for verdict in verdicts] == ["ok", "error", "ok"]
    number = SENTENCE.match(verdicts[1].error_message)[1]
    [record] = [one for one in caplog.records if number in one.getMessage()]
    assert record.exc_info[0] is ZeroDivisionError
    assert paths[1] not in record.getMessage()


@pytest.mark.parametrize("one_by_one", [True, False])
def test_a_scorer_that_fails_on_one_image_scores_the_others(one_by_one, detector, tmp_path, monkeypatch):
    paths = _pictures(tmp_path)
    Image.new("RGB", (64, 64), "white").save(paths[1])

    class Picky:
        def __init__(self) -> None:
            self.one_by_one = one_by_one

        def __getattr__(self, name: str):
            return getattr(detector.scorer, name)

        def score(self, pixel_values, **options):
            if (np.ptp(pixel_values, axis=(1, 3, 4)) == 0).all(1).any():
                raise ZeroDivisionError("made for a test")
            return detector.scorer.score(pixel_values, **options)

    verdicts = list(Detector(Picky()).detect_batch(paths))
    assert [verdict.status for verdict in verdicts] == ["ok", "error", "ok"]
    assert SENTENCE.match(verdicts[1].error_message)


def test_what_the_caller_did_wrong_is_still_raised(detector, tmp_path, monkeypatch):
    def wrong(*_: object) -> None:
        raise ConfigError("a setting is wrong.")

    monkeypatch.setattr(detector_module, "preprocess", wrong)
    with pytest.raises(ConfigError):
        list(detector.detect_batch(_pictures(tmp_path)))


def test_extract_and_evaluate_keep_a_row(tmp_path, monkeypatch):
    record = ImageRecord(_pictures(tmp_path)[1], 0)
    monkeypatch.setattr(extract_module, "preprocess", _breaks_on_small(extract_module.preprocess))
    row, pixels = decode_record(record, ImageConfig())
    assert pixels is None
    assert SENTENCE.match(row.error_message)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(evaluation_pictures, "load_image", broken)
    row, loaded = load_row(record)
    assert loaded is None
    assert SENTENCE.match(row["error_message"])


# --- no picture is too plain to be measured and scored

_SIDES = st.integers(1, 40)
_GRAYS = st.integers(0, 255)


@st.composite
def _arrays(draw) -> np.ndarray:
    height, width = draw(st.sampled_from([(1, draw(_SIDES)), (draw(_SIDES), 1), (draw(_SIDES), draw(_SIDES))]))
    kind = draw(st.sampled_from(["constant", "halves", "columns", "any"]))
    if kind == "any":
        return draw(hnp.arrays(np.uint8, (height, width)))
    values = np.full((height, width), draw(_GRAYS), np.uint8)
    other = draw(_GRAYS)
    if kind == "halves":
        values[:, width // 2 :] = other
    elif kind == "columns":
        values[:, ::2] = other
    return values


_MODES = (
    "1",
    "L",
    "P",
    "RGB",
    "RGBA",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "LA",
    "PA",
    "RGBX",
    "RGBa",
    "La",
    "I;16",
)


@given(_arrays(), st.sampled_from(_MODES), st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_pictures_of_every_mode_are_scored_or_have_a_row(detector, array, mode, scale):
    image = Image.fromarray(array)
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    if mode in ("RGBa", "La", "PA", "LAB", "HSV", "YCbCr"):
        image = image.convert({"La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode, "RGB"))
    if mode == "LAB":
        image = Image.merge("LAB", image.split())
    elif mode == "I;16":
        image = Image.fromarray(np.asarray(image, np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(image, np.float32) / 255)
    else:
        image = image.convert(mode)
    [verdict] = detector.detect_batch([image])
    if mode == "I":
        assert verdict.status == "ok" or "8 bits" in verdict.error_message
    else:
        assert verdict.status == "ok", verdict.error_message


def test_pictures_of_two_grays_are_measured():
    for low in range(0, 256, 21):
        for high in range(0, 256, 17):
            array = np.full((64, 64, 3), low, np.uint8)
            array[:, 32:] = high
            measures = measure_image(Image.fromarray(array))
            assert 0 <= measures.colour_spread < 1
    assert measure_image(Image.open(CASES / "two_grays_crash.png").convert("RGB")).short_side == 64
