"""Which images, and what is known of them: folder trees, globs, CSV manifests and archives to `ImageRecord`.

Nothing here opens an image: a file that cannot be read is found out later, and becomes a row. What is refused here is a
source that names nothing, or a manifest that does not say what it must. What lies inside tars and Parquet files is read
by `cinemae.sources.archives`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from cinemae.errors import SourceError
from cinemae.sources.labels import LABEL_WORDS, label_from_folders
from cinemae.sources.remote import is_remote

IMAGE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
})  # fmt: skip
ARCHIVE_SUFFIXES = frozenset({".parquet", ".tar"})

_MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True)
class TarPlace:
    """Where the bytes of an image lie in an uncompressed tar.

    Attributes:
        file: The tar: a path, or a URI as `cinemae.sources.remote` reads them.
        offset: Of the first byte, from the start of the tar.
        size: In bytes.
    """

    file: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ParquetPlace:
    """Where the bytes of an image lie in a Parquet file.

    Attributes:
        file: The Parquet file: a path, or a URI as `cinemae.sources.remote` reads them.
        row_group: Counted from 0.
        row: Within the row group, counted from 0.
        column: The leaf column that holds the bytes, such as ``image.bytes``.
    """

    file: str
    row_group: int
    row: int
    column: str


@dataclass(frozen=True, slots=True)
class RemotePlace:
    """An object of its own behind a URI; the record's path is the URI.

    Attributes:
        size: In bytes, as listed; None unknown.
    """

    size: int | None = None


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a data set.

    Attributes:
        path: Where the file lies: absolute, relative to the working directory, or a URI. Of an archived image a name,
            unique within the data set, that a person can follow: ``shard-000.tar/000123.jpg``, ``train.parquet/17``.
        label: 0 real, 1 fake, None unknown.
        generator: What made a fake, or where a photograph comes from; None unknown.
        place: Where the bytes of an archived or remote image lie; None for a local file of its own.
            `cinemae.sources.archives.read_encoded` gives what to decode, for either kind.
    """

    path: str
    label: int | None = None
    generator: str | None = None
    place: TarPlace | ParquetPlace | RemotePlace | None = None


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image's bytes under its name, or why they could not be had.

    Attributes:
        path: As in the record.
        data: The encoded image; None if it could not be fetched.
        error_message: Why not.
    """

    path: str
    data: bytes | None = None
    error_message: str | None = None


def read_records(source: str | os.PathLike[str]) -> list[ImageRecord]:
    """List the images of a data set, in an order that depends on names alone.

    A folder or glob is labelled by the names of the folders below it. ``real``, ``nature`` or ``0_real`` means 0;
    ``fake``, ``ai`` or ``1_fake`` means 1; the outermost such name counts, and the source folder's own name where
    there is none below. The generator is the folder right under that name (``fake/sd1.4/x.jpg``); where there is none,
    the first folder above it other than a split (GenImage's ``Midjourney/.../train/ai/x.png``, AIGCDetectBenchmark's
    ``progan/airplane/1_fake/x.png``).

    A manifest is a CSV file in UTF-8 with the columns ``path`` and ``label`` and, if known, ``generator``; others are
    ignored. Paths are URIs or relative to the manifest's folder; a label is 0, 1, real, fake or empty.

    A ``.tar`` or ``.parquet`` file, a glob of them, or a folder that holds such files and no image of its own is read
    as `cinemae.sources.archives` says. All of this may lie behind a URI, as `cinemae.sources.sources` says.

    Args:
        source: A folder, a glob such as ``photos/**/*.jpg``, or a ``.csv``, ``.tar`` or ``.parquet`` file.

    Returns:
        The records: folders by name, depth first; a manifest or archive in its own order.

    Raises:
        SourceError: If the source is missing, names no image, or is a malformed manifest (the line is named) or
            archive.
    """
    text = os.fspath(source)
    path = Path(text)
    if path.suffix.lower() == ".csv" and path.is_file():
        return _read_manifest(path)
    far = not os.path.lexists(text) and (is_remote(text) or "{" in text)
    if far or (path.suffix.lower() == ".txt" and path.is_file()):
        from cinemae.sources.sources import read_far_records  # here, not above: sources.py builds upon this module

        return read_far_records(text)
    root, found = _find_source(text)
    images = [each for each in found if not _has_suffix(each, ARCHIVE_SUFFIXES)]
    if images:
        return [_record_from_tree(each, root) for each in images]
    if not found:
        raise SourceError(f"{text} holds no image: looked for files ending in {_suffix_list()}, .tar or .parquet.")
    from cinemae.sources.archives import read_archives  # here, not above: archives.py builds upon this module

    return read_archives(found, root)


def source_root(source: str | os.PathLike[str]) -> Path:
    """Return the folder below which names of folders tell labels: a folder itself, or the one that holds the rest."""
    text = os.fspath(source)
    if _is_dir(text):
        return Path(text)
    return _glob_root(text) if _MAGIC.search(text) and not Path(text).is_file() else Path(text).parent


def _find_source(text: str) -> tuple[Path, list[str]]:
    """Return the folder that labels are looked for below, and the images and archives found."""
    path, root, wanted = Path(text), source_root(text), IMAGE_SUFFIXES | ARCHIVE_SUFFIXES
    if _is_dir(text):
        return root, list(_walk(text, wanted))
    if path.is_file():
        if _has_suffix(text, ARCHIVE_SUFFIXES):
            return root, [text]
        advice = ": unpack it to a .tar" if re.search(r"\.(tgz|tar\.\w+)$", path.name.lower()) else ""
        raise SourceError(
            "images come from a folder, a glob, a .csv manifest, an uncompressed .tar or a .parquet file: "
            f"{text} is another kind of file{advice}."
        )
    if _MAGIC.search(text):
        return root, list(_glob(text, wanted))
    raise SourceError(f"there is no folder, glob, .csv manifest, .tar or .parquet file {text}: check the path.")


def hash_records(records: Iterable[ImageRecord]) -> str:
    """Return SHA-256 over path, label and generator of every record, in order; no image is opened."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(json.dumps([record.path, record.label, record.generator]).encode() + b"\n")
    return digest.hexdigest()


def find_images(paths: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """List the files to score, in the order the arguments came.

    A file named outright is yielded whatever its suffix. A folder is searched to the bottom, and every file with an
    image suffix is yielded, whatever it turns out to be; a glob yields what it matches. Links to folders are followed,
    each folder once, so that loops end.

    Args:
        paths: Files, folders and globs.

    Returns:
        Paths as strings; within a folder or glob, sorted by name.

    Raises:
        SourceError: At once, if a path is missing or a folder or glob holds no image; later, if a folder cannot be
            listed.
    """
    texts = [os.fspath(path) for path in paths]
    for text in texts:
        if next(_expand(text), None) is None:
            raise SourceError(f"{text} holds no image: looked for files ending in {_suffix_list()}.")
    return (found for text in texts for found in _expand(text))


def _suffix_list() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))


def _expand(text: str) -> Iterator[str]:
    if _is_dir(text):
        return _walk(text, IMAGE_SUFFIXES)
    if os.path.lexists(text):
        return iter((text,))
    if _MAGIC.search(text):
        return _glob(text, IMAGE_SUFFIXES)
    raise SourceError(f"there is no file, folder or glob {text!r}: check the path.")


def _is_dir(text: str) -> bool:
    return os.path.isdir(text)  # noqa: PTH112 - unlike Path.is_dir it is False, not an error, for an unusable name


def _has_suffix(name: str, suffixes: Set[str]) -> bool:
    return os.path.splitext(name)[1].lower() in suffixes  # noqa: PTH122 - a name, a million times


def _walk(root: str, suffixes: Set[str], visited: set[tuple[int, int]] | None = None) -> Iterator[str]:
    """Yield files with one of the suffixes below `root`, depth first by name, entering each folder once.

    A link to a folder that lies below the root's own is not entered: that folder is met under its own name, which is
    the one that labels it.
    """
    visited = set() if visited is None else visited
    real_root = os.path.realpath(root)
    if not _first_visit(root, visited):
        return
    stack = [iter(_list_folder(root, suffixes, real_root))]
    while stack:
        path, is_folder = next(stack[-1], (None, False))
        if path is None:
            stack.pop()
        elif not is_folder:
            yield path
        elif _first_visit(path, visited):
            stack.append(iter(_list_folder(path, suffixes, real_root)))


def _list_folder(folder: str, suffixes: Set[str], real_root: str) -> list[tuple[str, bool]]:
    """Return (path, is a folder) of the files wanted in `folder` and of the folders to enter, by name."""
    found: list[tuple[str, bool]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_folder(entry):
                    if not _leads_back(entry, real_root):
                        found.append((entry.path, True))
                elif _has_suffix(entry.name, suffixes):
                    found.append((entry.path, False))
    except OSError as error:
        raise _unlistable(folder, error) from error
    return sorted(found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _leads_back(entry: os.DirEntry[str], real_root: str) -> bool:
    if not entry.is_symlink():
        return False
    target = os.path.realpath(entry.path)
    return target == real_root or target.startswith(real_root.rstrip(os.sep) + os.sep)


def _first_visit(folder: str, visited: set[tuple[int, int]]) -> bool:
    try:
        status = Path(folder).stat()
    except OSError as error:
        raise _unlistable(folder, error) from error
    key = (status.st_dev, status.st_ino)
    if key in visited:
        return False
    visited.add(key)
    return True


def _unlistable(folder: str, error: OSError) -> SourceError:
    return SourceError(f"the folder {folder} could not be listed ({error.strerror}): make it readable or leave it out.")


def _glob_root(pattern: str) -> Path:
    """Return the part of `pattern` before its first wildcard."""
    parts = Path(pattern).parts
    wild = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    return Path(*parts[:wild])


def _glob(pattern: str, suffixes: Set[str]) -> Iterator[str]:
    """Yield what `pattern` matches: files, and those wanted in matched folders, each once, sorted.

    Files count whatever their suffix if the pattern spells a suffix out (``*.dat``), else only with one of `suffixes`.
    """
    root = _glob_root(pattern)
    rest = str(Path(*Path(pattern).parts[len(root.parts) :]))
    suffix = Path(rest).suffix
    any_suffix = bool(suffix) and not _MAGIC.search(suffix)
    try:
        matches = sorted(root.glob(rest))  # pathlib's ** enters no links, so it cannot run in circles
    except (ValueError, NotImplementedError) as error:
        raise SourceError(f"{pattern!r} is not a glob that can be read: {error}.") from error
    seen: set[str] = set()
    visited: set[tuple[int, int]] = set()
    for match in matches:
        text = str(match)
        if _is_dir(text):
            found = _walk(text, suffixes, visited)
        else:
            found = iter((text,) if any_suffix or _has_suffix(text, suffixes) else ())
        for path in found:
            if path not in seen:
                seen.add(path)
                yield path


def _record_from_tree(path: str, root: Path) -> ImageRecord:
    return ImageRecord(path, *label_from_folders(Path(path).parts[len(root.parts) : -1], root.name))


def _read_manifest(manifest: Path) -> list[ImageRecord]:
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip().casefold() for name in next(reader, [])]
            _check_header(header, manifest)
            records = [
                _record_from_row(dict(zip(header, row, strict=True)), manifest, reader.line_num)
                for row in reader
                if _has_width(row, len(header), manifest, reader.line_num)
            ]
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the manifest {manifest} could not be read as UTF-8 text: {error}.") from error
    except csv.Error as error:
        raise SourceError(f"{manifest}, line {reader.line_num}: this is not valid CSV ({error}).") from error
    if not records:
        raise SourceError(f"the manifest {manifest} lists no image: it has a header and nothing below it.")
    return records


def _check_header(header: list[str], manifest: Path) -> None:
    missing = [name for name in ("path", "label") if name not in header]
    if missing:
        raise SourceError(
            f"{manifest}, line 1: a manifest needs the columns path and label (and may have generator); "
            f"{' and '.join(missing)} is missing among {', '.join(header) or 'nothing'}. Labels may be left empty."
        )
    twice = sorted({name for name in header if name in ("path", "label", "generator") and header.count(name) > 1})
    if twice:
        raise SourceError(f"{manifest}, line 1: the column {twice[0]} appears more than once: keep one.")


def _has_width(row: list[str], width: int, manifest: Path, line: int) -> bool:
    if row and len(row) != width:
        raise SourceError(
            f"{manifest}, line {line}: the header has {width} columns, this line has {len(row)}: "
            "quote values that contain a comma."
        )
    return bool(row)


def _record_from_row(row: dict[str, str], manifest: Path, line: int) -> ImageRecord:
    path = row["path"]
    if not path.strip() or "\0" in path:
        raise SourceError(f"{manifest}, line {line}: path must name a file, got {path!r}.")
    word = row["label"].strip().casefold()
    if word not in LABEL_WORDS:
        raise SourceError(
            f"{manifest}, line {line}: a label is 0, 1, real, fake or empty, got {row['label']!r}: correct this line."
        )
    place = RemotePlace() if is_remote(path) else None
    where = path if place else str(manifest.parent / path)
    return ImageRecord(where, LABEL_WORDS[word], row.get("generator", "").strip() or None, place)
