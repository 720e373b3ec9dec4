"""pictures/image: every oddity of real picture files ends in an upright RGB picture or in one sentence."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import struct
import sys
import threading
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import skimage.data
from PIL import Image, PngImagePlugin

from cinemae.config import ImageConfig
from cinemae.core.preprocess import preprocess
from cinemae.errors import CinemaeError, ConfigError, ImageError
from cinemae.pictures import image as image_module
from cinemae.pictures import picture as module
from cinemae.pictures.image import load_image

ASTRONAUT = Image.fromarray(skimage.data.astronaut()).resize((96, 64))
GRADIENT = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
SAVE = {
    "JPEG": {"quality": 95},
    "PNG": {},
    "WEBP": {"lossless": True},
    "GIF": {},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
    "PPM": {},
    "JPEG2000": {},
    "AVIF": {"quality": 95, "speed": 10},
}
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


def encode(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **{**SAVE.get(format, {}), **options})
    return file.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def refusal(source, **options) -> str:
    """Load what must be refused, in a thread that fails the test if it hangs, and return the sentence."""
    outcome: list[BaseException | None] = []

    def attempt() -> None:
        try:
            load_image(source, **options)
            outcome.append(None)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(timeout=30)
    assert outcome, "load_image hangs"
    assert isinstance(outcome[0], ImageError), outcome
    sentence = str(outcome[0])
    assert "\n" not in sentence
    assert sentence.isascii()
    assert sentence.endswith(".")
    assert " at 0x" not in sentence
    assert len(sentence) < 700
    return sentence


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = png_chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + rows + png_chunk(b"IEND", b"")


# --- what is read


@pytest.mark.parametrize("format", SAVE)
def test_each_format_is_read_whatever_its_name(format: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.txt"
    path.write_bytes(encode(ASTRONAUT, format))
    loaded = load_image(path)
    assert (loaded.format, loaded.width, loaded.height, loaded.warnings) == (format, 96, 64, ())
    assert (loaded.image.mode, loaded.image.size, loaded.image.info) == ("RGB", (96, 64), {})
    assert loaded.num_bytes == path.stat().st_size
    assert loaded.content_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    difference = np.abs(pixels(loaded.image).astype(int) - pixels(ASTRONAUT)).mean()
    assert difference < (12 if format == "GIF" else 6)
    if format in ("PNG", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000"):
        assert difference == 0


def test_every_kind_of_source_gives_the_same_picture(tmp_path: Path) -> None:
    data = encode(ASTRONAUT, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    file = io.BytesIO(b"skipped" + data)
    file.seek(7)
    sources = [path, str(path), data, bytearray(data), memoryview(data), memoryview(data + b"")[::1], file]
    for source in sources:
        loaded = load_image(source)
        assert loaded.content_hash == hashlib.sha256(data).hexdigest()
        assert np.array_equal(pixels(loaded.image), pixels(ASTRONAUT))
    assert not file.closed
    with path.open("rb", buffering=0) as raw:
        assert load_image(raw).num_bytes == len(data)


def test_heif_is_read_without_registering_it_with_pillow() -> None:
    registered = "HEIF" in Image.OPEN  # another library may have done it
    file = io.BytesIO()
    pillow_heif.from_pillow(ASTRONAUT).save(file, quality=90)
    loaded = load_image(file.getvalue())
    assert (loaded.format, loaded.width, loaded.height, loaded.warnings) == ("HEIF", 96, 64, ())
    assert np.abs(pixels(loaded.image).astype(int) - pixels(ASTRONAUT)).mean() < 8
    assert ("HEIF" in Image.OPEN) == registered


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "JPEG", "AVIF"])
def test_exif_orientation_is_applied_once(orientation: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(ASTRONAUT, format, exif=exif)
    expected = UPRIGHT[orientation](pixels(ASTRONAUT))
    loaded = load_image(data)
    assert (loaded.height, loaded.width) == expected.shape[:2] == loaded.image.size[::-1]
    difference = np.abs(pixels(loaded.image).astype(int) - expected).mean()
    assert difference < (6 if format in ("JPEG", "AVIF") else 0.001)
    assert np.array_equal(pixels(load_image(loaded.image).image), pixels(loaded.image))
    assert np.array_equal(pixels(load_image(Image.open(io.BytesIO(data))).image), pixels(loaded.image))


def test_unreadable_exif_is_a_warning_not_a_refusal() -> None:
    loaded = load_image(encode(ASTRONAUT, "PNG", exif=b"Exif\0\0neither of the two byte orders"))
    assert loaded.warnings == ("exif_unreadable",)
    assert np.array_equal(pixels(loaded.image), pixels(ASTRONAUT))


def test_truncated_exif_of_a_jpeg_brings_no_warning_of_a_library() -> None:
    exif = Image.Exif()
    exif[0x010F] = "a maker with a long name"
    data = encode(ASTRONAUT, "JPEG", exif=exif.tobytes()[:20])
    assert load_image(data).width == 96


def test_cmyk() -> None:
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    for format in ("TIFF", "JPEG"):
        colour = pixels(load_image(encode(ink, format)).image)[4, 4].astype(int)
        assert np.abs(colour - (255, 0, 0)).max() <= 3, format


def test_palette_with_and_without_transparency() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    for format in ("PNG", "GIF"):
        assert pixels(load_image(encode(picture, format)).image).tolist() == [[[255, 0, 0], [0, 0, 255]]]
        seen = load_image(encode(picture, format, transparency=1)).image
        assert pixels(seen).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    partly = load_image(encode(picture, "PNG", transparency=bytes([255, 0]))).image
    assert pixels(partly).tolist() == [[[255, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_composited_over_white(format: str) -> None:
    picture = Image.new("RGBA", (3, 1), (200, 0, 0, 255))
    picture.putpixel((1, 0), (200, 0, 0, 0))
    picture.putpixel((2, 0), (200, 0, 0, 51))
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    seen = pixels(load_image(encode(picture, format, **options)).image).astype(int)
    assert np.abs(seen - [[[200, 0, 0], [255, 255, 255], [244, 204, 204]]]).max() <= 1
    assert seen[0, 0].tolist() == [200, 0, 0]


def test_grey_bilevel_grey_alpha_and_transparent_colour() -> None:
    assert pixels(load_image(encode(Image.new("1", (1, 1), 1), "PNG")).image).tolist() == [[[255] * 3]]
    assert pixels(load_image(encode(Image.new("L", (1, 1), 7), "PNG")).image).tolist() == [[[7] * 3]]
    assert pixels(load_image(encode(Image.new("LA", (1, 1), (7, 0)), "PNG")).image).tolist() == [[[255] * 3]]
    keyed = encode(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert pixels(load_image(keyed).image).tolist() == [[[255] * 3]]


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB", "RGBX", "RGBa", "La", "PA"])
def test_rare_pil_modes(mode: str) -> None:
    base = ASTRONAUT.convert({"RGBa": "RGBA", "La": "LA", "PA": "P"}.get(mode, "RGB"))
    made = Image.new("LAB", (9, 5), (128, 0, 0)) if mode == "LAB" else base.convert(mode)
    loaded = load_image(made)
    assert loaded.image.mode == "RGB"
    assert loaded.image.size == made.size


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_keep_the_high_byte(format: str) -> None:
    values = np.array([[0, 255, 256, 128 * 257, 65_535]], np.uint16)
    seen = pixels(load_image(encode(Image.fromarray(values), format)).image)
    assert seen[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_mode_i_is_sixteen_bits_and_big_endian_tiff_too() -> None:
    wide = Image.fromarray(np.array([[0, 300, 65_535]], np.int32))
    assert pixels(load_image(wide).image)[0, :, 0].tolist() == [0, 1, 255]
    big = Image.fromarray(np.array([[0, 300, 65_535]], ">u2"))
    assert pixels(load_image(big).image)[0, :, 0].tolist() == [0, 1, 255]
    sentence = refusal(encode(Image.fromarray(np.array([[0, 70_000]], np.int32)), "TIFF"))
    assert "int32 values, which must lie in 0 to 65535, got 0 to 70000: scale them" in sentence


def test_floating_point_files_lie_in_zero_to_one() -> None:
    data = encode(Image.fromarray(np.array([[0, 0.5, 1]], np.float32)), "TIFF")
    assert pixels(load_image(data).image)[0, :, 0].tolist() == [0, 128, 255]
    assert "must lie in 0 to 1, got 0 to 255" in refusal(Image.fromarray(np.array([[0, 255]], np.float32)))
    assert "holds NaN or infinite values" in refusal(Image.fromarray(np.array([[0, np.nan]], np.float32)))
    assert "holds NaN or infinite values" in refusal(Image.fromarray(np.array([[0, np.inf]], np.float32)))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_animations_show_their_first_frame_with_a_warning(format: str) -> None:
    data = encode(ASTRONAUT, format, save_all=True, append_images=[Image.new("RGB", ASTRONAUT.size, "lime")])
    loaded = load_image(data)
    assert loaded.warnings == ("animated_first_frame",)
    assert np.abs(pixels(loaded.image).astype(int) - pixels(ASTRONAUT)).mean() < 12
    opened = Image.open(io.BytesIO(data))
    assert load_image(opened).warnings == ("animated_first_frame",)
    opened.seek(1)
    second = load_image(opened)
    assert second.warnings == ("animated_other_frame",)
    assert np.abs(pixels(second.image).astype(int) - (0, 255, 0)).mean() < 6
    assert opened.tell() == 1


def test_extra_pictures_of_phone_jpegs_are_no_animation() -> None:
    data = encode(ASTRONAUT, "MPO", save_all=True, append_images=[Image.new("RGB", (96, 64), "lime")])
    loaded = load_image(data)
    assert (loaded.format, loaded.warnings) == ("JPEG", ())
    assert load_image(Image.open(io.BytesIO(data))).warnings == ()
    assert np.abs(pixels(loaded.image).astype(int) - pixels(ASTRONAUT)).mean() < 12


# --- PIL images and arrays


def test_a_pil_image_is_hashed_by_its_pixels_and_left_alone() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    opened = Image.open(io.BytesIO(encode(ASTRONAUT, "PNG", exif=exif)))
    loaded = load_image(opened)
    assert (loaded.format, loaded.num_bytes) == ("PNG", None)
    assert opened.size == (96, 64)
    assert opened.getexif()[0x0112] == 6
    expected = hashlib.sha256(b"RGB 64x96\n" + np.ascontiguousarray(np.rot90(pixels(ASTRONAUT), -1)).tobytes())
    assert loaded.content_hash == expected.hexdigest()
    assert load_image(pixels(loaded.image)).content_hash == expected.hexdigest()
    drawn = Image.new("RGB", (5, 5))
    load_image(drawn).image.putpixel((0, 0), (9, 9, 9))
    assert drawn.getpixel((0, 0)) == (0, 0, 0)


def test_what_was_drawn_on_an_open_gif_survives() -> None:
    frames = [Image.new("P", (8, 8), colour) for colour in (0, 1)]
    for frame in frames:
        frame.putpalette([0, 0, 0, 255, 0, 0])
        frame.putpixel((0, 0), 1)
    opened = Image.open(io.BytesIO(encode(frames[0], "GIF", save_all=True, append_images=frames[1:])))
    opened.load()
    opened.putpixel((3, 3), 1)
    loaded = load_image(opened)
    assert loaded.warnings == ("animated_first_frame",)
    assert loaded.image.getpixel((3, 3)) == (255, 0, 0)
    assert opened.getpixel((3, 3)) == 1


def test_pil_images_that_cannot_be_read() -> None:
    opened = Image.open(io.BytesIO(encode(ASTRONAUT, "JPEG")[:900]))
    assert refusal(opened).startswith("the PIL image given could not be decoded (image file is truncated")
    closed = Image.open(io.BytesIO(encode(ASTRONAUT, "PNG")))
    closed.close()
    assert refusal(closed).startswith("the PIL image given could not be decoded")
    assert "has no pixels (0x5): give an image of at least 1x1" in refusal(Image.new("RGB", (0, 5)))
    assert "has 40x30 = 1,200 pixels, more than the 1,199 allowed" in refusal(
        Image.new("RGB", (40, 30)), max_pixels=1199
    )


@pytest.mark.parametrize(
    "array",
    [
        GRADIENT,
        GRADIENT[:, :, :1],
        GRADIENT[:, :, 0],
        GRADIENT[::-1, ::-1],
        GRADIENT.astype(np.uint16) * 257,
        (GRADIENT.astype(np.uint16) * 257).astype(">u2"),
        GRADIENT.astype(np.float16) / 255,
        GRADIENT.astype(np.float32) / 255,
        GRADIENT / 255,
        np.dstack([GRADIENT, np.full((4, 6), 255, np.uint8)]),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_arrays(array: np.ndarray) -> None:
    before = array.copy()
    loaded = load_image(array)
    assert (loaded.format, loaded.num_bytes, loaded.width, loaded.height) == (None, None, 6, 4)
    flipped = GRADIENT[::-1, ::-1] if array.strides[0] < 0 else GRADIENT
    expected = flipped if array.ndim == 3 and array.shape[2] > 1 else np.repeat(flipped[:, :, :1], 3, 2)
    assert np.array_equal(pixels(loaded.image), expected)
    assert np.array_equal(array, before)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 6), bool), "uint8, uint16 or float in [0, 1], got bool: convert it first"),
        (np.zeros((4, 6), np.int64), "got int64"),
        (np.zeros((4, 6), np.uint32), "got uint32"),
        (np.zeros((4, 6), complex), "got complex128"),
        (np.array([["a"]], object), "got object"),
        (np.zeros((3, 40, 60), np.uint8), "got (3, 40, 60): the channels seem to come first, so transpose it with"),
        (np.zeros((2, 4, 6, 3), np.uint8), "got (2, 4, 6, 3): pass one image at a time"),
        (np.zeros(5, np.uint8), "got (5,): convert it to one of these"),
        (np.zeros((4, 6, 2), np.uint8), "got (4, 6, 2): convert it to one of these"),
        (np.zeros((0, 6), np.uint8), "has no pixels (6x0)"),
        (np.full((4, 6), -0.1), "must lie in 0 to 1, got -0.1 to -0.1"),
        (np.full((4, 6), 255.0), "must lie in 0 to 1, got 255 to 255: scale them"),
        (np.full((4, 6), np.nan), "holds NaN or infinite values: clean the data"),
    ],
)
def test_arrays_refused(array: np.ndarray, words: str) -> None:
    assert words in refusal(array)


def test_huge_arrays_are_refused_before_they_are_touched() -> None:
    huge = np.broadcast_to(np.zeros((1, 1), np.uint8), (60_000, 60_000))
    assert "60000x60000 = 3,600,000,000 pixels, more than the 178,956,970 allowed" in refusal(huge)


# --- what is refused


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", "the byte string given is empty (0 bytes): give a complete image"),
        (b"hello, world", "but the byte string given began with b'hello, world': convert it first"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "an image must be one of JPEG, PNG, WEBP"),
        (io.BytesIO(), "the file object given is empty"),
        (io.StringIO("text"), "the file object given must give bytes, got str: open it in binary mode, 'rb'"),
        (None, "a path, bytes, a binary file object, a PIL image or a NumPy array, got NoneType: convert it first"),
        (7, "got int"),
        ([1, 2], "got list"),
    ],
)
def test_sources_that_hold_no_image(source: object, words: str) -> None:
    assert words in refusal(source)


@pytest.mark.parametrize("format", SAVE)
@pytest.mark.parametrize("kept", [0.3, 0.8])
def test_truncated_files(format: str, kept: float) -> None:
    data = encode(ASTRONAUT, format)
    sentence = refusal(data[: int(len(data) * kept)])
    assert f"is {format} by its first bytes, but the rest is damaged, incomplete or of a variety not read (" in sentence
    assert sentence.endswith("): save it again from the original.")


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    assert f"but image file {str(text)!r} began with b'not a pictur'" in refusal(text)
    (tmp_path / "empty.png").touch()
    assert "is empty (0 bytes): give a complete image" in refusal(tmp_path / "empty.png")
    assert "(No such file or directory): check the path, which must lead to a local file" in refusal("no such.png")
    assert "(File name too long)" in refusal("x" * 5000)
    assert "null" in refusal("a\0b.png")
    assert "is a directory, not a regular file: give the path of one image" in refusal(tmp_path)
    assert "is a device, not a regular file" in refusal("/dev/zero")
    assert refusal("")

    def deny(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(module, "_open_without_waiting", deny)
    assert "(Permission denied): check the path, which must lead to a local file that this user" in refusal(text)


def test_fifo_socket_and_loop_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    assert "is a FIFO (named pipe), not a regular file" in refusal(tmp_path / "fifo.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "fifo.jpg")
    assert "is a FIFO (named pipe)" in refusal(tmp_path / "link.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert "could not be read (Too many levels of symbolic links)" in refusal(tmp_path / "loop.jpg")
    (tmp_path / "around").symlink_to(tmp_path)
    assert "is a directory" in refusal(tmp_path / "around" / "around")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(tmp_path / "s"))
        assert "is a socket" in refusal(tmp_path / "s")


def test_a_file_swapped_for_a_fifo_after_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    regular = tmp_path / "a.png"
    regular.write_bytes(encode(ASTRONAUT, "PNG"))
    status = regular.stat()
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(module, "os", type("Os", (), {**vars(os), "stat": staticmethod(lambda path: status)}))
    assert "is a FIFO" in refusal(str(tmp_path / "fifo"))


@pytest.mark.parametrize("after", [b"", b"longer than it was" * 100_000])
def test_a_file_that_changes_while_it_is_read(after: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(ASTRONAUT, "PNG"))

    def fstat(descriptor: int) -> os.stat_result:
        status = os.fstat(descriptor)
        path.write_bytes(after)
        return status

    monkeypatch.setattr(module, "os", type("Os", (), {**vars(os), "fstat": staticmethod(fstat)}))
    assert "changed while it was read: wait until it is written, then try again" in refusal(path)


def test_names_with_newlines_and_undecodable_bytes(tmp_path: Path) -> None:
    for name in (b"new\nline.png", b"not utf-8 \xff.png", "ünï.png".encode()):
        path = os.fsdecode(os.path.join(os.fsencode(tmp_path), name))  # noqa: PTH118
        Path(path).write_bytes(encode(ASTRONAUT, "PNG"))
        assert load_image(path).width == 96
        Path(path).write_bytes(b"nothing")
        with pytest.raises(ImageError) as caught:
            load_image(path)
        assert "\n" not in str(caught.value)
        assert str(caught.value).encode()  # can be printed and stored
    assert "could not be read" in refusal("lone \ud800 surrogate")


def test_large_files_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(module.MAX_BYTES + 1)
    assert "has more than the 536,870,912 bytes allowed: give a smaller image" in refusal(path)
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    assert "more than the 100 bytes allowed" in refusal(b"x" * 101)
    assert "more than the 100 bytes allowed" in refusal(io.BytesIO(b"x" * 101))


def test_file_objects_that_fail() -> None:
    class Failing(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise RuntimeError("the network\nis gone")

    assert refusal(Failing()).startswith("the file object given could not be read (the network is gone): open it anew")
    closed = io.BytesIO(b"x")
    closed.close()
    assert "could not be read (I/O operation on closed file" in refusal(closed)

    class Interrupted(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_image(Interrupted())


# --- bombs


def test_bombs_are_refused_by_their_header() -> None:
    assert "60000x60000 = 3,600,000,000 pixels, more than the 178,956,970 allowed" in refusal(png(60_000, 60_000))
    jpeg = bytearray(encode(ASTRONAUT, "JPEG"))
    start = jpeg.index(b"\xff\xc0") + 5
    jpeg[start : start + 4] = struct.pack(">HH", 65_000, 65_000)
    assert "65000x65000" in refusal(bytes(jpeg))
    gif = bytearray(encode(ASTRONAUT, "GIF"))
    gif[6:10] = struct.pack("<HH", 65_000, 65_000)
    assert "65000x65000" in refusal(bytes(gif))
    assert "more than the 5 allowed: scale it down, or raise max_pixels" in refusal(png(2, 3), max_pixels=5)


def test_zero_sized_files() -> None:
    assert refusal(png(0, 0))
    assert refusal(b"P6 0 0 255\n")
    assert refusal(b"GIF89a" + bytes(20))


def test_text_chunk_bombs_are_not_unpacked() -> None:
    body = b"zTXt-key\0\0" + zlib.compress(bytes(2**24))
    tracemalloc.start()
    assert load_image(png(2, 2, png_chunk(b"zTXt", body))).width == 2
    assert load_image(png(2, 2, *[png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**20)))] * 80)).width == 2
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22


def test_pillows_own_warning_neither_shows_nor_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)  # 96 x 64 lies between Pillow's warning and its refusal
    for format in sorted(set(SAVE) - {"TIFF"}):  # whose reader warns by itself
        assert load_image(encode(ASTRONAUT, format)).width == 96


def test_pillows_own_refusal_names_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Image.Image) -> None:
        raise Image.DecompressionBombError("Image size exceeds limit")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    sentence = refusal(encode(ASTRONAUT, "PNG"))
    assert sentence.endswith("(Image size exceeds limit): scale it down, or raise PIL.Image.MAX_IMAGE_PIXELS.")


def test_threads_share_no_setting() -> None:
    good, bomb = encode(ASTRONAUT, "PNG"), png(60_000, 60_000)
    filters, limit = list(warnings.filters), Image.MAX_IMAGE_PIXELS

    def one(i: int) -> bool:
        try:
            load_image(bomb if i % 2 else good, max_pixels=96 * 64 - (i % 4 == 2))
        except ImageError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(200))) == [i % 4 == 0 for i in range(200)]
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == (filters, limit)


def test_missing_decoders_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for brands in (b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heix", b"hevc\0\0\0\0msf1hevc"):
        data = struct.pack(">I", 24) + b"ftyp" + brands + bytes(50)
        assert "is HEIF, which needs a plugin: run `pip install 'cinemae[heif]'`." in refusal(data)
    monkeypatch.setattr(image_module.features, "check", lambda name: False)
    data = encode(ASTRONAUT, "AVIF")
    assert "is AVIF, which this Pillow was built without: `pip install --upgrade pillow`." in refusal(data)
    video = struct.pack(">I", 20) + b"ftypisom" + bytes(4) + b"mp42"
    assert "an image must be one of" in refusal(video + b"avif in the middle of a video")


def test_the_error_is_one_of_the_family() -> None:
    with pytest.raises(CinemaeError) as caught:
        load_image(encode(ASTRONAUT, "PNG")[:100])
    assert isinstance(caught.value, ValueError)
    assert caught.value.__cause__ is not None


# --- preprocess

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def _reference_preprocess(image: Image.Image, config: ImageConfig, size: tuple[int, int]) -> np.ndarray:
    """Scale the whole picture, then crop its centre, in float64."""
    scaled = np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float64) / 255
    top, left = (scaled.shape[0] - config.size) // 2, (scaled.shape[1] - config.size) // 2
    crop = scaled[top : top + config.size, left : left + config.size]
    return ((crop - config.mean) / config.std).transpose(2, 0, 1)[None]


@pytest.mark.parametrize(
    ("size", "scaled"), [((512, 512), (256, 256)), ((768, 512), (384, 256)), ((96, 64), (384, 256))]
)
def test_preprocess_is_scale_then_centre_crop(size: tuple[int, int], scaled: tuple[int, int]) -> None:
    image = Image.fromarray(skimage.data.astronaut()).resize(size)
    for picture, to in ((image, scaled), (image.transpose(Image.Transpose.ROTATE_90), scaled[::-1])):
        pixel_values = preprocess(picture, ImageConfig())
        assert (pixel_values.dtype, pixel_values.shape) == (np.float32, (1, 3, 224, 224))
        assert pixel_values.flags.c_contiguous
        np.testing.assert_allclose(pixel_values, _reference_preprocess(picture, ImageConfig(), to), atol=1e-5)


def test_preprocess_leaves_a_picture_of_the_right_size_alone() -> None:
    image = Image.fromarray(skimage.data.astronaut()[:301, :256])
    seen = preprocess(image, ImageConfig(**PLAIN))[0].transpose(1, 2, 0) * 255
    np.testing.assert_allclose(seen, pixels(image)[22 + 16 : 22 + 16 + 224, 16:240], atol=1e-4)


def test_preprocess_five_views() -> None:
    image = Image.fromarray(skimage.data.astronaut()[:256, :256])
    views = preprocess(image, ImageConfig(views="five", **PLAIN)).transpose(0, 2, 3, 1) * 255
    assert views.shape == (5, 224, 224, 3)
    for view, (top, left) in zip(views, [(16, 16), (0, 0), (0, 32), (32, 0), (32, 32)], strict=True):
        np.testing.assert_allclose(view, pixels(image)[top : top + 224, left : left + 224], atol=1e-4)


def test_preprocess_stretch() -> None:
    image = Image.fromarray(skimage.data.astronaut()[:300, :100])
    config = ImageConfig(resize="stretch")
    np.testing.assert_allclose(preprocess(image, config), _reference_preprocess(image, config, (224, 224)), atol=1e-5)
    five = ImageConfig(resize="stretch", views="five")
    np.testing.assert_allclose(preprocess(image, five)[:1], _reference_preprocess(image, five, (256, 256)), atol=1e-5)
    with pytest.raises(ConfigError, match=r"resize_to must be at least size \(224\), got 200"):
        ImageConfig(resize="stretch", views="five", resize_to=200)


@pytest.mark.parametrize("resize", ["shortest_edge", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000), (1_000_000, 1), (3, 1_000_000)])
def test_preprocess_extreme_shapes(resize: str, size: tuple[int, int]) -> None:
    pixel_values = preprocess(Image.new("RGB", size, (10, 20, 30)), ImageConfig(resize=resize, views="five", **PLAIN))
    assert pixel_values.shape == (5, 3, 224, 224)
    np.testing.assert_allclose(
        pixel_values * 255, np.broadcast_to(np.array([10, 20, 30])[:, None, None], pixel_values.shape), atol=1e-4
    )


def test_preprocess_refuses_what_load_image_did_not_make() -> None:
    with pytest.raises(ImageError, match="needs an RGB image of at least 1x1 pixels, got mode L, 9x9: pass it through"):
        preprocess(Image.new("L", (9, 9)), ImageConfig())
    with pytest.raises(ImageError, match="got mode RGB, 0x9"):
        preprocess(Image.new("RGB", (0, 9)), ImageConfig())


def test_preprocess_tiles_cover_the_square_row_by_row() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    config = ImageConfig(size=32, resize_to=64, views="tiles", mean=(0, 0, 0), std=(1, 1, 1))
    tiles = preprocess(image, config).transpose(0, 2, 3, 1) * 255
    assert tiles.shape == (4, 32, 32, 3)
    whole = np.vstack([np.hstack([tiles[0], tiles[1]]), np.hstack([tiles[2], tiles[3]])])
    assert np.array_equal(whole.round().astype(np.uint8), np.asarray(image))


def test_preprocess_recompresses_as_pillow_does() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92, subsampling="4:2:0")
    config = ImageConfig(size=64, resize_to=64, jpeg_quality=92, mean=(0, 0, 0), std=(1, 1, 1))
    pixels = preprocess(image, config)[0].transpose(1, 2, 0) * 255
    assert np.array_equal(pixels.round().astype(np.uint8), np.asarray(Image.open(buffer)))


def test_tiles_that_do_not_fit_and_a_quality_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="tiles need a resize_to that is a multiple of size"):
        ImageConfig(size=64, resize_to=100, views="tiles")
    with pytest.raises(ConfigError, match="jpeg_quality must be from 1 to 100"):
        ImageConfig(jpeg_quality=0)
