"""pictures/file_facts: headers alone, agreeing with load_image; the quality of every JPEG of libjpeg's tables."""

from __future__ import annotations

import io
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, JpegPresets

from cinemae.errors import ImageError
from cinemae.pictures.file_facts import FileFacts, estimate_jpeg_quality, read_facts
from cinemae.pictures.image import load_image
from cinemae.pictures.jpeg_quality import luminance_steps

FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF"]
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))


def encode(format: str, image: Image.Image = PICTURE, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def refusal(source) -> str:
    with pytest.raises(ImageError) as refused:
        read_facts(source)
    return str(refused.value)


def tables(quality: int, image: Image.Image = PICTURE) -> dict[int, list[int]]:
    """What libjpeg writes, read back by Pillow."""
    return Image.open(io.BytesIO(encode("JPEG", image, quality=quality))).quantization


class TestFacts:
    @pytest.mark.parametrize("format", FORMATS)
    def test_they_agree_with_the_loaded_picture(self, format, tmp_path):
        data = encode(format)
        path = tmp_path / "picture.img"
        path.write_bytes(data)
        loaded = load_image(data)
        facts = read_facts(path)
        assert facts == read_facts(str(path)) == read_facts(data)
        assert (facts.container, facts.width, facts.height, facts.num_bytes) == (format, 60, 40, len(data))
        assert (loaded.format, loaded.width, loaded.height, loaded.num_bytes) == (format, 60, 40, len(data))
        assert (facts.jpeg_quality is None) == (format != "JPEG")
        assert loaded.jpeg_quality == facts.jpeg_quality

    def test_heif(self):
        file = io.BytesIO()
        pillow_heif.from_pillow(PICTURE).save(file)
        assert read_facts(file.getvalue()) == FileFacts("HEIF", 60, 40, len(file.getvalue()), None)

    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_sizes_are_those_of_the_upright_picture(self, format, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encode(format, exif=exif)
        facts, loaded = read_facts(data), load_image(data)
        assert (facts.width, facts.height) == loaded.image.size
        assert (facts.width < facts.height) == (orientation >= 5)

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
    def test_damaged_exif_is_shown_as_stored(self):
        data = encode("JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
        assert (read_facts(data).width, read_facts(data).height) == (60, 40)

    @pytest.mark.parametrize("format", FORMATS)
    def test_no_pixel_is_decoded(self, format, monkeypatch):
        data = encode(format)

        def decode(self):
            raise RuntimeError("decoded")

        monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
        assert read_facts(data).width == 60

    def test_damage_after_the_header_is_not_seen(self):
        data = encode("JPEG", quality=80)
        cut = data[: data.index(b"\xff\xda") + 20]
        assert read_facts(cut) == FileFacts("JPEG", 60, 40, len(cut), 80)

    @pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files by Linux's /proc")
    def test_files_are_closed(self, tmp_path):
        for name, data in (("whole", encode("JPEG")), ("cut", encode("JPEG")[:30]), ("none", b"hello")):
            (tmp_path / name).write_bytes(data)
        before = len(list(Path("/proc/self/fd").iterdir()))
        read_facts(tmp_path / "whole")
        refusal(tmp_path / "cut")
        refusal(tmp_path / "none")
        assert len(list(Path("/proc/self/fd").iterdir())) == before


class TestJpegQuality:
    @pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
    def test_is_exact_where_libjpeg_s_tables_were_used(self, mode, options):
        image = PICTURE.convert(mode)
        found = [
            read_facts(encode("JPEG", image, quality=quality, **options)).jpeg_quality for quality in range(1, 101)
        ]
        assert found == list(range(1, 101))

    def test_a_loaded_picture_knows_it_as_long_as_it_is_as_it_was_opened(self):
        opened = Image.open(io.BytesIO(encode("JPEG", quality=55)))
        assert load_image(opened).jpeg_quality == 55
        assert load_image(opened.copy()).jpeg_quality is None
        assert load_image(opened.convert("L")).jpeg_quality is None
        assert load_image(np.asarray(opened)).jpeg_quality is None

    @pytest.mark.parametrize("quality", [1, 49, 50, 100])
    def test_steps_of_a_quality_are_those_that_libjpeg_writes(self, quality):
        assert luminance_steps(quality).ravel().tolist() == tables(quality)[0]

    def test_the_exact_table_is_found_by_comparison_as_well(self):
        """Every pair of tables differs, so nearest and equal are the same thing."""
        written = {tuple(tables(quality, PICTURE.convert("L"))[0]) for quality in range(1, 101)}
        assert len(written) == 100

    @pytest.mark.parametrize("quality", [10, 50, 75, 90])
    def test_disturbed_tables_are_near_the_undisturbed(self, quality):
        rng = np.random.default_rng(quality)
        luminance, chrominance = tables(quality).values()
        disturbed = [
            np.rint(np.array(table) * rng.uniform(0.9, 1.1, 64)).clip(1, 255).astype(int).tolist()
            for table in (luminance, chrominance)
        ]
        assert abs(estimate_jpeg_quality(*disturbed) - quality) <= 1

    def test_the_nearest_is_the_one_with_the_least_squares_of_logarithms(self):
        flat = [16] * 64
        written = [np.log(tables(quality, PICTURE.convert("L"))[0]) for quality in range(1, 101)]
        distances = [((table - np.log(flat)) ** 2).sum() for table in written]
        assert estimate_jpeg_quality(flat) == int(np.argmin(distances)) + 1

    def test_photoshop_s_tables_rise_with_their_names(self):
        names = ["low", "medium", "high", "maximum"]
        found = [read_facts(encode("JPEG", qtables=JpegPresets.presets[n]["quantization"])).jpeg_quality for n in names]
        assert found == sorted(set(found))
        assert found[0] > 50
        assert found[-1] >= 94

    def test_one_table_for_all_components_is_luminance(self):
        data = encode("JPEG", qtables=[tables(60)[0]])
        assert read_facts(data).jpeg_quality == 60

    def test_tables_are_taken_by_component_and_not_by_number(self):
        data = bytearray(encode("JPEG", quality=70, subsampling=0))
        for place in _dqt_places(data):
            data[place + 4] ^= 1  # tables 0 and 1 change their numbers ...
        frame = data.index(b"\xff\xc0")
        for component in range(3):
            data[frame + 12 + 3 * component] ^= 1  # ... and the components name them anew
        assert Image.open(io.BytesIO(data)).quantization[1] == tables(70)[0]
        assert read_facts(bytes(data)).jpeg_quality == 70

    def test_a_table_that_is_missing_or_zero_is_no_crash(self):
        data = bytearray(encode("JPEG"))
        zeros, missing = bytearray(data), bytearray(data)
        start = _dqt_places(data)[0]
        zeros[start + 5 : start + 69] = bytes(64)
        assert 1 <= read_facts(bytes(zeros)).jpeg_quality <= 100
        missing[missing.index(b"\xff\xc0") + 12] = 3
        assert read_facts(bytes(missing)).jpeg_quality is None

    def test_sixteen_bit_tables(self):
        data = encode("JPEG", PICTURE.convert("L"), quality=30)
        start = _dqt_places(data)[0]
        steps = struct.unpack("64B", data[start + 5 : start + 69])
        wide = struct.pack(">2sHB64H", b"\xff\xdb", 131, 0x10, *steps)
        assert read_facts(data[:start] + wide + data[start + 69 :]).jpeg_quality == 30


def _dqt_places(data: bytes) -> list[int]:
    """Where the segments of one quantisation table each begin."""
    places = [at for at in range(len(data)) if data[at : at + 4] == b"\xff\xdb\x00\x43"]
    assert places
    return places


class TestRefusals:
    def test_what_is_no_picture(self, tmp_path):
        path = tmp_path / "notes.jpg"
        path.write_text("hello")
        assert refusal(path) == (
            "an image must be one of JPEG, PNG, WEBP, GIF, TIFF, BMP, PPM, JPEG2000, AVIF, HEIF, but image file "
            f"'{path}' began with b'hello': convert it first."
        )

    def test_empty_missing_and_irregular_files(self, tmp_path):
        assert refusal(b"") == "the byte string given is empty (0 bytes): give a complete image."
        assert refusal(tmp_path / "none.png") == (
            f"the header of image file '{tmp_path / 'none.png'}' could not be read (No such file or directory): check "
            "that it is a whole picture, and that this user may read it."
        )
        assert refusal(tmp_path) == (
            f"image file '{tmp_path}' is a directory, not a regular file: give the path of one image."
        )
        os.mkfifo(tmp_path / "fifo.png")
        assert "is a FIFO (named pipe), not a regular file" in refusal(tmp_path / "fifo.png")
        assert "could not be read (embedded null byte)" in refusal("a\0b")

    def test_more_pixels_than_are_ever_loaded(self):
        data = bytearray(encode("BMP", Image.new("RGB", (4, 4))))
        data[18:26] = struct.pack("<ii", 40_000, 40_000)
        assert "has 40000x40000 = 1,600,000,000 pixels, more than the 178,956,970 allowed" in refusal(bytes(data))

    @pytest.mark.parametrize("format", FORMATS)
    def test_files_cut_short_give_facts_or_one_sentence(self, format):
        data = encode(format)
        for length in range(1, min(len(data), 900), 7):
            _facts_or_sentence(data[:length])

    @settings(max_examples=150)
    @given(
        format=st.sampled_from(FORMATS),
        changes=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=8),
    )
    def test_changed_bytes_give_facts_or_one_sentence(self, format, changes):
        data = bytearray(encode(format))
        for place, value in changes:
            data[place % len(data)] = value
        _facts_or_sentence(bytes(data))


def _facts_or_sentence(data: bytes) -> None:
    sentence = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow says of damaged metadata
        try:
            facts = read_facts(data)
        except ImageError as error:
            sentence = str(error)
    if sentence is None:
        assert min(facts.width, facts.height) >= 1
        assert facts.num_bytes == len(data)
    else:
        assert sentence.endswith(".")
        assert "\n" not in sentence
