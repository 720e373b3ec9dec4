"""pictures/picture: a picture is opened, hashed and decoded once on its way to a verdict; read whole or refused."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from cinemae import Detector, load_image
from cinemae.detect.verdict_cache import VerdictCache
from cinemae.errors import ImageError
from cinemae.evidence.provenance import read_provenance
from cinemae.pictures.file_facts import read_facts
from cinemae.pictures.picture import MAX_BYTES, Picture

_opened: list[str] | None = None


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if _opened is not None and event == "open":
        _opened.append(str(arguments[0]))


sys.addaudithook(_hear)  # the interpreter tells of every file opened, whichever function opens it


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Callable[[], object]], dict[str, float]]:
    """Count how often a file is opened, hashed and decoded while something is done."""

    def count(path: Path, action: Callable[[], object]) -> dict[str, float]:
        global _opened
        found: dict[str, float] = Counter()
        size, sha256, file_digest = path.stat().st_size, hashlib.sha256, hashlib.file_digest

        def counted_sha256(data: bytes = b"", **options: bool) -> object:
            found["hashed"] += len(data) == size
            return sha256(data, **options)

        def counted_file_digest(*arguments: object) -> object:
            found["hashed"] += 1
            return file_digest(*arguments)

        class Counted(JpegImagePlugin.JpegImageFile):
            def load_prepare(self) -> None:
                found["decoded"] += 1
                super().load_prepare()

        with monkeypatch.context() as patch:
            patch.setattr(hashlib, "sha256", counted_sha256)
            patch.setattr(hashlib, "file_digest", counted_file_digest)
            patch.setattr(JpegImagePlugin, "JpegImageFile", Counted)
            _opened = []
            try:
                action()
                found["opened"] = _opened.count(str(path)) / _events_of_one_read(path)
            finally:
                _opened = None
        return found

    return count


def _events_of_one_read(path: Path) -> int:
    """Return how many events one read makes: this Python may tell of `os.open` and of the file object around it."""
    global _opened
    kept, _opened = _opened, []
    Picture.read(path)
    events, _opened = _opened.count(str(path)), kept
    return events


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0131] = "Midjourney v6"
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=80, exif=exif)
    return path


def test_a_picture_is_opened_hashed_and_decoded_once(tiny_model: Path, photo: Path, counts):
    detector = Detector.from_pretrained(tiny_model)
    cached = Detector(detector.scorer, cache=VerdictCache.open(None, tiny_model, detector.scorer))
    once = {"opened": 1, "hashed": 1, "decoded": 1}
    assert counts(photo, lambda: detector.detect(photo)) == once
    assert counts(photo, lambda: list(detector.detect_batch([photo]))) == once
    assert counts(photo, lambda: list(cached.detect_batch([photo]))) == once
    assert counts(photo, lambda: list(cached.detect_batch([photo]))) == {"opened": 1, "hashed": 1}
    [signal] = next(detector.detect_batch([photo])).provenance
    assert signal.value == "Midjourney v6"


def test_all_that_looks_at_a_picture_takes_it_as_it_was_read(photo: Path):
    picture = Picture.read(photo)
    expected = load_image(photo), read_facts(photo), read_provenance(photo)
    photo.unlink()
    found = load_image(picture), read_facts(picture), read_provenance(picture)
    assert found[1:] == expected[1:]
    assert found[2]
    first, second = (dataclasses.replace(one, image=None) for one in (found[0], expected[0]))
    assert first == second
    assert picture.content_hash == first.content_hash == hashlib.sha256(picture.data).hexdigest()


def test_a_path_a_buffer_and_a_file_object_hold_the_same(photo: Path):
    data = photo.read_bytes()
    given = [photo, str(photo), data, bytearray(data), memoryview(data), io.BytesIO(data)]
    pictures = [Picture.read(one) for one in given]
    assert [picture.data for picture in pictures] == [data] * 6
    assert [picture.path for picture in pictures] == [str(photo)] * 2 + [None] * 4
    picture = Picture.read(photo)
    assert Picture.read(picture) is picture


def test_what_is_too_long_is_refused_before_it_is_read(tmp_path: Path):
    with (tmp_path / "long.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ImageError, match="more than the 536,870,912 bytes allowed: give a smaller image"):
        Picture.read(tmp_path / "long.png")


def test_provenance_of_what_cannot_be_read_is_empty(tmp_path: Path):
    assert read_provenance(tmp_path / "missing.jpg") == ()
    assert read_provenance(tmp_path) == ()
