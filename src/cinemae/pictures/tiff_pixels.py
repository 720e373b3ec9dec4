"""TIFF: which directory holds the picture, and its pixels where Pillow gives others or none.

Pillow gets a directory of its own that names nothing but the pixels, so that unknown and damaged tags bring neither
warning nor refusal. For what it decodes wrongly (1 to 16 bits other than 8, separate planes, palettes, WhiteIsZero) it
is asked for the unpacked bytes alone, as a gray picture of 8 bits, and NumPy makes samples of them.
"""

from __future__ import annotations

import ctypes
import io
import math
import struct
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from cinemae.pictures.tiff_tags import ORIENTATION, Directory, Layout, read_directories

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR = 256, 257, 258, 259, 262, 277, 284
_STRIPS, _STRIP_ROWS, _STRIP_BYTES, _PREDICTOR, _COLOURS = 273, 278, 279, 317, 320
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _EXTRA, _FORMAT = 322, 323, 324, 325, 338, 339
_FILL_ORDER, _JPEG_TABLES = 266, 347
_KEPT = (
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _STRIPS, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES),
    *(_PLANAR, 292, 293, _PREDICTOR, _COLOURS, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, 332, _EXTRA, _FORMAT),
    *(_JPEG_TABLES, 512, 513, 514, 515, 519, 520, 521, 529, 530, 531, 532),
)
_SHORT = {_BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES, _PLANAR, _PREDICTOR, _COLOURS, 332, _EXTRA, _FORMAT}
_SHORT |= {512, 515, 530, 531}
_RATIONAL = {529, 532}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _MASK, _CMYK = range(6)
_RAW_PHOTOMETRIC = {32803: "the mosaic of a sensor", 34892: "raw colours of a sensor"}
_LOSSLESS = {1, 5, 8, 32773, 32946, 34925, 50000}
_MAX_SAMPLES = 8
_ROWS = 256


class RawError(Exception):
    """The file holds what a sensor recorded, not a picture."""


@dataclass(frozen=True)
class TiffPicture:
    """The picture of a TIFF file.

    Attributes:
        layout: How the file writes numbers.
        directory: Where the picture is described.
        is_animated: Whether there are more pages.
    """

    layout: Layout
    directory: Directory
    is_animated: bool

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.directory.first(_WIDTH), self.directory.first(_HEIGHT)

    @property
    def mode(self) -> str:
        """How Pillow names such colours, roughly."""
        return "CMYK" if self.directory.first(_PHOTOMETRIC) == _CMYK else "RGB"

    @property
    def depth(self) -> int:
        """Bits a sample."""
        return self.directory.first(_BITS, 1)

    @property
    def orientation(self) -> int:
        """From 1 to 8."""
        return self.directory.first(ORIENTATION, 1)

    @property
    def profile(self) -> bytes:
        """The ICC profile; empty if there is none."""
        return bytes(self.directory.values.get(34675, ()))


def find_picture(file: BinaryIO) -> TiffPicture:
    """Find the directory of the picture: the first that is no thumbnail, or a larger one that it points to.

    Raises:
        RawError: If the file is what a camera's sensor recorded.
        ValueError: If no directory can be read.
    """
    pages = read_directories(file)
    file.seek(0)
    head = file.read(10)
    if not pages:
        raise ValueError("there is no directory")
    full = [page for page in pages if _is_full(page[0])]
    main, inner = (full or pages)[0]
    candidates = [main] if full else []
    candidates += [one for one in (inner if full else [two for page in pages for two in page[1]]) if _is_full(one)]
    chosen = max(candidates, key=_area, default=main)
    if head[8:10] == b"CR" or chosen.first(_PHOTOMETRIC) in _RAW_PHOTOMETRIC:
        raise RawError
    if not candidates:
        raise ValueError("every directory is marked as a thumbnail or a mask")
    return TiffPicture(Layout.of(head), chosen, len(full) > 1)


def _is_full(directory: Directory) -> bool:
    """Tell whether this is neither a smaller copy nor a mask of another picture."""
    return not directory.first(254) & 0b101 and directory.first(255) != 2 and _area(directory) > 0


def _area(directory: Directory) -> int:
    return directory.first(_WIDTH) * directory.first(_HEIGHT)


def open_picture(file: BinaryIO, picture: TiffPicture) -> TiffImagePlugin.TiffImageFile:
    """Return Pillow's reader of a picture, header only."""
    kept = {tag: picture.directory.values[tag] for tag in _KEPT if tag in picture.directory.values}
    return _reader(file, picture.layout, kept)


def decode(file: BinaryIO, picture: TiffPicture) -> Image.Image:
    """Decode a picture, as stored and not turned upright, into 8 bits a sample or one of Pillow's modes "I" and "F".

    Args:
        file: The whole file, in memory.
        picture: Whose size was checked.

    Raises:
        ValueError: If it is of a variety that is not read.
    """
    variety = _Variety.of(picture)
    if variety.by_pillow:
        if variety.compression not in TiffImagePlugin.COMPRESSION_INFO:
            raise ValueError(f"compression {variety.compression}")
        image = open_picture(file, picture)
        image.load()
        return image
    return variety.to_image(_samples(file, picture, variety))


@dataclass(frozen=True)
class _Variety:
    """What a directory says of its samples."""

    bits: int
    samples: int
    photometric: int
    compression: int
    planes: int
    predictor: int
    alpha: str
    colours: tuple[int, ...]
    by_pillow: bool

    @classmethod
    def of(cls, picture: TiffPicture) -> _Variety:
        tags = picture.directory
        depths = set(tags.values.get(_BITS, (1,)))
        kinds = set(tags.values.get(_FORMAT, (1,))) - {4}
        photometric, compression = tags.first(_PHOTOMETRIC), tags.first(_COMPRESSION, 1)
        samples = tags.first(_SAMPLES, 3 if compression == 7 and photometric in (2, 6) else 1)
        if len(depths) > 1 or len(kinds) > 1:
            raise ValueError(f"samples of different kinds, {sorted(depths)} bits")
        [bits], kind = depths, next(iter(kinds), 1)
        variety = cls(
            bits,
            samples,
            photometric,
            compression,
            samples if tags.first(_PLANAR, 1) == 2 else 1,
            tags.first(_PREDICTOR, 1),
            {1: "a", 2: "A"}.get(tags.first(_EXTRA), "") if _EXTRA in tags.values else "",
            tags.values.get(_COLOURS, ()),
            by_pillow=False,
        )
        gray = samples == 1 and photometric == _BLACK_IS_ZERO
        if (kind in (2, 3) and bits == 32 and gray) or (kind == 1 and variety._pillow_is_right()):
            return cls(**{**vars(variety), "by_pillow": True})
        if kind != 1 or not 1 <= bits <= 16 or compression not in _LOSSLESS or samples > _MAX_SAMPLES:
            form = {1: "unsigned", 2: "signed", 3: "floating-point"}.get(kind, "unknown")
            raise ValueError(f"{samples} {form} samples of {bits} bits a pixel, compression {compression}")
        variety._require_known()
        return variety

    def _pillow_is_right(self) -> bool:
        bilevel = self.bits == 1 and self.samples == 1 and self.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
        more = 0 < self._num_colours < self.samples and self.compression in _LOSSLESS  # of which Pillow knows a few
        whole = self.bits == 8 and self.planes == 1 and self.photometric != _PALETTE and not more
        single = self.bits == 32 and self.samples == 1 and self.photometric == _BLACK_IS_ZERO
        packed = self.compression not in _LOSSLESS and self.bits == 8 and self.photometric != _PALETTE
        return bilevel or whole or single or packed

    @property
    def _num_colours(self) -> int:
        return {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4}.get(self.photometric, 0)

    def _require_known(self) -> None:
        if not self._num_colours or self.samples < self._num_colours:
            raise ValueError(f"{self.samples} samples a pixel of photometric interpretation {self.photometric}")
        if self.photometric == _PALETTE and len(self.colours) < 3 << self.bits:
            raise ValueError("a palette shorter than its indices")
        if self.predictor != 1 and not (self.predictor == 2 and self.bits in (8, 16)):
            raise ValueError(f"predictor {self.predictor} with samples of {self.bits} bits")

    def to_image(self, samples: NDArray[np.uint16]) -> Image.Image:
        """Make a picture of samples, (planes, height, width, samples of a plane)."""
        pixels = samples[0] if self.planes == 1 else np.moveaxis(samples[..., 0], 0, -1)
        count = self._num_colours
        if self.photometric == _PALETTE:
            colours = self._palette()[pixels[..., 0]]
        else:
            colours = to_bytes(pixels[..., :count], self.bits)
        if self.photometric == _WHITE_IS_ZERO:
            colours = 255 - colours
        alpha = to_bytes(pixels[..., count : count + 1], self.bits) if self.alpha else colours[..., :0]
        if self.photometric == _CMYK:
            inks = Image.frombytes("CMYK", colours.shape[1::-1], colours.tobytes())
            if self.alpha != "A" or not alpha.size:  # inks that alpha has thinned already are those over white
                return inks
            colours = np.asarray(inks.convert("RGB"))
        if not alpha.size:
            return Image.fromarray(colours[..., 0] if colours.shape[-1] == 1 else colours)
        shown = np.concatenate([np.broadcast_to(colours, (*colours.shape[:2], 3)), alpha], axis=-1)
        return Image.frombytes(f"RGB{self.alpha}", shown.shape[1::-1], shown.tobytes())

    def _palette(self) -> NDArray[np.uint8]:
        colours = np.array(self.colours[: 3 << self.bits]).reshape(3, -1).T
        return (colours if colours.max() < 256 else colours >> 8).astype(np.uint8)  # some writers give 8 bits


def to_bytes(values: NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    """Return samples of so many bits as 8: the high byte of 16, the nearest of fewer.

    Example:
        >>> to_bytes(np.array([0, 1024, 4095], np.uint16), 12).tolist()
        [0, 64, 255]
    """
    if bits in (8, 16):
        return (values >> (bits - 8)).astype(np.uint8)
    top = (1 << bits) - 1
    return ((np.arange(top + 1) * 510 + top) // (2 * top)).astype(np.uint8)[values]


def _samples(file: BinaryIO, picture: TiffPicture, variety: _Variety) -> NDArray[np.uint16]:
    """Return all samples, (planes, height, width, samples of a plane)."""
    tags = picture.directory
    width, height = picture.size
    tiled = _TILES in tags.values
    per_pixel = 1 if variety.planes > 1 else variety.samples
    run = tags.first(_TILE_WIDTH) if tiled else width  # pixels that lie together
    if run < 1:
        raise ValueError("tiles without width")
    row_bytes = math.ceil(run * per_pixel * variety.bits / 8)
    runs = math.ceil(width / run)
    found = []
    for plane in range(variety.planes):
        rows = _unpacked(file, picture, (runs, row_bytes), plane, variety.planes)
        values = _from_bits(rows.reshape(-1, row_bytes), variety.bits, run * per_pixel, picture.layout.order)
        values = values.reshape(height, runs, run, per_pixel)
        if variety.predictor == 2:
            values = np.cumsum(values, axis=2, dtype=values.dtype) & np.uint16((1 << variety.bits) - 1)
        found.append(values.reshape(height, runs * run, per_pixel)[:, :width])
    return np.stack(found)


def _unpacked(
    file: BinaryIO, picture: TiffPicture, shape: tuple[int, int], plane: int, planes: int
) -> NDArray[np.uint8]:
    """Return the bytes of one plane, (height, bytes a row), as a gray picture that Pillow reads."""
    tags = picture.directory.values
    runs, row_bytes = shape
    kept = {tag: tags[tag] for tag in (_HEIGHT, _COMPRESSION, _FILL_ORDER, _STRIP_ROWS, _TILE_HEIGHT) if tag in tags}
    for tag in (_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES):
        if tag in tags:
            each = len(tags[tag]) // planes
            kept[tag] = tags[tag][plane * each : (plane + 1) * each]
    if _TILES in tags:
        kept[_TILE_WIDTH] = (row_bytes,)
    kept |= {_WIDTH: (runs * row_bytes,), _BITS: (8,), _PHOTOMETRIC: (_BLACK_IS_ZERO,), _SAMPLES: (1,)}
    image = _reader(file, picture.layout, kept)
    image.load()
    return np.asarray(image)


def _from_bits(rows: NDArray[np.uint8], bits: int, count: int, order: str) -> NDArray[np.uint16]:
    """Cut rows of bytes into `count` numbers a row."""
    if bits == 8:
        return rows[:, :count].astype(np.uint16)
    if bits == 16:
        return np.ascontiguousarray(rows[:, : 2 * count]).view(f"{order}u2").astype(np.uint16)
    found = np.empty((len(rows), count), np.uint16)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
    for top in range(0, len(rows), _ROWS):
        single = np.unpackbits(rows[top : top + _ROWS], axis=1)[:, : count * bits]
        found[top : top + _ROWS] = single.reshape(-1, count, bits) @ weights
    return found


def _reader(file: BinaryIO, layout: Layout, tags: dict[int, tuple[int, ...]]) -> TiffImagePlugin.TiffImageFile:
    """Return Pillow's reader of `file` with these tags in place of its own, in a plain TIFF even of a BigTIFF.

    (Pillow cannot read a BigTIFF with the high byte first; offsets in files that we read fit into 32 bits.)
    """
    _silence_libtiff()
    file.seek(0)
    data = bytearray(file.read())
    for place, count in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
        ends = map(sum, zip(tags.get(place, ()), tags.get(count, ()), strict=False))
        if max((*ends, *tags.get(place, ())), default=0) > len(data):
            raise ValueError("picture data end early")
    if tags.get(_COMPRESSION, (1,)) == (1,) and tags.get(_PHOTOMETRIC) != (6,):
        _require_whole(tags, len(data))
    data += b"\0" * (-len(data) % 8)
    at = len(data)
    data[:8] = {"<": b"II", ">": b"MM"}[layout.order] + struct.pack(f"{layout.order}HI", 42, at)
    data += _write_directory(layout.order, tags, at)
    return TiffImagePlugin.TiffImageFile(io.BytesIO(data))


def _require_whole(tags: dict[int, tuple[int, ...]], length: int) -> None:
    """Refuse plain data that are shorter than the picture: what stands behind them would be taken for pixels.

    Raises:
        ValueError: If they are.
    """
    width, height = tags[_WIDTH][0], tags[_HEIGHT][0]
    across, down = tags.get(_TILE_WIDTH, (width,))[0], tags.get(_TILE_HEIGHT, (height,))[0]
    bits = tags.get(_BITS, (1,))[0] * tags.get(_SAMPLES, (1,))[0]
    needed = math.ceil(width / across) * math.ceil(height / down) * down * math.ceil(across * bits / 8)
    if _TILES not in tags:
        needed = height * math.ceil(width * bits / 8)
    counts = tags.get(_TILE_BYTES if _TILES in tags else _STRIP_BYTES, ())
    there = sum(counts) if counts else length - min(tags.get(_STRIPS) or tags.get(_TILES) or (length,))
    if there < needed:
        raise ValueError("picture data end early")


@cache
def _silence_libtiff() -> None:
    """Take from Pillow's own copy of libtiff what writes to standard error: its words name no file.

    Errors are raised as before. A libtiff that others may use too, outside Pillow's wheel, is left as it is.
    """
    package = Path(PIL.__file__).parent
    for library in (*package.parent.glob("pillow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")):
        with suppress(OSError, AttributeError):
            loaded = ctypes.CDLL(str(library))
            for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
                setter = getattr(loaded, name)
                setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
                setter(None)


def _write_directory(order: str, tags: dict[int, tuple[int, ...]], at: int) -> bytes:
    entries, behind = b"", b""
    start = at + 6 + 12 * len(tags)
    for tag in sorted(tags):
        values = tags[tag]
        kind, code, top = (3, "H", 0xFFFF) if tag in _SHORT else (4, "I", 0xFFFFFFFF)
        if tag == _JPEG_TABLES:
            kind, code = 7, "B"
        elif tag in _RATIONAL:
            kind = 5
        body = struct.pack(f"{order}{len(values)}{code}", *(min(value, top) for value in values))
        count = len(values) // 2 if tag in _RATIONAL else len(values)
        place = body.ljust(4, b"\0")
        if len(body) > 4:
            place = struct.pack(f"{order}I", start + len(behind))
            behind += body + b"\0" * (len(body) % 2)
        entries += struct.pack(f"{order}HHI", tag, kind, count) + place
    return struct.pack(f"{order}H", len(tags)) + entries + b"\0" * 4 + behind
