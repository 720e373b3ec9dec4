"""PBM, PGM and PPM whose values Pillow reads one by one in Python: plain text, and maxima other than 255.

The format: https://netpbm.sourceforge.net/doc/ppm.html. A file that holds fewer values than its header says is refused.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SPACE = rb"(?:[\x00\x09-\x0d\x20]|#[^\r\n]*[\r\n])"
_HEADER = re.compile(rb"P([1-6])" + rb"%s+(\d{1,10})" % _SPACE * 2)
_MAXIMUM = re.compile(rb"%s+(\d{1,10})" % _SPACE)
_MAX_HEADER = 65_536
_MAX_TEXT = 16  # bytes a value on average: more space than that is no picture
_BLOCK = 2**20


def decode(data: bytes, max_pixels: int) -> Image.Image | None:
    r"""Decode a picture; None if it is one that Pillow reads as fast.

    Args:
        data: The whole file.
        max_pixels: Most pixels; with more, None.

    Raises:
        ValueError: If values are missing, too large or no numbers.

    Example:
        >>> decode(b"P2 3 1 15 0 8 15", 100).tobytes()
        b'\x00\x88\xff'
    """
    header = _HEADER.match(data[:_MAX_HEADER])
    if header is None:
        return None
    kind, width, height = map(int, header.groups())
    at, top = header.end(), 1
    if kind not in (1, 4):
        maximum = _MAXIMUM.match(data[:_MAX_HEADER], at)
        if maximum is None:
            return None
        at, top = maximum.end(), int(maximum[1])
    if kind == 4 or (kind > 4 and top == 255) or width * height > max_pixels or not width * height:
        return None
    if not 0 < top < 65_536:
        raise ValueError(f"a maximum from 1 to 65535 is needed, got {top}")
    bands = 3 if kind in (3, 6) else 1
    count = width * height * bands
    values = _binary(data, at + 1, count, top) if kind > 4 else _plain(data, at, count, bits=kind == 1)
    if len(values) < count:
        raise ValueError(f"{count:,} values are needed, got {len(values):,}")
    table = _table(top, inverted=kind == 1)
    found = np.empty(count, np.uint8)
    for begin in range(0, count, _BLOCK):
        block = values[begin : begin + _BLOCK]
        if block.max() > top or block.min() < 0:
            raise ValueError(f"a value lies outside 0 to {top}")
        found[begin : begin + _BLOCK] = table[block]
    return Image.fromarray(found.reshape((height, width, 3) if bands == 3 else (height, width)))


def _binary(data: bytes, at: int, count: int, top: int) -> NDArray[np.unsignedinteger]:
    kind = np.dtype(np.uint8 if top < 256 else ">u2")
    return np.frombuffer(data, kind, min(count, max(len(data) - at, 0) // kind.itemsize), at)


def _plain(data: bytes, at: int, count: int, *, bits: bool) -> NDArray[np.integer]:
    text = re.sub(rb"#[^\r\n]*", b"", data[at:])
    if bits:  # which need no space between them
        digits = np.frombuffer(text, np.uint8)
        return digits[digits > ord(" ")][:count] - np.uint8(ord("0"))
    text = text[: _MAX_TEXT * count].replace(b"\0", b" ")
    if text.translate(None, b"0123456789 \t\n\v\f\r"):
        raise ValueError("a value is no number")
    values: NDArray[np.int64] = np.fromstring(text, np.int64, sep=" ")  # with a count, what is missing is made up
    return values[:count]


def _table(top: int, *, inverted: bool) -> NDArray[np.uint8]:
    """Return what each value is in 8 bits: of 16 bits the high byte, else the nearest."""
    values = np.arange(top + 1)
    shown = values >> 8 if top == 65_535 else (values * 510 + top) // (2 * top)
    return (255 - shown if inverted else shown).astype(np.uint8)
