"""A data set as one CSV file with the SHA-256 of every image: to pass on, to evaluate, and to check against later.

The columns ``path``, ``label`` and ``generator`` are those that `cinemae.sources.datasets.read_records` reads, so a
manifest is a source of images as well.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cinemae.errors import ImageError, SourceError
from cinemae.pictures.file_facts import read_facts
from cinemae.sources.labels import CLASS_NAMES, LABEL_WORDS
from cinemae.sources.records import ImageRecord, Unlisted
from cinemae.sources.stream import read_ahead
from cinemae.sources.whole_files import replacing

COLUMNS = ("path", "label", "generator", "split", "sha256", "bytes", "width", "height", "format")
"""In this order; what is not known is left empty."""

_READ = ("path", "label", "generator", "split", "sha256")
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One line of a manifest.

    Attributes:
        path: Relative to the manifest's folder, with forward slashes.
        label: 0 real, 1 fake, None unknown.
        generator: What made a fake, or where a photograph comes from; None unknown.
        split: "train", "val", "test" or another word; None unknown.
        sha256: Of the file, 64 hex digits; None where the manifest has none.
        num_bytes: Of the file; None unknown.
        width: Of the upright picture, in pixels; None where the header cannot be read.
        height: The same.
        container: "JPEG", "PNG", ...; None where the header cannot be read.
    """

    path: str
    label: int | None = None
    generator: str | None = None
    split: str | None = None
    sha256: str | None = None
    num_bytes: int | None = None
    width: int | None = None
    height: int | None = None
    container: str | None = None


@dataclass(frozen=True)
class ManifestReport:
    """What came of writing a manifest.

    Attributes:
        num_rows: Images listed.
        left_out: Path of, and reason for, each file that could not be listed: missing, or no name that UTF-8 can hold.
    """

    num_rows: int
    left_out: tuple[tuple[str, str], ...]


def hash_file(path: str | os.PathLike[str]) -> tuple[str, int]:
    """Return the SHA-256 of a regular file, 64 hex digits, and its length in bytes.

    Raises:
        SourceError: If there is none, or it cannot be read.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - a million times
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"{os.fspath(path)} is no regular file, and only those are hashed: leave it out.")
        with open(path, "rb") as file:  # noqa: PTH123
            return hashlib.file_digest(file, "sha256").hexdigest(), status.st_size
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        if isinstance(error, SourceError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{os.fspath(path)} could not be read ({reason}): check the path.") from error


def digest_of(path: str | os.PathLike[str]) -> str | None:
    """Return the SHA-256 of a regular file, 64 hex digits; None where there is none that can be read."""
    try:
        return hash_file(path)[0]
    except SourceError:
        return None


def write_manifest(
    records: Sequence[ImageRecord],
    splits: Sequence[str | None],
    out: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ManifestReport:
    """Hash every file of a data set and write the list; it appears whole or not at all.

    Damaged pictures are listed like the others, without size and format.

    Args:
        records: The images, each a file of its own.
        splits: "train", "val", "test" or None, for each record.
        out: The CSV file; paths in it are relative to its folder.
        progress: Called with (files done, files in all).

    Raises:
        SourceError: If an image lies in an archive.
    """
    inside = next((record for record in records if not isinstance(record.place, Unlisted | None)), None)
    if inside is not None:
        raise SourceError(
            f"a manifest lists files, and {inside.path} lies in an archive: unpack it, or hash the archive itself."
        )
    folder = os.path.abspath(out.parent)  # noqa: PTH100 - links in names stay as they were given
    items = list(zip(records, splits, strict=True))
    rows, left_out = 0, []
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        described = read_ahead(lambda item: _describe(item[0], item[1], folder), items)
        for done, ((record, _), row) in enumerate(zip(items, described, strict=True), 1):
            if isinstance(row, str):
                left_out.append((record.path, row))
            else:
                writer.writerow(_cells(row))
                rows += 1
            if progress:
                progress(done, len(items))
    return ManifestReport(rows, tuple(left_out))


def relative_name(path: str, folder: str) -> str:
    """Return a path as a manifest in `folder` writes it: relative, with forward slashes.

    A name that a spreadsheet would run as a formula gets ``./`` before it: the same file.

    Args:
        path: Of the image.
        folder: Absolute.

    Example:
        >>> relative_name("/data/set/=1+1.jpg", "/data/set"), relative_name("/data/a.jpg", "/data/lists")
        ('./=1+1.jpg', '../a.jpg')
    """
    name = os.path.relpath(os.path.abspath(path), folder).replace(os.sep, "/")  # noqa: PTH100
    return f"./{name}" if name.startswith(_FORMULA_SIGNS) else name


def read_manifest(manifest: Path, needed: Sequence[str] = ("path",)) -> list[ManifestRow]:
    """Read a manifest, as `write_manifest` or another tool wrote it; unknown columns are passed over.

    Args:
        manifest: A CSV file in UTF-8.
        needed: Columns that must be there; checksums are looked at where they are among them.

    Raises:
        SourceError: If it cannot be read, or a line is malformed (it is named).
    """
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip().casefold() for name in next(reader, [])]
            _check_header(header, needed, manifest)
            return [_row(header, line, needed, f"{manifest}, line {reader.line_num}") for line in reader if line]
    except csv.Error as error:
        raise SourceError(f"{manifest}, line {reader.line_num}: this is not valid CSV ({error}).") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the manifest {manifest} could not be read as UTF-8 text: {error}.") from error


def _check_header(header: Sequence[str], needed: Sequence[str], manifest: Path) -> None:
    missing = [name for name in needed if name not in header]
    if missing:
        raise SourceError(
            f"{manifest}, line 1: a manifest needs the columns {' and '.join(needed)} here (labels may be empty); "
            f"{' and '.join(missing)} is missing among {', '.join(header) or 'nothing'}: write one with `cinemae data "
            "manifest`."
        )
    twice = sorted({name for name in header if name in _READ and header.count(name) > 1})
    if twice:
        raise SourceError(f"{manifest}, line 1: the column {twice[0]} appears more than once: keep one.")


def _describe(record: ImageRecord, split: str | None, folder: str) -> ManifestRow | str:
    """Return a row, or why there can be none."""
    if isinstance(record.place, Unlisted):
        return record.place.reason
    name = relative_name(record.path, folder)
    try:
        name.encode("utf-8")
        digest, num_bytes = hash_file(record.path)
    except UnicodeEncodeError:
        return "its name is not UTF-8, and a manifest is: rename it"
    except SourceError as error:
        return str(error)
    row = ManifestRow(name, record.label, record.generator, split, digest, num_bytes)
    try:
        facts = read_facts(record.path)
    except ImageError:  # damaged: listed all the same, so that a later check knows it was so
        return row
    return ManifestRow(
        name, row.label, row.generator, split, digest, num_bytes, facts.width, facts.height, facts.container
    )


def _cells(row: ManifestRow) -> list[object]:
    known = (row.sha256, row.num_bytes, row.width, row.height, row.container)
    return [
        row.path,
        CLASS_NAMES[row.label],
        row.generator or "",
        row.split or "",
        *("" if value is None else value for value in known),
    ]


def _row(header: Sequence[str], line: Sequence[str], needed: Sequence[str], where: str) -> ManifestRow:
    if len(line) != len(header):
        raise SourceError(
            f"{where}: the header has {len(header)} columns, this line has {len(line)}: quote values that contain a "
            "comma."
        )
    said = dict.fromkeys(_READ, "") | dict(zip(header, line, strict=True))
    path, label, digest = said["path"], said["label"].strip().casefold(), said["sha256"].strip().lower()
    if not path.strip() or "\0" in path:
        raise SourceError(f"{where}: path must name a file, got {path!r}.")
    if label not in LABEL_WORDS:
        raise SourceError(f"{where}: a label is 0, 1, real, fake or empty, got {said['label']!r}: correct this line.")
    if digest and "sha256" in needed and not _SHA256.fullmatch(digest):
        raise SourceError(f"{where}: a SHA-256 has 64 hex digits, got {digest!r}: correct this line.")
    generator, split = (said[name].strip() or None for name in ("generator", "split"))
    return ManifestRow(path, LABEL_WORDS[label], generator, split, digest or None)
