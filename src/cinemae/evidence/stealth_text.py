"""Text that NovelAI and web UIs hide in a PNG's lowest bits, so that it outlives the loss of the PNG's own texts.

Bit by bit, down the columns from the left: a mark of 15 letters, 32 bits that give the text's length in bits, the text,
in gzip where the mark says so. It stands in the alpha channel, or in turn in red, green and blue.
"""

from __future__ import annotations

import io
import zlib

import numpy as np
from numpy.typing import NDArray

from cinemae.pictures.png_chunks import open_header, read_parts

MAX_PIXELS = 4_000_000
"""Larger pictures are not looked into, since looking costs another decoding: NovelAI makes at most 3 megapixels."""
MAX_TEXT_BYTES = 512 * 2**10

_MARK_BYTES = 15
_MARKS = {
    b"stealth_pnginfo": ("alpha", False),
    b"stealth_pngcomp": ("alpha", True),
    b"stealth_rgbinfo": ("rgb", False),
    b"stealth_rgbcomp": ("rgb", True),
}


def read_stealth_text(data: bytes) -> bytes:
    """Return the hidden text of a PNG with an alpha channel and at most `MAX_PIXELS`; empty if there is none.

    Without an alpha channel nobody looks: a hidden text would be too rare to decode every PNG twice.

    Args:
        data: The whole file.

    Raises:
        OSError: If the picture cannot be decoded. (Pillow raises other errors too.)
    """
    with open_header(read_parts(io.BytesIO(data))) as image:
        if image.mode != "RGBA" or image.width * image.height > MAX_PIXELS:
            return b""
        pixels = np.asarray(image)
    return _text(pixels[:, :, 3:], "alpha") or _text(pixels[:, :, :3], "rgb")


def _text(plane: NDArray[np.uint8], name: str) -> bytes:
    first = plane[:, : -(-8 * _MARK_BYTES // plane.shape[0])]  # the columns that hold the mark
    place, packed = _MARKS.get(_lowest_bits(first)[:_MARK_BYTES], ("", False))
    if place != name:
        return b""
    data = _lowest_bits(plane)[_MARK_BYTES:]
    text = data[4 : 4 + int.from_bytes(data[:4], "big") // 8]
    if packed:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(text, MAX_TEXT_BYTES)
    return text[:MAX_TEXT_BYTES]


def _lowest_bits(plane: NDArray[np.uint8]) -> bytes:
    return np.packbits((plane & 1).transpose(1, 0, 2)).tobytes()
