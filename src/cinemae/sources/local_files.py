"""Files on this machine: what a folder, a glob or a name stands for, in an order that depends on names alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

from cinemae.errors import SourceError
from cinemae.sources.records import ARCHIVE_SUFFIXES, IMAGE_SUFFIXES

_MAGIC = re.compile(r"[*?[]")


def source_root(source: str | os.PathLike[str]) -> Path:
    """Return the folder below which names of folders tell labels: a folder itself, or the one that holds the rest."""
    text = os.fspath(source)
    if _is_dir(text):
        return Path(text)
    return _glob_root(text) if _MAGIC.search(text) and not Path(text).is_file() else Path(text).parent


def find_source(text: str) -> tuple[Path, list[str]]:
    """Return the folder that labels are looked for below, and the images and archives found.

    Raises:
        SourceError: If there is no such source, or it is a file of another kind.
    """
    path, root, wanted = Path(text), source_root(text), IMAGE_SUFFIXES | ARCHIVE_SUFFIXES
    if _is_dir(text):
        return root, list(_walk(text, wanted))
    if path.is_file():
        if has_suffix(text, ARCHIVE_SUFFIXES):
            return root, [text]
        advice = ": unpack it to a .tar" if re.search(r"\.(tgz|tar\.\w+)$", path.name.lower()) else ""
        raise SourceError(
            "images come from a folder, a glob, a .csv manifest, an uncompressed .tar or a .parquet file: "
            f"{text} is another kind of file{advice}."
        )
    if _MAGIC.search(text):
        return root, list(_glob(text, wanted))
    raise SourceError(f"there is no folder, glob, .csv manifest, .tar or .parquet file {text}: check the path.")


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
            raise SourceError(f"{text} holds no image: looked for files ending in {suffix_list()}.")
    return (found for text in texts for found in _expand(text))


def suffix_list() -> str:
    """Return the suffixes of images for a message."""
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


def has_suffix(name: str, suffixes: Set[str]) -> bool:
    """Tell whether a name ends in one of `suffixes`, in small letters or capitals."""
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
                elif has_suffix(entry.name, suffixes):
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
            found = iter((text,) if any_suffix or has_suffix(text, suffixes) else ())
        for path in found:
            if path not in seen:
                seen.add(path)
                yield path
