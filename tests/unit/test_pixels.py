"""pictures/decoding: every variety of PNG, TIFF, PNM and JPEG 2000 is decoded as another decoder does, or refused."""

from __future__ import annotations

import io
import itertools
import re
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import skimage.data
import tifffile
from PIL import Image, ImageCms
from tests.unit.tiff_writer import BLACK_IS_ZERO, CMYK, PALETTE, RGB, WHITE_IS_ZERO, Tiff

from cinemae.errors import ImageError
from cinemae.pictures import tiff_tags
from cinemae.pictures.file_facts import read_facts
from cinemae.pictures.image import load_image

CASES = Path(__file__).parents[1] / "cases"
HEIGHT, WIDTH = 21, 37
RNG = np.random.default_rng(5)


def pixels(source: bytes | Path) -> np.ndarray:
    image = load_image(source).image
    facts = read_facts(source)
    assert (facts.width, facts.height) == image.size
    return np.asarray(image)


def eight_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the reference: the high byte of 16 bits, else the nearest."""
    scaled = values >> 8 if bits == 16 else np.floor(values.astype(np.float64) * 255 / ((1 << bits) - 1) + 0.5)
    return scaled.astype(np.uint8)


def random_samples(bits: int, count: int) -> np.ndarray:
    return RNG.integers(0, 1 << bits, (HEIGHT, WIDTH, count))


# --- the cases that went wrong

RIGHT = {
    "gray12.tif": {(5, 5): (64,) * 3, (60, 5): (191,) * 3},
    "gray16_whiteiszero_le.tif": {(5, 5): (191,) * 3, (60, 5): (63,) * 3},
    "gray16_trns.png": {(5, 5): (255,) * 3, (60, 5): (192,) * 3},
    "gray4_trns.png": {(5, 5): (255,) * 3, (60, 5): (204,) * 3},
    "palette_8bit_colormap.tif": {(5, 5): (250, 10, 10), (60, 5): (10, 10, 250)},
    "rgb16_planar_be_1.tif": {(5, 5): (64, 128, 192)},
    "thumb_first.dng": {(5, 5): (0, 200, 0)},
    **{
        f"png_{damage}.png": {(5, 5): (10, 120, 230)}
        for damage in (
            "iccp_2mb", "ztxt_2mb", "itxt_2mb", "bad_crc_text", "phys_short", "srgb_empty", "gama_crc", "no_plte_extra",
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("file", RIGHT)
def test_a_case_that_went_wrong_is_read_right(file):
    image = load_image(CASES / file).image
    for place, colour in RIGHT[file].items():
        assert image.getpixel(place) == colour
    assert image.size == (64, 64)


def test_a_jpeg_without_end_marker_is_whole():
    colour = np.asarray(load_image(CASES / "jpeg_trunc_tail.jpg").image).astype(int)
    assert np.abs(colour - (10, 120, 230)).max() <= 2


def test_an_empty_file_is_refused_in_one_sentence():
    with pytest.raises(ImageError, match=r"^image file '[^']*zero.jpg' is empty \(0 bytes\): give a complete image.$"):
        load_image(CASES / "zero.jpg")


# --- TIFF


def _tiffs(photometric: int, count: int, extra: tuple[int, ...] = (), **fixed):
    depths = (1, 2, 4, 8) if photometric == PALETTE else range(1, 17)
    layouts = itertools.product(depths, "<>", (False, True), (0, 16), (1, 5, 8, 32773))
    for bits, order, planar, tile, compression in layouts:
        if planar and count == 1:
            continue
        for predictor in (1, 2) if bits in (8, 16) and compression in (5, 8) and photometric != PALETTE else (1,):
            yield Tiff(bits, photometric, order, False, planar, tile, compression, predictor, extra, **fixed)


@pytest.mark.parametrize(
    ("photometric", "count"), [(WHITE_IS_ZERO, 1), (BLACK_IS_ZERO, 1), (RGB, 3), (CMYK, 4)], ids=str
)
def test_tiffs_of_every_depth_and_layout(photometric: int, count: int):
    for variety in _tiffs(photometric, count):
        samples = random_samples(variety.bits, count)
        data = variety.write(samples)
        colours = eight_bits(samples, variety.bits)
        if photometric == WHITE_IS_ZERO:
            colours = 255 - colours
        expected = np.asarray(Image.fromarray(colours, "CMYK").convert("RGB")) if count == 4 else colours
        assert np.array_equal(pixels(data), np.broadcast_to(expected, (HEIGHT, WIDTH, 3))), variety


@pytest.mark.parametrize("order", "<>")
def test_the_writer_of_these_tiffs_is_right_by_another_reader(order: str):
    for variety in itertools.chain(_tiffs(BLACK_IS_ZERO, 1), _tiffs(RGB, 3)):
        if variety.order != order or (variety.predictor == 2 and variety.bits == 16 and variety.planar):
            continue
        samples = random_samples(variety.bits, 1 if variety.photometric == BLACK_IS_ZERO else 3)
        if variety.tile and variety.bits not in (8, 16) and samples.shape[2] == 1:
            continue  # tifffile takes the rows of such tiles for padded ones
        seen = tifffile.imread(io.BytesIO(variety.write(samples)))
        seen = np.moveaxis(seen, 0, -1) if variety.planar else seen
        assert np.array_equal(seen.astype(int).reshape(samples.shape), samples), variety


def test_palettes_of_16_and_of_8_bits():
    for variety in _tiffs(PALETTE, 1):
        palette = RNG.integers(0, 256, (3, 1 << variety.bits))
        palette[0, 0] = 255
        samples = random_samples(variety.bits, 1)
        for scale in (257, 1):
            written = Tiff(**{**vars(variety), "colours": tuple((palette * scale).ravel().tolist())}).write(samples)
            assert np.array_equal(pixels(written), palette.T[samples[..., 0]]), (variety, scale)


def test_big_tiff_and_alpha_over_white():
    for bits, kind, planar, order in itertools.product((4, 8, 12, 16), (1, 2), (False, True), "<>"):
        for photometric, count in ((RGB, 3), (BLACK_IS_ZERO, 1)):
            alpha = random_samples(bits, 1)
            colour = random_samples(bits, count)
            colour = np.minimum(colour, alpha) if kind == 1 else colour
            variety = Tiff(bits, photometric, order=order, big=True, planar=planar, extra=(kind,))
            seen = pixels(variety.write(np.concatenate([colour, alpha], axis=2))).astype(float)
            top = (1 << bits) - 1
            share = alpha / top
            expected = (colour / top if kind == 1 else colour / top * share) * 255 + 255 * (1 - share)
            assert np.abs(seen - expected).max() <= 3, variety


@pytest.mark.parametrize("extra", [(0,), (0, 0), (0, 2), (999,), (2, 0, 0)])
@pytest.mark.parametrize(("photometric", "count"), [(BLACK_IS_ZERO, 1), (RGB, 3), (CMYK, 4)])
@pytest.mark.parametrize("predictor", [1, 2])
def test_more_samples_than_colours(photometric: int, count: int, extra: tuple[int, ...], predictor: int):
    samples = random_samples(8, count + len(extra))
    samples[..., count] = 255  # opaque, where it is alpha
    variety = Tiff(8, photometric, compression=8, predictor=predictor, extra=extra)
    alone = Tiff(8, photometric).write(samples[..., :count])
    assert np.array_equal(pixels(variety.write(samples)), pixels(alone))


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_palettes_and_inks_with_alpha_over_white(bits: int):
    samples, alpha = random_samples(min(bits, 8), 1), random_samples(bits, 1)
    share = alpha / ((1 << bits) - 1)
    palette = RNG.integers(1, 256, (3, 1 << bits))
    written = Tiff(bits, PALETTE, colours=tuple((palette * 257).ravel().tolist()), extra=(2,))
    seen = pixels(written.write(np.concatenate([samples, alpha], axis=2))).astype(float)
    assert np.abs(seen - (palette.T[samples[..., 0]] * share + 255 * (1 - share))).max() <= 2
    inks = random_samples(bits, 4)
    for kind in (1, 2):
        given = np.floor(inks * share).astype(inks.dtype) if kind == 1 else inks
        seen = pixels(Tiff(bits, CMYK, extra=(kind,)).write(np.concatenate([given, alpha], axis=2))).astype(float)
        free = 1 - given / ((1 << bits) - 1)
        over = free[..., :3] * free[..., 3:] * 255
        assert np.abs(seen - (over if kind == 1 else over * share + 255 * (1 - share))).max() <= 3


@pytest.mark.parametrize("variety", ["signed", "float", "mixed", "short palette", "predictor", "cut", "LERC"])
def test_tiffs_that_are_refused(variety: str):
    samples = random_samples(8, 3)
    data = {
        "signed": lambda: Tiff().write(samples, t339=(3, (2, 2, 2))),
        "float": lambda: Tiff(16).write(random_samples(16, 3), t339=(3, (3, 3, 3))),
        "mixed": lambda: Tiff(16).write(random_samples(16, 3), t258=(3, (5, 6, 5))),
        "short palette": lambda: Tiff(8, PALETTE, colours=(1,) * 30).write(random_samples(8, 1)),
        "predictor": lambda: Tiff(12, compression=8).write(random_samples(12, 3), t317=(3, (2,))),
        "LERC": lambda: Tiff().write(samples, t259=(3, (34887,))),
        "cut": lambda: Tiff(16, strip_rows=HEIGHT).write(random_samples(16, 3), t257=(4, (HEIGHT + 9,))),
    }[variety]()
    with pytest.raises(ImageError, match=r"is TIFF by its first bytes, but the rest is .*\.$") as refusal:
        load_image(data)
    assert variety != "LERC" or "(compression 34887)" in str(refusal.value)


def _thumbnail_first(main: tuple[int, int], place: str) -> bytes:
    thumbnail = Tiff().directory(np.full((16, 16, 3), 200), t254=(4, (1,)))
    picture = Tiff().directory(np.full((40, 60, 3), 30), t254=(4, (main[0],)), t262=(3, (main[1],)))
    return Tiff().join([thumbnail, picture], {0: [1]} if place == "inner" else None)


@pytest.mark.parametrize("place", ["inner", "next"])
def test_a_thumbnail_is_not_the_picture(place: str):
    seen = pixels(_thumbnail_first((0, RGB), place))
    assert seen.shape == (40, 60, 3)
    assert (seen == 30).all()


def test_pyramids_and_masks_are_not_the_picture_and_no_pages():
    picture = Tiff().directory(np.full((40, 60, 3), 30))
    smaller = Tiff().directory(np.full((20, 30, 3), 200), t254=(4, (1,)))
    mask = Tiff(1, BLACK_IS_ZERO).directory(np.ones((80, 80, 1), int), t254=(4, (4,)))
    loaded = load_image(Tiff().join([picture, smaller, mask]))
    assert (loaded.width, loaded.height, loaded.warnings) == (60, 40, ())
    assert load_image(Tiff().join([picture, smaller, mask], {0: [1]})).width == 60
    with pytest.raises(ImageError, match="marked as a thumbnail"):
        load_image(Tiff().join([smaller]))


@pytest.mark.parametrize("photometric", [32803, 34892])
def test_what_a_sensor_recorded_is_developed_or_refused_and_never_its_thumbnail(photometric: int, monkeypatch):
    data = _thumbnail_first((0, photometric), "inner")
    with pytest.raises(ImageError, match="is TIFF by its first bytes, but the rest is"):
        load_image(data)  # LibRaw finds too little in it
    monkeypatch.setitem(__import__("sys").modules, "rawpy", None)
    with pytest.raises(ImageError, match=re.escape("needs rawpy: `pip install 'cinemae[raw]'`")):
        load_image(data)


def _dng() -> tuple[bytes, np.ndarray]:
    """Return a raw file of a gray ramp on an RGGB sensor behind a thumbnail, and the ramp."""
    ramp = np.repeat(np.linspace(500, 60_000, 96).astype(int)[None], 64, 0)
    thumbnail = Tiff().directory(
        np.full((16, 16, 3), 200),
        t254=(4, (1,)),
        t271=(2, tuple(b"cinemae\0")),
        t272=(2, tuple(b"drawn\0")),
        t50706=(1, (1, 4, 0, 0)),
        t50707=(1, (1, 1, 0, 0)),
        t50708=(2, tuple(b"drawn\0")),
    )
    sensor = Tiff(16, 32803, strip_rows=64).directory(
        ramp[..., None],
        t254=(4, (0,)),
        t33421=(3, (2, 2)),
        t33422=(1, (0, 1, 1, 2)),
        t50717=(4, (65_535,)),
    )
    return Tiff().join([thumbnail, sensor], {0: [1]}), ramp


def test_a_camera_raw_file_is_developed():
    data, ramp = _dng()
    seen = np.asarray(load_image(data).image)
    assert seen.shape == (64, 96, 3)
    assert read_facts(data).width == 96
    brightness = seen.mean(axis=(0, 2))
    assert np.corrcoef(brightness[4:-4], ramp[0, 4:-4] ** (1 / 2.2))[0, 1] > 0.97


# --- PNG


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(samples: np.ndarray, depth: int, colour: int, *before: bytes) -> bytes:
    height, width, _ = samples.shape
    if depth == 16:
        rows = samples.reshape(height, -1).astype(">u2").view(np.uint8)
    else:
        single = (samples.reshape(height, -1, 1) >> np.arange(depth - 1, -1, -1)) & 1
        rows = np.packbits(single.reshape(height, -1).astype(np.uint8), axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


PNGS = [(0, d) for d in (1, 2, 4, 8, 16)] + [
    (2, 8),
    (2, 16),
    (3, 1),
    (3, 2),
    (3, 4),
    (3, 8),
    (4, 8),
    (4, 16),
    (6, 8),
    (6, 16),
]


@pytest.mark.parametrize(("colour", "depth"), PNGS)
@pytest.mark.parametrize("keyed", [False, True])
def test_pngs_of_every_depth(colour: int, depth: int, keyed: bool):
    count = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    samples = random_samples(depth, count)
    before, shown = [], eight_bits(samples, depth)
    hidden = np.zeros((HEIGHT, WIDTH, 1), bool)
    if colour == 3:
        palette = RNG.integers(0, 256, (1 << depth, 3))
        before.append(chunk(b"PLTE", palette.astype(np.uint8).tobytes()))
        shown = palette[samples[..., 0]].astype(np.uint8)
    if keyed and colour in (0, 2):
        near = samples[3, 4].copy()
        near[-1] ^= 1  # in the lowest bit, which 8 bits of 16 do not show
        samples[5, 6] = near
        before.append(chunk(b"tRNS", samples[3, 4].astype(">u2").tobytes()))
        hidden = (samples == samples[3, 4]).all(-1, keepdims=True)
        assert not hidden[5, 6]
        shown = eight_bits(samples, depth)
    if keyed and colour == 3:
        before.append(chunk(b"tRNS", b"\0"))
        hidden = samples == 0
    alpha = shown[..., -1:] / 255.0 if colour in (4, 6) else 1.0 - hidden
    colours = shown[..., :-1] if colour in (4, 6) else shown
    expected = colours * alpha + 255 * (1 - alpha)
    data = png(samples, depth, colour, *before)
    assert np.abs(pixels(data).astype(float) - expected).max() <= 1
    if depth >= 8 and colour != 3 and not keyed:
        reference = imagecodecs.png_decode(data).reshape(samples.shape)
        assert np.array_equal(reference, samples)


@pytest.mark.parametrize(
    "name", [b"gAMA", b"sRGB", b"cHRM", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"bKGD", b"tIME"]
)
@pytest.mark.parametrize("damage", ["crc", "empty", "long", "bomb"])
def test_damage_beside_the_pixels_of_a_png_refuses_nothing(name: bytes, damage: str):
    samples = random_samples(8, 3)
    body = {
        "crc": b"\1\2\3",
        "empty": b"",
        "long": b"\xff" * 5000,
        "bomb": b"k\0\0" + zlib.compress(bytes(2**23)),
    }[damage]
    broken = chunk(name, body)
    broken = broken[:-4] + b"\0\0\0\0" if damage == "crc" else broken
    assert np.array_equal(pixels(png(samples, 8, 2, broken)), samples)
    assert np.array_equal(pixels(png(samples, 8, 2)[:-12]), samples)  # without the end


def test_pngs_that_miss_rows_are_refused():
    data = png(random_samples(8, 3), 8, 2)
    for end in range(len(data) // 2, len(data) - 30, 97):
        with pytest.raises(ImageError, match="is PNG by its first bytes, but the rest is"):
            load_image(data[:end])


# --- JPEG

ASTRONAUT = Image.fromarray(skimage.data.astronaut()[:100, :150])


def jpeg(image: Image.Image = ASTRONAUT, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}, {"quality": 20}], ids=str
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_is_whole_or_refused_wherever_it_is_cut(options: dict, mode: str):
    data = jpeg(ASTRONAUT.convert(mode), **options)
    whole = pixels(data)
    assert np.array_equal(pixels(data[:-2]), whole)
    assert np.array_equal(pixels(data[:-1]), whole)
    for end in (*range(len(data) // 2, len(data) - 40, 301), len(data) - 40):
        ended = end < len(data) - 200 and "progressive" not in options  # a part of the last block is no row
        for tail in (b"", b"\xff\xd9") if ended else (b"",):
            with pytest.raises(ImageError, match="is JPEG by its first bytes, but the rest is"):
                load_image(data[:end] + tail)


@pytest.mark.parametrize("restarts", [0, 1])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_progressive_jpeg_is_refused_where_a_scan_breaks_off(mode: str, restarts: int):
    data = jpeg(ASTRONAUT.convert(mode), progressive=True, restart_marker_rows=restarts)
    scans = [match.start() for match in re.finditer(rb"\xff\xda", data)]
    assert len(scans) > 5
    for scan in scans:
        begin = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
        end = re.compile(rb"\xff[^\x00\xd0-\xd7]").search(data, begin).start()
        for part in (0.3, 0.7):
            broken = data[: begin + int((end - begin) * part)] + b"\xff\xd9"
            if as_viewers_show(broken) != as_viewers_show(data[:end] + b"\xff\xd9"):
                with pytest.raises(ImageError, match="is JPEG by its first bytes, but the rest is"):
                    load_image(broken)
            else:
                assert end - begin < 40  # of a plane in which nothing is drawn


def as_viewers_show(data: bytes) -> bytes:
    return Image.open(io.BytesIO(data)).tobytes()


def test_a_progressive_jpeg_that_ends_before_its_last_scans_is_read_as_viewers_show_it():
    data = jpeg(progressive=True)
    tables = [match.start() for match in re.finditer(rb"\xff\xc4", data)]
    shorter = data[: tables[-1]] + b"\xff\xd9"  # the last scan and its table are not there
    assert shorter.count(b"\xff\xda") == data.count(b"\xff\xda") - 1
    assert np.array_equal(pixels(shorter), np.asarray(Image.open(io.BytesIO(shorter)).convert("RGB")))
    assert not np.array_equal(pixels(shorter), pixels(data))
    with pytest.raises(ImageError):
        load_image(shorter[:-2])  # without an end marker nobody says that no more was to come


def test_a_gray_corner_is_no_missing_row():
    gray = Image.new("RGB", (64, 48), (128, 128, 128))
    assert (pixels(jpeg(gray)) == 128).all()


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


@pytest.mark.parametrize(
    "damage",
    [
        segment(0xE0, b""),
        segment(0xE0, b"JFIF\0"),
        segment(0xE0, b"JFXX\0"),
        segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\x05\1"),
        segment(0xE1, b"Exif\0\0"),
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE2, b"ICC_PROFILE\0\1\1" + b"x" * 40),
        segment(0xE2, b"MPF\0"),
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04"),
        segment(0xEE, b"Adobe"),
        segment(0xFE, b""),
        b"\0\0stray\0",
        b"\xff\xff",
    ],
    ids=repr,
)
def test_damage_beside_the_pixels_of_a_jpeg_refuses_nothing(damage: bytes):
    data = jpeg()
    whole = pixels(data)
    if damage.startswith(b"\xff"):  # the first bytes tell the format
        assert np.array_equal(pixels(data[:2] + damage + data[2:]), whole)
    assert np.array_equal(pixels(data[:20] + damage + data[20:]), whole)


# --- PNM


@pytest.mark.parametrize("top", [1, 3, 15, 100, 254, 255, 256, 1023, 4095, 65_534, 65_535])
@pytest.mark.parametrize("kind", [2, 3, 5, 6])
def test_pnm_of_every_maximum(kind: int, top: int):
    count = 3 if kind in (3, 6) else 1
    values = RNG.integers(0, top + 1, (HEIGHT, WIDTH, count))
    header = b"P%d # made here\n%d\t%d\n# and here\n%d\n" % (kind, WIDTH, HEIGHT, top)
    body = values.astype(">u2" if top > 255 else np.uint8).tobytes()
    if kind < 4:
        body = "\n".join(map(str, values.ravel())).encode()
    expected = values >> 8 if top == 65_535 else np.floor(values * 255 / top + 0.5)
    assert np.array_equal(pixels(header + body), np.broadcast_to(expected, (HEIGHT, WIDTH, 3)))
    with pytest.raises(ImageError, match="is PPM by its first bytes, but the rest is"):
        load_image(header + body[: len(body) // 2])


def test_bitmaps_of_portable_anymap():
    for data in (b"P1 3 2 0 1 0 1#c\n 1 0", b"P1\n3 2\n010110", b"P4\n3 2\n\x40\xc0"):
        assert pixels(data)[..., 0].tolist() == [[255, 0, 255], [0, 0, 255]]


@pytest.mark.parametrize(
    "data", [b"P2 2 1 10 5 11", b"P2 2 1 10 5 x", b"P2 2 1 0 0 0", b"P5 2 1 70000 aaaa", b"P3 1 1 9 -1 1 1"]
)
def test_pnm_whose_values_are_none(data: bytes):
    with pytest.raises(ImageError, match="is PPM by its first bytes, but the rest is"):
        load_image(data)


def test_large_pnm_goes_through_no_loop_in_python(monkeypatch):
    from PIL import PpmImagePlugin

    def slow(*_: object) -> None:
        raise AssertionError("Pillow decodes in Python")

    monkeypatch.setattr(PpmImagePlugin.PpmDecoder, "decode", slow)
    monkeypatch.setattr(PpmImagePlugin.PpmPlainDecoder, "decode", slow)
    ppm = b"P6\n500 500\n1023\n" + RNG.integers(0, 1024, 750_000).astype(">u2").tobytes()
    assert load_image(ppm).width == 500
    plain = b"P3\n20 20\n255\n" + b"17 " * 1200
    assert load_image(plain).image.getpixel((19, 19)) == (17, 17, 17)


# --- JPEG 2000


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("count", [1, 3])
def test_jpeg_2000_of_every_depth(bits: int, count: int):
    samples = random_samples(bits, count).astype(np.uint16 if bits > 8 else np.uint8)
    data = imagecodecs.jpeg2k_encode(samples.squeeze(), level=0, bitspersample=bits, reversible=True, mct=False)
    assert np.array_equal(imagecodecs.jpeg2k_decode(data), samples.squeeze())
    if bits == 9 or (bits > 8 and count == 3):
        with pytest.raises(ImageError, match=f"colours of {bits} bits, which this decoder rounds over the top"):
            load_image(data)
        return
    seen = pixels(data)
    expected = samples >> (bits - 8) if bits > 8 else eight_bits(samples, bits)
    assert np.array_equal(seen, np.broadcast_to(expected, seen.shape))


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + name + body


@pytest.mark.parametrize("depth", [8, 16])
def test_palettes_of_jpeg_2000(depth: int):
    samples = RNG.integers(0, 4, (HEIGHT, WIDTH)).astype(np.uint8)
    codestream = imagecodecs.jpeg2k_encode(samples, level=0, codecformat="j2k", reversible=True)
    palette = RNG.integers(0, 256, (4, 3))
    entries = (palette.astype(np.uint8) if depth == 8 else (palette * 257).astype(">u2")).tobytes()
    header = _box(b"ihdr", struct.pack(">IIHBBBB", HEIGHT, WIDTH, 1, 7, 7, 0, 0))
    header += _box(b"colr", bytes((1, 0, 0, 0, 0, 0, 16)))
    header += _box(b"pclr", struct.pack(">HB", 4, 3) + bytes((depth - 1,)) * 3 + entries)
    header += _box(b"cmap", b"".join(struct.pack(">HBB", 0, 1, column) for column in range(3)))
    data = _box(b"jP  ", b"\r\n\x87\n") + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + _box(b"jp2h", header)
    data += _box(b"jp2c", codestream)
    try:
        assert np.array_equal(pixels(data), palette[samples])
    except ImageError:
        assert depth == 16


# --- colour profiles


def profile(matrix: np.ndarray, gamma: float, space: bytes = b"RGB ") -> bytes:
    """Return an ICC profile of these primaries, a column each, in XYZ under D65 (ICC.1:2010, 7 to 10)."""
    bradford = np.array([[1.0479, 0.0229, -0.0502], [0.0296, 0.9904, -0.0171], [-0.0092, 0.0151, 0.7519]])
    adapted = bradford @ matrix

    def fixed(values: np.ndarray) -> bytes:
        return struct.pack(f">{len(values)}i", *np.rint(values * 65_536).astype(int))

    tags = {name: b"XYZ \0\0\0\0" + fixed(adapted[:, at]) for at, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + fixed(np.array([0.9642, 1.0, 0.8249]))
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    at, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data
    head = struct.pack(">I4xI4s4s4s", at + len(body), 0x02400000, b"mntr", space, b"XYZ ") + bytes(12) + b"acsp"
    head += bytes(28) + fixed(np.array([0.9642, 1.0, 0.8249]))
    return head.ljust(128, b"\0") + table + body


SRGB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
P3 = np.array([[0.4866, 0.2657, 0.1982], [0.2290, 0.6917, 0.0793], [0.0, 0.0451, 1.0439]])


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize(("matrix", "gamma"), [(P3, 2.2), (SRGB, 1.0)], ids=["Display P3", "linear"])
def test_profiles_are_converted_to_srgb(format: str, matrix: np.ndarray, gamma: float):
    values = np.asarray(ASTRONAUT, float) / 255
    linear = (values**gamma) @ np.linalg.solve(SRGB, matrix).T
    linear = linear.clip(0, 1)
    expected = 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    file = io.BytesIO()
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(format, {})
    ASTRONAUT.save(file, format, icc_profile=profile(matrix, gamma), **options)
    seen = pixels(file.getvalue()).astype(float)
    assert np.abs(seen - np.asarray(ASTRONAUT)).mean() > 1.5
    assert np.abs(seen - expected).mean() < 1.2
    assert np.array_equal(np.asarray(load_image(Image.open(file)).image), seen)


def test_profiles_that_change_nothing_or_are_damaged_are_left_alone():
    whole = np.asarray(ASTRONAUT)
    for given in (b"damaged", profile(P3, 2.2)[:200], profile(P3, 2.2, b"GRAY"), profile(P3, 2.2, b"CMYK")):
        file = io.BytesIO()
        ASTRONAUT.save(file, "PNG", icc_profile=given)
        assert np.array_equal(pixels(file.getvalue()), whole)
    file = io.BytesIO()
    ASTRONAUT.save(file, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert np.array_equal(pixels(file.getvalue()), whole)


def test_transparency_outlives_a_profile():
    picture = ASTRONAUT.convert("RGBA")
    picture.putalpha(0)
    file = io.BytesIO()
    picture.save(file, "PNG", icc_profile=profile(P3, 2.2))
    assert (pixels(file.getvalue()) == 255).all()


# --- work is bounded


def test_files_of_nothing_but_small_parts_end_soon():
    """Each would take minutes if every part were walked or every value read; the answer matters, not its time."""
    many = b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", b"") * 300_000
    with pytest.raises(ImageError, match="more than 262,144 chunks"):
        load_image(many)
    with pytest.raises(ImageError, match="is JPEG by its first bytes"):
        load_image(b"\xff\xd8\xff\xe1\0\2" + bytes(2**22))
    with pytest.raises(ImageError, match="is JPEG by its first bytes"):
        load_image(b"\xff\xd8" + b"\xff\xe1\0\2" * 100_000)


def test_tags_that_share_their_values_are_read_within_a_bound():
    values = tuple(range(2**16)) * 8
    data = bytearray(Tiff().write(random_samples(8, 3), t292=(4, values), t293=(4, (0,) * 40)))
    at = data.index(struct.pack("<HHI", 292, 4, len(values)))
    place = data[at + 8 : at + 12]
    for tag in range(256, 290):  # the entries before it, which then name no picture
        if (entry := data.find(struct.pack("<HH", tag, 4), 8)) > 0:
            data[entry + 4 : entry + 12] = struct.pack("<I", len(values)) + place
    layout = tiff_tags.Layout.of(bytes(data[:4]))
    found, _ = tiff_tags.read_directory(io.BytesIO(data), layout, struct.unpack_from("<I", data, 4)[0])
    assert sum(map(len, found.values.values())) <= tiff_tags.MAX_VALUES
    assert layout.left[0] >= 0
