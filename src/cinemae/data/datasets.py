"""Which images, and what is known of them: folder trees, globs and CSV manifests to `ImageRecord`.

Nothing here opens an image: a file that cannot be read is found out later, and becomes a row. What is refused here is a
source that names nothing, or a manifest that does not say what it must.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cinemae.errors import SourceError

IMAGE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
})  # fmt: skip
REAL_NAMES = frozenset({"real", "nature", "0_real"})
FAKE_NAMES = frozenset({"fake", "ai", "1_fake"})
SPLIT_NAMES = frozenset({"train", "val", "valid", "validation", "test"})
LABEL_WORDS: dict[str, int | None] = {"0": 0, "real": 0, "1": 1, "fake": 1, "": None}

_MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a data set.

    Attributes:
        path: Where the file lies: absolute, or relative to the working directory.
        label: 0 real, 1 fake, None unknown.
        generator: What made a fake, or where a photograph comes from; None unknown.
    """

    path: str
    label: int | None = None
    generator: str | None = None


def read_records(source: str | os.PathLike[str]) -> list[ImageRecord]:
    """List the images of a data set, in an order that depends on names alone.

    A folder or glob is labelled by the names of the folders below it. ``real``, ``nature`` or ``0_real`` means 0;
    ``fake``, ``ai`` or ``1_fake`` means 1; the outermost such name counts, and the source folder's own name where
    there is none below. The generator is the folder right under that name (``fake/sd1.4/x.jpg``); where there is none,
    the first folder above it other than a split (GenImage's ``Midjourney/.../train/ai/x.png``, AIGCDetectBenchmark's
    ``progan/airplane/1_fake/x.png``).

    A manifest is a CSV file in UTF-8 with the columns ``path`` and ``label`` and, if known, ``generator``; others are
    ignored. Paths are relative to the manifest's folder; a label is 0, 1, real, fake or empty.

    Args:
        source: A folder, a glob such as ``photos/**/*.jpg``, or a ``.csv`` file.

    Returns:
        The records: folders by name, depth first; a manifest in its own order.

    Raises:
        SourceError: If the source is missing, names no image, or is a malformed manifest (the line is named).
    """
    text = os.fspath(source)
    path = Path(text)
    if _is_dir(text):
        root = path
        paths = _walk(text)
    elif path.is_file():
        if path.suffix.lower() != ".csv":
            raise SourceError(f"images come from a folder, a glob or a .csv manifest: {text} is another kind of file.")
        return _read_manifest(path)
    elif _MAGIC.search(text):
        root = _glob_root(text)
        paths = _glob(text)
    else:
        raise SourceError(f"there is no folder, glob or .csv manifest {text}: check the path.")
    records = [_record_from_tree(found, root) for found in paths]
    if not records:
        raise SourceError(f"{text} holds no image: looked for files ending in {_suffix_list()}.")
    return records


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
        return _walk(text)
    if os.path.lexists(text):
        return iter((text,))
    if _MAGIC.search(text):
        return _glob(text)
    raise SourceError(f"there is no file, folder or glob {text!r}: check the path.")


def _is_dir(text: str) -> bool:
    return os.path.isdir(text)  # noqa: PTH112 - unlike Path.is_dir it is False, not an error, for an unusable name


def _has_image_suffix(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a name, a million times


def _walk(root: str, visited: set[tuple[int, int]] | None = None) -> Iterator[str]:
    """Yield files with an image suffix below `root`, depth first by name, entering each folder once.

    A link to a folder that lies below the root's own is not entered: that folder is met under its own name, which is
    the one that labels it.
    """
    visited = set() if visited is None else visited
    real_root = os.path.realpath(root)
    if not _first_visit(root, visited):
        return
    stack = [iter(_list_folder(root, real_root))]
    while stack:
        path, is_folder = next(stack[-1], (None, False))
        if path is None:
            stack.pop()
        elif not is_folder:
            yield path
        elif _first_visit(path, visited):
            stack.append(iter(_list_folder(path, real_root)))


def _list_folder(folder: str, real_root: str) -> list[tuple[str, bool]]:
    """Return (path, is a folder) of the images in `folder` and of the folders to enter, by name."""
    found: list[tuple[str, bool]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_folder(entry):
                    if not _leads_back(entry, real_root):
                        found.append((entry.path, True))
                elif _has_image_suffix(entry.name):
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


def _glob(pattern: str) -> Iterator[str]:
    """Yield what `pattern` matches: files, and the images in matched folders, each once, sorted.

    Files count whatever their suffix if the pattern spells a suffix out (``*.dat``), else only with an image suffix.
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
            found = _walk(text, visited)
        else:
            found = iter((text,) if any_suffix or _has_image_suffix(text) else ())
        for path in found:
            if path not in seen:
                seen.add(path)
                yield path


def _record_from_tree(path: str, root: Path) -> ImageRecord:
    folders = Path(path).parts[len(root.parts) : -1]
    for index, folder in enumerate(folders):
        label = _label_of(folder)
        if label is not None:
            return ImageRecord(path, label, _generator(folders[:index], folders[index + 1 :]))
    label = _label_of(root.name)
    return ImageRecord(path, label, None if label is None else _generator((), folders))


def _label_of(folder: str) -> int | None:
    name = folder.casefold()
    return 0 if name in REAL_NAMES else 1 if name in FAKE_NAMES else None


def _generator(above: Sequence[str], below: Sequence[str]) -> str | None:
    if below:
        return below[0]
    return next((folder for folder in above if folder.casefold() not in SPLIT_NAMES), None)


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
    return ImageRecord(str(manifest.parent / path), LABEL_WORDS[word], row.get("generator", "").strip() or None)
