"""What of a JPEG file its pixels need, and whether all rows are there.

Pillow is given the segments that a decoder needs (ITU-T T.81, annex B) alone: comments, empty JFIF segments and damaged
metadata refuse no picture and bring no warning.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, JpegImagePlugin

MAX_PROFILE_BYTES = 4 * 2**20
MAX_SEGMENTS = 2**16
MAX_STRAY_BYTES = 2**16
_END = b"\xff\xd9"
_PROFILE = b"ICC_PROFILE\0"
_MARKER = re.compile(rb"\xff([^\x00\xff])")
_PADDING = (b"\xaa" * 64, b"\x55" * 64)
_NOISE = bytes(value for number in range(64) for value in hashlib.sha256(bytes((number,))).digest() if value != 0xFF)
"""About 2 kB without a marker: in a scan that goes on, no table of codes takes all of it for nothing."""


@dataclass(frozen=True)
class JpegParts:
    """A JPEG taken apart.

    Attributes:
        file: What decides the pixels, for Pillow.
        exif: The EXIF block; empty if there is none.
        profile: The ICC profile; empty if there is none.
        data_begin: Where the first scan begins in `file`.
    """

    file: io.BytesIO
    exif: bytes
    profile: bytes
    data_begin: int


def read_parts(file: BinaryIO, *, header_only: bool = False) -> JpegParts:
    """Take a JPEG apart.

    Args:
        file: The file; it is read to the end unless `header_only`.
        header_only: Stop at the first scan.
    """
    file.seek(2)
    kept, exif, profile = [b"\xff\xd8"], b"", dict[int, bytes]()
    for _ in range(MAX_SEGMENTS):
        marker = _next_marker(file)
        if not marker:
            break
        length = file.read(2)
        body = file.read(max(int.from_bytes(length, "big") - 2, 0))
        if marker == 0xE1 and body.startswith(b"Exif\0\0") and not exif:
            exif = body
        elif marker == 0xE2 and body.startswith(_PROFILE) and len(body) > 14:
            profile.setdefault(body[12], body[14:])
        if _is_needed(marker, body):
            kept.append(bytes((0xFF, marker)) + length + body)
        if marker == 0xDA:
            break
    begin = sum(map(len, kept))
    if not header_only:
        kept.append(file.read())
    joined = b"".join(profile[part] for part in sorted(profile))
    return JpegParts(io.BytesIO(b"".join(kept)), exif, joined if len(joined) <= MAX_PROFILE_BYTES else b"", begin)


def _next_marker(file: BinaryIO) -> int:
    """Skip fill and stray bytes, as libjpeg does, and return the marker; 0 at the end."""
    start = file.tell()
    found = _MARKER.search(file.read(2))
    if found is None:
        file.seek(start)
        found = _MARKER.search(file.read(MAX_STRAY_BYTES))
    if found is None or found[1] == b"\xd9":
        return 0
    file.seek(start + found.end())
    return found[1][0]


def _is_needed(marker: int, body: bytes) -> bool:
    """Tell whether a segment decides the pixels: of the applications' own, JFIF and Adobe name the colour space."""
    if marker == 0xE0:
        return body.startswith(b"JFIF\0") and len(body) >= 14
    if marker == 0xEE:
        return body.startswith(b"Adobe") and len(body) >= 12
    return not (0xE1 <= marker <= 0xEF or marker == 0xFE)


def open_header(parts: JpegParts) -> JpegImagePlugin.JpegImageFile:
    """Return Pillow's reader, nothing decoded."""
    parts.file.seek(0)
    return JpegImagePlugin.JpegImageFile(parts.file)


def decode(parts: JpegParts) -> JpegImagePlugin.JpegImageFile:
    """Decode a JPEG; one that lacks its end marker alone is read.

    Of a progressive one every scan that is there must be whole. Scans that are not there at all, before an end marker,
    are no damage: all rows are there, as exact as the file has them, and every viewer shows them.

    Raises:
        ValueError: If rows are missing, or a scan breaks off.
    """
    data = parts.file.getvalue()
    end = data.find(_END, parts.data_begin)
    image = _decoded(data if end >= 0 else data + _END)
    progressive = "progressive" in image.info
    if end >= 0 and not (progressive or _ends_gray(image)):
        return image
    # libjpeg fills what is missing with gray and tells nobody. Where data are missing, whatever follows is drawn.
    whole = (data[:end] if end >= 0 else data).rstrip(b"\xff")  # half a marker would make one of what follows
    if end < 0 and _lacks_scans(whole, image, parts.data_begin):
        raise ValueError("picture data end before the last scan")
    if progressive:
        first, second = image, _decoded(_padded(whole, _NOISE))
    else:
        first, second = (_decoded(_padded(whole, padding)) for padding in _PADDING)
    if first.tobytes() != second.tobytes():
        raise ValueError("picture data end before the last row")
    return image


def _padded(data: bytes, padding: bytes) -> bytes:
    """Put codes behind what there is, and behind every restart marker that may be waited for; then the end marker."""
    last, number = max((data.rfind(bytes((0xFF, 0xD0 + number))), number) for number in range(8))
    first = number + 1 if last > data.rfind(b"\xff\xda") else 0
    restarts = b"".join(bytes((0xFF, 0xD0 + (first + more) % 8)) + padding for more in range(8))
    return data + padding + restarts + _END


def _decoded(data: bytes) -> JpegImagePlugin.JpegImageFile:
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    image.load()
    return image


def _ends_gray(image: Image.Image) -> bool:
    """Tell whether the last pixels are as bright as the gray that stands for nothing."""
    width, height = image.size
    corner = image.crop((max(width - 4, 0), max(height - 4, 0), width, height))
    brightness = corner.getchannel("K") if image.mode == "CMYK" else corner.convert("L")
    return bool((np.abs(np.asarray(brightness, np.int16) - 128) <= 2).all())


def _lacks_scans(data: bytes, image: JpegImagePlugin.JpegImageFile, begin: int) -> bool:
    """Tell whether some coefficient of some component never comes to its last bit."""
    left = {component[0]: set(range(64)) for component in image.layer}
    at = begin
    scan = data.rfind(b"\xff\xda", 0, begin)
    while scan >= 0:
        count = data[scan + 4]
        names = data[scan + 5 : scan + 5 + 2 * count : 2]
        first, last, bits = data[scan + 5 + 2 * count : scan + 8 + 2 * count]
        if not bits & 15:
            for name in names:
                left.get(name, set()).difference_update(range(first, last + 1))
        at = scan + 8 + 2 * count
        scan = data.find(b"\xff\xda", at)
    return any(left.values())
