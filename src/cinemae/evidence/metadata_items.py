"""What a picture file says in words, beside its pixels: EXIF tags, IPTC records, XMP packets, texts and comments.

Only the few fields that can tell where a picture came from are taken (`cinemae.evidence.provenance` says which and
why); places, dates and owners are never read. The reader is made for files from strangers: it skips by lengths,
decodes no pixel, and stops at `MAX_STEPS` segments, `MAX_ITEM_BYTES` of one item and `MAX_TOTAL_BYTES` of all.
Pillow's readers are used for AVIF and HEIF only: they give up a whole file for one damaged chunk, issue warnings about
damage, and do not see what follows the pixels of a PNG.
"""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Literal

from cinemae.pictures.image import open_header

MAX_STEPS = 16_384
"""Segments, chunks and boxes walked in one file: a PNG of libpng's 8 kB chunks is seen to its end up to 134 MB."""

MAX_ITEM_BYTES = 512 * 2**10
"""The rest of a longer item, packed or not, is left unread."""

MAX_TOTAL_BYTES = 4 * 2**20
"""Reading ends once so much was taken from one file: a thousand small chunks could unpack to gigabytes."""

MAX_FOLDED_BYTES = 16 * 2**20
"""The rest of a longer block of EXIF is left unread: ComfyUI's graphs of megabytes stand before what tells of them."""

ItemSource = Literal["c2pa", "comment", "exif", "iptc", "png_text", "xmp"]

# Tags of the first directory and of the EXIF directory: TIFF 6.0, section 8; Exif 3.0, sections 4.6.5 to 4.6.7;
# XPComment is Microsoft's.
_EXIF_TAGS = {
    0x010D: "DocumentName",
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x013B: "Artist",
    0x9286: "UserComment",
    0x9C9B: "XPTitle",
    0x9C9C: "XPComment",
    0xA300: "FileSource",
    0xA43A: "RAWDevelopingSoftware",
    0xA43B: "ImageEditingSoftware",
}
_MAX_TAGS = 1024
_MAX_STRAY_BYTES = 2**16
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
_RAW_PROFILE = b"raw profile type "
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 129: 1}  # BYTE, ASCII, SHORT, LONG, UNDEFINED, and Exif 3.0's UTF-8
_IIM_RECORDS = {65: "OriginatingProgram", 110: "Credit"}  # IPTC-IIM 4.2, record 2
_C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")  # C2PA 2.2, appendix A, which gives each place


@dataclass(frozen=True)
class MetadataItem:
    """One field as the file holds it.

    Attributes:
        source: Where it stands; "c2pa" means that Content Credentials are embedded, and has no data.
        name: The field ("Software", "parameters", ...); "packet" of XMP, which `cinemae.evidence.xmp_properties` reads.
        data: Its bytes, cut at `MAX_ITEM_BYTES`.
    """

    source: ItemSource
    name: str
    data: bytes = b""


@dataclass(frozen=True)
class _Folded:
    """Data that holds several fields, and what takes them out."""

    unfold: Callable[[bytes], Iterator[MetadataItem | _Folded]]
    data: bytes
    unpacked: int = 0  # bytes that are not in the file as they are; those of the file itself are bounded by it


_Found = Iterator[MetadataItem | _Folded]
_CREDENTIALS = MetadataItem("c2pa", "manifest")


def read_items(data: bytes) -> list[MetadataItem]:
    """Read the fields of JPEG, PNG, WebP, GIF, TIFF, AVIF or HEIF; damage ends the reading and never raises.

    Args:
        data: The whole file.

    Returns:
        Fields in the order of the file; none for other formats.
    """
    collected = _BoundedItems()
    with suppress(Exception):
        for found in _walk(data):
            collected.add(found)
    return collected.items


class _BoundedItems:
    """Collects items until they come to `MAX_TOTAL_BYTES`."""

    def __init__(self) -> None:
        self.items: list[MetadataItem] = []
        self._left = MAX_TOTAL_BYTES

    def add(self, found: MetadataItem | _Folded) -> None:
        """Keep an item, or those that are folded into it as far as they can be read; raise `_FullError` at the end."""
        self._left -= 64 + (len(found.data) if isinstance(found, MetadataItem) else found.unpacked)
        if self._left < 0:
            raise _FullError
        if isinstance(found, MetadataItem):
            self.items.append(found)
            return
        parts = found.unfold(found.data)
        while True:
            try:
                part = next(parts, None)
            except Exception:  # damage within, after which the file may go on
                return
            if part is None:
                return
            self.add(part)


class _FullError(Exception):
    """Never leaves this module."""


def _walk(data: bytes) -> _Found:
    file, head = io.BytesIO(data), data[:16]
    if head.startswith(b"\xff\xd8\xff"):
        yield from _jpeg(file)
    elif head.startswith(b"\x89PNG\r\n\x1a\n"):
        yield from _png(file)
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        yield from _webp(file)
    elif head.startswith((b"GIF87a", b"GIF89a")):
        yield from _gif(file)
    elif head.startswith((b"II*\0", b"MM\0*")):
        yield from _tags(file)
    elif head[4:8] == b"ftyp":
        yield from _boxes(file)
        yield from _by_pillow(data)


def _jpeg(file: BinaryIO) -> _Found:
    """Walk the segments before the first scan: ITU-T T.81, annex B."""
    file.seek(2)
    for _ in range(MAX_STEPS):
        marker = file.read(2)
        if len(marker) == 2 and marker[0] != 0xFF:  # stray bytes, which libjpeg skips as well
            marker = _next_marker(file)
        if len(marker) < 2 or marker[1] in (0xD9, 0xDA):
            return
        if marker[1] == 0xFF:  # a fill byte
            file.seek(-1, os.SEEK_CUR)
            continue
        length = int.from_bytes(file.read(2), "big") - 2
        if length < 0:
            return
        after = file.tell() + length
        if marker[1] == 0xFE:
            yield MetadataItem("comment", "comment", file.read(length))
        elif marker[1] in (0xE1, 0xEB, 0xED):
            yield from _jpeg_segment(file.read(length))
        file.seek(after)


def _next_marker(file: BinaryIO) -> bytes:
    """Skip bytes up to the next marker and return it; empty if none follows soon."""
    start = file.tell() - 1
    file.seek(start)
    stray = file.read(_MAX_STRAY_BYTES)
    found = _MARKER.search(stray)
    if found is None:
        return b""
    file.seek(start + found.end())
    return found.group()


def _jpeg_segment(data: bytes) -> _Found:
    if data.startswith(b"Exif\0\0"):
        yield _Folded(_structure, data)
    elif data.startswith(_XMP_MARK):
        yield MetadataItem("xmp", "packet", data.removeprefix(_XMP_MARK))
    elif data.startswith(b"Photoshop 3.0\0"):
        yield _Folded(_photoshop, data[14:])
    elif data.startswith(b"JP") and b"jumdc2pa" in data[:64]:  # the type and the UUID of the box in the outermost box
        yield _CREDENTIALS


def _png(file: BinaryIO) -> _Found:
    """Walk the chunks to the end; checksums are not looked at."""
    file.seek(8)
    for _ in range(MAX_STEPS):
        header = file.read(8)
        length, kind = int.from_bytes(header[:4], "big"), header[4:]
        if len(header) < 8 or kind == b"IEND":
            return
        after = file.tell() + length + 4
        if kind == b"caBX":
            yield _CREDENTIALS
        elif kind == b"eXIf":
            yield _Folded(_structure, file.read(min(length, MAX_FOLDED_BYTES)))
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            yield _png_text(kind, file.read(min(length, MAX_ITEM_BYTES)))
        file.seek(after)


def _png_text(kind: bytes, data: bytes) -> MetadataItem | _Folded:
    key, _, text = data.partition(b"\0")
    packed = kind == b"zTXt"
    if packed:
        text = text[1:]
    elif kind == b"iTXt":
        packed = text[:1] == b"\1"
        text = text[2:].split(b"\0", 2)[-1]
    if packed:
        try:
            text = zlib.decompressobj().decompress(text, MAX_ITEM_BYTES)
        except zlib.error:
            text = b""
    if key == b"XML:com.adobe.xmp":
        return MetadataItem("xmp", "packet", text)
    if key.lower().startswith(_RAW_PROFILE):
        return _raw_profile(key[len(_RAW_PROFILE) :].lower(), text)
    return MetadataItem("png_text", key[:79].decode("latin-1"), text)


def _raw_profile(kind: bytes, text: bytes) -> MetadataItem | _Folded:
    """Read what ImageMagick writes as ``Raw profile type exif``: a name, a length, and the bytes in hexadecimal."""
    parts = text.split(maxsplit=2)
    digits = b"".join(parts[2].split()) if len(parts) == 3 else b""
    try:
        data = bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))
    except ValueError:
        data = b""
    if kind == b"xmp" or data.startswith(_XMP_MARK):
        return MetadataItem("xmp", "packet", data.removeprefix(_XMP_MARK))
    if kind in (b"exif", b"app1"):
        return _Folded(_structure, data, len(data))
    return _Folded(_photoshop if data.startswith(b"8BIM") else _iim, data, len(data))


def _webp(file: BinaryIO) -> _Found:
    file.seek(12)
    for _ in range(MAX_STEPS):
        header = file.read(8)
        if len(header) < 8:
            return
        length = int.from_bytes(header[4:], "little")
        after = file.tell() + length + length % 2
        if header.startswith(b"C2PA"):
            yield _CREDENTIALS
        elif header.startswith(b"EXIF"):
            yield _Folded(_structure, file.read(min(length, MAX_FOLDED_BYTES)))
        elif header.startswith(b"XMP "):
            yield MetadataItem("xmp", "packet", file.read(min(length, MAX_ITEM_BYTES)))
        file.seek(after)


def _gif(file: BinaryIO) -> _Found:
    """Walk the extensions before the first frame: GIF89a, section 23 on."""
    flags = file.read(13)[10]
    if flags & 0x80:
        file.seek(3 * 2 ** (flags % 8 + 1), os.SEEK_CUR)
    for _ in range(MAX_STEPS):
        start = file.read(2)
        if len(start) < 2 or start[0] != 0x21:
            return
        place = file.tell()
        blocks = _sub_blocks(file)
        after = file.tell()
        if start[1] == 0xFE:
            yield MetadataItem("comment", "comment", b"".join(blocks))
        elif start[1] == 0xFF and blocks[:1] == [b"XMP DataXMP"]:
            file.seek(place + 12)  # the packet follows as it is; a trailer makes it look like sub-blocks
            packet = file.read(min(after - place - 12, MAX_ITEM_BYTES))
            yield MetadataItem("xmp", "packet", packet.split(b"\1\xff\xfe\xfd")[0])
        elif start[1] == 0xFF and blocks and blocks[0].startswith(b"C2PA_GIF"):
            yield _CREDENTIALS
        file.seek(after)


def _sub_blocks(file: BinaryIO) -> list[bytes]:
    blocks: list[bytes] = []
    length = 0
    for _ in range(MAX_STEPS):
        size = file.read(1)
        if not size or size == b"\0":
            return blocks
        data = file.read(size[0])
        if length < MAX_ITEM_BYTES:
            blocks.append(data)
            length += len(data)
    raise ValueError("an extension without an end")


def _boxes(file: BinaryIO) -> _Found:
    """Look for the C2PA box among the outer boxes: ISO/IEC 14496-12, section 4.2."""
    for _ in range(MAX_STEPS):
        start = file.tell()
        header = file.read(32)
        length, kind, rest = int.from_bytes(header[:4], "big"), header[4:8], header[8:]
        if length == 1:
            length, rest = int.from_bytes(header[8:16], "big"), header[16:]
        if kind == b"uuid" and rest.startswith(_C2PA_BOX):
            yield _CREDENTIALS
        if len(header) < 8 or length < 8:
            return
        file.seek(start + length)


def _by_pillow(data: bytes) -> _Found:
    """AVIF and HEIF keep their metadata where only their decoders look."""
    with open_header(data) as (_, image, _):
        exif, xmp = image.info.get("exif"), image.info.get("xmp")
    if isinstance(exif, bytes):
        yield _Folded(_structure, exif[:MAX_FOLDED_BYTES])
    if isinstance(xmp, bytes):
        yield MetadataItem("xmp", "packet", xmp[:MAX_ITEM_BYTES])


def _structure(data: bytes) -> _Found:
    return _tags(io.BytesIO(data.removeprefix(b"Exif\0\0")))  # JPEG's mark, which some programs write elsewhere too


def _tags(file: BinaryIO) -> _Found:
    """Read the wanted tags of the first directory of a TIFF structure, and of the EXIF directory it points to."""
    order: Literal["little", "big"] = "little" if file.read(4).startswith(b"II") else "big"
    directories = [int.from_bytes(file.read(4), order)]
    for place in directories:
        file.seek(place)
        entries = file.read(12 * min(int.from_bytes(file.read(2), order), _MAX_TAGS))
        for start in range(0, len(entries) - 11, 12):
            entry = entries[start : start + 12]
            tag, kind, count = (int.from_bytes(entry[a:b], order) for a, b in ((0, 2), (2, 4), (4, 8)))
            value = int.from_bytes(entry[8:], order)
            if tag == 0x8769 and len(directories) == 1:
                directories.append(value)
            elif tag == 0xCD41:
                yield _CREDENTIALS
            elif tag in _EXIF_TAGS or tag in _FOLDED_TAGS:
                num_bytes = min(count * _TYPE_BYTES.get(kind, 0), MAX_ITEM_BYTES)
                if num_bytes > 4:
                    file.seek(value)
                yield _tag(tag, file.read(num_bytes) if num_bytes > 4 else entry[8 : 8 + num_bytes])


def _tag(tag: int, data: bytes) -> MetadataItem | _Folded:
    if tag in _EXIF_TAGS:
        return MetadataItem("exif", _EXIF_TAGS[tag], data)
    unfold = _FOLDED_TAGS[tag]
    return MetadataItem("xmp", "packet", data) if unfold is None else _Folded(unfold, data)


def _photoshop(data: bytes) -> _Found:
    """Find the IPTC records among Photoshop's image resources: "8BIM", number, padded name, length, padded data."""
    place = 0
    while data[place : place + 4] == b"8BIM":
        number = int.from_bytes(data[place + 4 : place + 6], "big")
        place += 6 + (data[place + 6] // 2 + 1) * 2
        length = int.from_bytes(data[place : place + 4], "big")
        if number == 0x0404:
            yield _Folded(_iim, data[place + 4 : place + 4 + length])
        place += 4 + length + length % 2


def _iim(data: bytes) -> _Found:
    """Read the wanted data sets of record 2; one of the extended kind (32 kB or more) ends the reading."""
    place = 0
    while place + 5 <= len(data) and data[place] == 0x1C and data[place + 3] < 0x80:
        record, number = data[place + 1], data[place + 2]
        length = int.from_bytes(data[place + 3 : place + 5], "big")
        if record == 2 and number in _IIM_RECORDS:
            yield MetadataItem("iptc", _IIM_RECORDS[number], data[place + 5 : place + 5 + length])
        place += 5 + length


_FOLDED_TAGS: dict[int, Callable[[bytes], _Found] | None] = {0x02BC: None, 0x83BB: _iim, 0x8649: _photoshop}
"""XMP, which stays whole; IPTC-IIM; Photoshop's image resources."""
