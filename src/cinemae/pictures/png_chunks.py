"""What of a PNG file its pixels need: damage elsewhere, and texts that unpack to megabytes, refuse no picture.

Pillow is given the header, the palette and the picture data alone. Other chunks are read here if their checksum is
right, and left out if it is not, as the PNG specification (13.2) asks of a reader.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

MAX_PROFILE_BYTES = 4 * 2**20
MAX_CHUNKS = 2**18
"""More are refused: libpng's own chunks of 8 kB come to 2 GB."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\0\0\0\0IEND\xaeB`\x82"
_READ = {b"tRNS", b"eXIf", b"iCCP", b"acTL"}


@dataclass(frozen=True)
class PngParts:
    """A PNG taken apart.

    Attributes:
        file: Header, palette and picture data, for Pillow.
        exif: The EXIF block; empty if there is none.
        profile: The ICC profile; empty if there is none that can be read.
        key: The transparent colour, one or three values of as many bits as the picture has; empty if there is none.
        is_animated: Whether there are more frames than one.
    """

    file: io.BytesIO
    exif: bytes
    profile: bytes
    key: tuple[int, ...]
    is_animated: bool


def read_parts(file: BinaryIO, *, header_only: bool = False) -> PngParts:
    """Take a PNG apart.

    Args:
        file: The file; it is read to the end unless `header_only`.
        header_only: Stop where the picture data begin.
    """
    file.seek(len(_SIGNATURE))
    kept: list[bytes] = [_SIGNATURE]
    extra: dict[bytes, bytes] = {}
    depth = colour = 0
    for head, name, body, tail in _chunks(file, header_only=header_only):
        if name == b"IHDR" and len(body) >= 10:
            depth, colour = body[8], body[9]
        if name in _READ:
            if struct.pack(">I", zlib.crc32(name + body)) == tail:
                extra.setdefault(name, body)
        elif not name[0] & 0x20:
            kept += (head, body, tail)
    transparency = extra.get(b"tRNS", b"")
    if colour == 3 and transparency:
        before = next((at for at, part in enumerate(kept) if part[4:] == b"IDAT"), len(kept))
        kept.insert(before, _chunk(b"tRNS", transparency))
    samples = {0: 1, 2: 3}.get(colour, 0)
    key: tuple[int, ...] = ()
    if samples and len(transparency) >= 2 * samples:
        mask = (1 << depth) - 1
        key = tuple(value & mask for value in struct.unpack(f">{samples}H", transparency[: 2 * samples]))
    animation = extra.get(b"acTL", b"")
    frames = int.from_bytes(animation[:4], "big") if len(animation) == 8 else 0
    return PngParts(
        io.BytesIO(b"".join((*kept, _END))), extra.get(b"eXIf", b""), _profile(extra.get(b"iCCP", b"")), key, frames > 1
    )


def _chunks(file: BinaryIO, *, header_only: bool) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
    """Yield length and name as they stand, the name, the body and the checksum of each chunk before the end."""
    count = 0
    while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
        count += 1
        if count > MAX_CHUNKS:
            raise ValueError(f"more than {MAX_CHUNKS:,} chunks")
        length = int.from_bytes(head[:4], "big")
        if head[4] & 0x20 and head[4:] not in _READ:
            file.seek(length + 4, io.SEEK_CUR)
            continue
        if header_only and head[4:] == b"IDAT":
            yield head, b"IDAT", b"", b""
            return
        yield head, head[4:], file.read(length), file.read(4)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _profile(body: bytes) -> bytes:
    _, _, packed = body.partition(b"\0")
    try:
        unpacking = zlib.decompressobj()
        profile = unpacking.decompress(packed[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if unpacking.eof else b""


def open_header(parts: PngParts) -> PngImagePlugin.PngImageFile:
    """Return Pillow's reader, nothing decoded."""
    parts.file.seek(0)
    return PngImagePlugin.PngImageFile(parts.file)


def over_white(image: Image.Image, parts: PngParts) -> Image.Image:
    """Return a decoded picture, gray or RGB, with its transparent colour white; values are compared at full depth."""
    if not parts.key:
        return image
    depth = parts.file.getbuffer()[24]
    values = np.array(image.convert("L") if image.mode == "1" else image)
    if image.mode == "RGB":
        hidden = (values == [key >> (depth - 8) for key in parts.key]).all(-1)
        if depth == 16:
            hidden &= (_low_bytes(parts.file) == [key & 255 for key in parts.key]).all(-1)
    else:
        top = max(255, (1 << depth) - 1)  # Pillow spreads fewer bits than 8 over 0 to 255
        hidden = values == parts.key[0] * top // ((1 << depth) - 1)
    values[hidden] = np.iinfo(values.dtype).max
    return Image.fromarray(values)


def _low_bytes(file: io.BytesIO) -> NDArray[np.uint8]:
    """Decode RGB of 16 bits once more, into its low bytes: Pillow gives the high ones, and names the other order L."""
    file.seek(0)
    with PngImagePlugin.PngImageFile(file) as image:
        image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
        image.load()
        return np.asarray(image)
