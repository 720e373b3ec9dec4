"""One row a file: what each file of a data set is, opened once and decoded to the last pixel."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cinemae.doctor.near_duplicates import picture_print
from cinemae.errors import ImageError, SourceError, why_unread
from cinemae.pictures.file_facts import read_facts
from cinemae.pictures.image import LoadedImage, load_image, open_header
from cinemae.sources.archives import read_encoded
from cinemae.sources.manifest import hash_file
from cinemae.sources.records import ARCHIVE_SUFFIXES, IMAGE_SUFFIXES, ImageRecord, Unlisted
from cinemae.sources.stream import read_ahead
from cinemae.statistics.format_probe import FactColumns

Status = Literal["ok", "empty", "missing", "unlisted", "unreadable"]

_HEAD = 512  # bytes looked at to say what a file is that is no picture
_KINDS = (
    ("an HTML or XML page", rb"\s*(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml|svg|error)"),
    ("a Git LFS pointer", rb"version https://git-lfs"),
    ("a ZIP archive", rb"PK\x03\x04"),
    ("a gzip archive", rb"\x1f\x8b"),
    ("a PDF", rb"%PDF-"),
    ("a video", rb".{4}ftyp(isom|mp4|avc1|qt  )|\x1aE\xdf\xa3"),
    ("JSON text", rb"\s*[{\[]\s*[\"{\]}]"),
    ("nothing but zero bytes", rb"\x00+$"),
    ("plain text", rb"[\t\n\r\x20-\x7e]+$"),
)
_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "PNG": {".png"},
    "WEBP": {".webp"},
    "GIF": {".gif"},
    "TIFF": {".tif", ".tiff", ".arw", ".cr2", ".dng", ".nef"},
    "BMP": {".bmp"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
    "JPEG2000": {".jp2", ".j2k"},
    "AVIF": {".avif", ".heic", ".heif", ".hif"},
    "HEIF": {".heic", ".heif", ".hif"},
}


@dataclass(frozen=True, slots=True)
class FileRow:
    """What is known of one file.

    Attributes:
        name: As reports show it: relative to the data set, or the path.
        record: Where it lies, its label and its generator.
        split: "train", "val", "test" or another word; None unknown.
        status: "ok" if it could be decoded to the end, "unlisted" if it is a folder that could not be listed.
        error_message: Why not.
        kind: Of a file that is no picture, what it is instead ("a ZIP archive"); None where nobody can tell.
        sha256: Of the bytes; None where there are none to hash.
        num_bytes: Length of the file; 0 unknown.
        container: "JPEG", "PNG", ...; "" unknown.
        width: Of the upright picture, in pixels; 0 unknown.
        height: The same.
        jpeg_quality: From 1 to 100; None unknown or no JPEG.
        traits: Of what a reader should know: "animated", "cmyk", "16-bit", "wrong_suffix".
        print: What the picture looks like, see `cinemae.doctor.near_duplicates`; None of one nearly flat.
    """

    name: str
    record: ImageRecord
    split: str | None
    status: Status
    error_message: str | None = None
    kind: str | None = None
    sha256: str | None = None
    num_bytes: int = 0
    container: str = ""
    width: int = 0
    height: int = 0
    jpeg_quality: int | None = None
    traits: tuple[str, ...] = ()
    print: bytes | None = None

    @property
    def label(self) -> int | None:
        """0 real, 1 fake, None unknown."""
        return self.record.label

    @property
    def generator(self) -> str:
        """What made a fake, or where a photograph comes from; "" unknown."""
        return self.record.generator or ""


def read_rows(
    records: Sequence[ImageRecord],
    splits: Sequence[str | None],
    root: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[FileRow]:
    """Open every file of a data set; in memory are only the rows and the few pictures being decoded.

    Args:
        records: The images.
        splits: Of each record.
        root: The folder that names are shown relative to.
        progress: Called with (files done, files in all).
    """
    rows = []
    items = zip(records, splits, strict=True)
    for row in read_ahead(lambda item: read_row(item[0], item[1], root), items):
        rows.append(row)
        if progress:
            progress(len(rows), len(records))
    return rows


def read_row(record: ImageRecord, split: str | None, root: Path) -> FileRow:
    """Open and decode one file.

    Args:
        record: The image.
        split: That it belongs to.
        root: The folder that its name is shown relative to.

    Returns:
        Its row, whatever is wrong with it.
    """
    name = shown_name(record.path, root)
    if isinstance(record.place, Unlisted):
        return FileRow(name, record, split, "unlisted", record.place.reason)
    try:
        encoded = read_encoded(record)
        loaded = load_image(encoded)
        traits = _traits(record, encoded, loaded)
    except Exception as error:
        return _broken_row(name, record, split, why_unread(error))
    return FileRow(
        name=name,
        record=record,
        split=split,
        status="ok",
        sha256=loaded.content_hash,
        num_bytes=loaded.num_bytes or 0,
        container=loaded.format or "",
        width=loaded.width,
        height=loaded.height,
        jpeg_quality=loaded.jpeg_quality,
        traits=traits,
        print=picture_print(loaded.image),
    )


def shown_name(path: str, root: Path) -> str:
    """Return a path relative to the data set, or unchanged where it lies elsewhere.

    Example:
        >>> shown_name("/data/set/real/a.jpg", Path("/data/set")), shown_name("/data/a.jpg", Path("/data/set"))
        ('real/a.jpg', '/data/a.jpg')
    """
    prefix = os.path.join(root, "")  # noqa: PTH118 - a prefix with its slash
    return path[len(prefix) :] if path.startswith(prefix) else path


def columns_of(rows: Sequence[FileRow]) -> FactColumns:
    """Return what the format probe looks at."""
    return FactColumns(
        np.array([row.container for row in rows], dtype=str),
        np.array([row.width for row in rows], np.int64),
        np.array([row.height for row in rows], np.int64),
        np.array([np.nan if row.jpeg_quality is None else row.jpeg_quality for row in rows], np.float64),
    )


def labels_of(rows: Sequence[FileRow]) -> NDArray[np.int64]:
    """Return 0 real, 1 fake, -1 unknown for each row, (N,)."""
    return np.array([-1 if row.label is None else row.label for row in rows], np.int64)


def find_passed_over(root: Path) -> tuple[list[str], list[str]]:
    """List the files of a folder that no command takes for images because of how their names end.

    Args:
        root: The folder; links to folders, and folders whose names begin with a dot, are not entered.

    Returns:
        Names relative to `root`: of those that are pictures by their first bytes, and of the others.
    """
    pictures, others = [], []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() in IMAGE_SUFFIXES | ARCHIVE_SUFFIXES:
                continue
            try:
                read_facts(path)
            except ImageError:
                others.append(shown_name(str(path), root))
            else:
                if path.suffix:  # without one it is taken for what it is
                    pictures.append(shown_name(str(path), root))
    return pictures, others


def _traits(record: ImageRecord, encoded: str | bytes, loaded: LoadedImage) -> tuple[str, ...]:
    found = []
    if "animated_first_frame" in loaded.warnings:
        found.append("animated")
    with open_header(encoded) as (_, opened, _):
        mode, depth = opened.mode, opened.depth
    if mode == "CMYK":
        found.append("cmyk")
    if depth > 8:
        found.append("16-bit")
    suffix = Path(record.path).suffix.lower()
    if suffix in IMAGE_SUFFIXES and suffix not in _SUFFIXES.get(loaded.format or "", {suffix}):
        found.append("wrong_suffix")
    return tuple(found)


def _broken_row(name: str, record: ImageRecord, split: str | None, message: str) -> FileRow:
    """Say what can still be said: length, hash, and what the first bytes look like."""
    broken = partial(FileRow, name=name, record=record, split=split, error_message=message)
    try:
        if record.place is None:
            digest, num_bytes = hash_file(record.path)
            with Path(record.path).open("rb") as file:
                head = file.read(_HEAD)
        else:
            data = read_encoded(record)
            data = data if isinstance(data, bytes) else data.encode()
            digest, num_bytes, head = hashlib.sha256(data).hexdigest(), len(data), data[:_HEAD]
    except (SourceError, ImageError, OSError):
        missing = record.place is None and not os.path.exists(record.path)  # noqa: PTH110 - a broken link is missing
        return broken(status="missing" if missing else "unreadable")
    if num_bytes == 0:
        return broken(status="empty", sha256=digest)
    return broken(status="unreadable", kind=_kind(head), sha256=digest, num_bytes=num_bytes)


def _kind(head: bytes) -> str | None:
    return next((kind for kind, signature in _KINDS if re.match(signature, head, re.DOTALL | re.IGNORECASE)), None)
