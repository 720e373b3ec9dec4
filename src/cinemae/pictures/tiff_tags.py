"""The directories of a TIFF file, of BigTIFF and of EXIF, read without Pillow, which warns and gives up on damage."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

MAX_DIRECTORIES = 64
_MAX_ENTRIES = 4096
MAX_VALUES = 2**23
"""Most values that are read from one file: thousands of tags may point to the same million."""

_CODES: Final = {
    1: "B",
    2: "B",
    3: "H",
    4: "I",
    5: "II",
    6: "b",
    7: "B",
    8: "h",
    9: "i",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}

ORIENTATION = 274
_WANTED = {254, 255, *range(256, 350), *range(512, 533), 34675}
"""Of baseline TIFF, its extensions, JPEG and YCbCr (TIFF 6.0), and the ICC profile."""


@dataclass(frozen=True)
class Directory:
    """One directory: integers by tag, each a tuple; texts and undefined data are tuples of bytes."""

    values: dict[int, tuple[int, ...]]

    def first(self, tag: int, default: int = 0) -> int:
        """Return the first value of a tag."""
        return (self.values.get(tag) or (default,))[0]


@dataclass(frozen=True)
class Layout:
    """How numbers are written: ``<`` or ``>``, whether offsets have 64 bits, and how many more values will be read."""

    order: str
    big: bool
    left: list[int] = field(default_factory=lambda: [MAX_VALUES])

    @classmethod
    def of(cls, head: bytes) -> Layout:
        """Read the first 4 bytes.

        Raises:
            ValueError: If they begin no TIFF.
        """
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        number = 0 if order is None or len(head) < 4 else struct.unpack(f"{order}H", head[2:4])[0]
        if order is None or number not in (42, 43):
            raise ValueError("neither of the two byte orders")
        return cls(order, number == 43)

    def unpack(self, codes: str, data: bytes) -> tuple[int, ...]:
        """Read numbers from the start of `data`."""
        codes = self.order + codes
        if len(data) < struct.calcsize(codes):
            raise ValueError("a directory ends early")
        return struct.unpack_from(codes, data)


def read_directories(file: BinaryIO) -> list[tuple[Directory, list[Directory]]]:
    """Read the chain of directories, each with those that it points to as SubIFDs.

    Damage after the first directory ends the chain; a value that lies outside the file is left out.

    Raises:
        ValueError: If the file begins no TIFF or its first directory cannot be read.
    """
    file.seek(0)
    head = file.read(16)
    layout = Layout.of(head)
    (place,) = layout.unpack("Q", head[8:16]) if layout.big else layout.unpack("I", head[4:8])
    found: list[tuple[Directory, list[Directory]]] = []
    seen: set[int] = set()
    while place and place not in seen and len(seen) < MAX_DIRECTORIES:
        seen.add(place)
        try:
            directory, place = read_directory(file, layout, place)
            inner = [read_directory(file, layout, at)[0] for at in directory.values.get(330, ())[:MAX_DIRECTORIES]]
        except ValueError:
            if not found:
                raise
            break
        found.append((directory, inner))
    return found


def read_directory(file: BinaryIO, layout: Layout, place: int) -> tuple[Directory, int]:
    """Read one directory; return it and where the next one is, 0 at the end.

    Raises:
        ValueError: If it is cut off.
    """
    file.seek(place)
    width, size = ("Q", 20) if layout.big else ("H", 12)
    (count,) = layout.unpack(width, file.read(struct.calcsize(f"<{width}")))
    if count > _MAX_ENTRIES:
        raise ValueError("a directory has too many entries")
    entries = file.read(count * size)
    following = file.read(8 if layout.big else 4)
    end = file.seek(0, os.SEEK_END)
    values = dict(_values(file, layout, entries[: len(entries) // size * size], end))
    after = layout.unpack("Q" if layout.big else "I", following)[0] if len(following) in (4, 8) else 0
    return Directory(values), after


def _values(file: BinaryIO, layout: Layout, entries: bytes, end: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    size, inline = (20, 8) if layout.big else (12, 4)
    for at in range(0, len(entries), size):
        entry = entries[at : at + size]
        tag, kind, count = layout.unpack("HHQ" if layout.big else "HHI", entry)
        code = _CODES.get(kind)
        if code is None or tag not in _WANTED or not 0 < count <= layout.left[0]:
            continue
        layout.left[0] -= count
        length = struct.calcsize(f"<{code}") * count
        data = entry[-inline:]
        if length > inline:
            (place,) = layout.unpack("Q" if layout.big else "I", data)
            if place + length > end:
                continue
            file.seek(place)
            data = file.read(length)
        yield tag, layout.unpack(code * count if len(code) > 1 else f"{count}{code}", data)


def exif_orientation(exif: bytes) -> int:
    r"""Return the orientation, from 1 to 8, that an EXIF block gives; 1 if it gives none.

    Raises:
        ValueError: If the block cannot be read.

    Example:
        >>> exif_orientation(b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0")
        6
    """
    block = exif.removeprefix(b"Exif\0\0")
    if not block:
        return 1
    layout = Layout.of(block)
    if layout.big:
        raise ValueError("EXIF in a BigTIFF")
    directory, _ = read_directory(io.BytesIO(block), layout, *layout.unpack("I", block[4:8]))
    return directory.first(ORIENTATION, 1)
