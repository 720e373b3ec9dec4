"""Files on this machine: what a folder, a glob or a name stands for, in an order that depends on names alone."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

from cinemae.errors import SourceError
from cinemae.pictures.signatures import HEAD_BYTES, is_surely_picture
from cinemae.sources.records import ARCHIVE_SUFFIXES, IMAGE_SUFFIXES, ImageRecord, Unlisted

_MAGIC = re.compile(r"[*?[]")


@dataclass
class Listing:
    """How folders are listed, and what was met there and not taken.

    Attributes:
        follow_links: Enter links to folders that lead out of the folder that was named, each folder once.
        num_left_out: Files met that are no images by their suffix or, where they have none, by their first bytes.
        links: Links to folders that were not entered because they lead out.
    """

    follow_links: bool = False
    num_left_out: int = 0
    links: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Say what was not taken, in one sentence; empty if there is nothing to say.

        Example:
            >>> Listing(num_left_out=3).summary()
            '3 files in folders were left out: no images by suffix or first bytes.'
        """
        said = []
        if self.num_left_out:
            files = (
                "1 file in a folder was" if self.num_left_out == 1 else f"{self.num_left_out:,} files in folders were"
            )
            said.append(f"{files} left out: no images by suffix or first bytes")
        if self.links:
            links = "1 link to a folder" if len(self.links) == 1 else f"{len(self.links):,} links to folders"
            said.append(f"{links} outside not followed, {self.links[0]} first: --follow-links enters them")
        return "; ".join(said) + "." if said else ""


def source_root(source: str | os.PathLike[str]) -> Path:
    """Return the folder below which names of folders tell labels: a folder itself, or the one that holds the rest."""
    text = os.fspath(source)
    if _is_dir(text):
        return Path(text)
    return _glob_root(text) if _MAGIC.search(text) and not Path(text).is_file() else Path(text).parent


def find_source(text: str, listing: Listing | None = None) -> tuple[Path, list[ImageRecord]]:
    """Return the folder that labels are looked for below, and the images and archives found.

    A folder that cannot be listed is a record whose place is `Unlisted`.

    Raises:
        SourceError: If there is no such source, it is a file of another kind, or nothing in it could be listed.
    """
    path, root, wanted = Path(text), source_root(text), IMAGE_SUFFIXES | ARCHIVE_SUFFIXES
    listing = listing or Listing()
    if _is_dir(text):
        found = list(_walk(text, _Tree(text, wanted, listing)))
    elif path.is_file():
        if has_suffix(text, ARCHIVE_SUFFIXES):
            return root, [ImageRecord(text)]
        advice = ": unpack it to a .tar" if re.search(r"\.(tgz|tar\.\w+)$", path.name.lower()) else ""
        raise SourceError(
            "images come from a folder, a glob, a .csv manifest, an uncompressed .tar or a .parquet file: "
            f"{text} is another kind of file{advice}."
        )
    elif _MAGIC.search(text):
        found = list(_glob(text, wanted, listing))
    else:
        raise SourceError(f"there is no folder, glob, .csv manifest, .tar or .parquet file {text}: check the path.")
    unlisted = [record.place for record in found if isinstance(record.place, Unlisted)]
    if unlisted and len(unlisted) == len(found):
        raise SourceError(unlisted[0].reason)
    return root, found


def find_images(paths: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """List image files, in the order the arguments came: `list_images`, for those who need each folder to be readable.

    Args:
        paths: Files, folders and globs.

    Returns:
        Paths as strings; within a folder or glob, sorted by name.

    Raises:
        SourceError: At once, if a path is missing or a folder or glob holds no image; later, if a folder cannot be
            listed.
    """
    listed = [list_images(os.fspath(path), Listing()) for path in paths]
    return (_listed_path(record) for records in listed for record in records)


def _listed_path(record: ImageRecord) -> str:
    if isinstance(record.place, Unlisted):
        raise SourceError(record.place.reason)
    return record.path


def list_images(text: str, listing: Listing) -> Iterator[ImageRecord]:
    """List the images that one argument stands for; labels are not looked for.

    A file named outright is yielded whatever its suffix. A folder is searched to the bottom: every file with an image
    suffix is yielded, whatever it turns out to be, and every file without a suffix that begins as an image does; a glob
    yields what it matches. A folder that cannot be listed is a record whose place is `Unlisted`.

    Args:
        text: A file, folder or glob.
        listing: Whether links are followed; it counts what is left out.

    Returns:
        Records; within a folder or glob, sorted by name.

    Raises:
        SourceError: At once, if the path is missing or the folder or glob holds no image.
    """
    found = _expand(text, listing)
    first = next(found, None)
    if first is None:
        links = f" {listing.summary()}" if listing.links else ""
        raise SourceError(f"{text} holds no image: looked for files ending in {suffix_list()}.{links}")
    return itertools.chain((first,), found)


def suffix_list() -> str:
    """Return the suffixes of images for a message."""
    return ", ".join(sorted(IMAGE_SUFFIXES))


def _expand(text: str, listing: Listing) -> Iterator[ImageRecord]:
    if _is_dir(text):
        return _walk(text, _Tree(text, IMAGE_SUFFIXES, listing))
    if os.path.lexists(text):
        return iter((ImageRecord(text),))
    if _MAGIC.search(text):
        return _glob(text, IMAGE_SUFFIXES, listing)
    raise SourceError(f"there is no file, folder or glob {text!r}: check the path.")


def _is_dir(text: str) -> bool:
    return os.path.isdir(text)  # noqa: PTH112 - unlike Path.is_dir it is False, not an error, for an unusable name


def has_suffix(name: str, suffixes: Set[str]) -> bool:
    """Tell whether a name ends in one of `suffixes`, in small letters or capitals."""
    return os.path.splitext(name)[1].lower() in suffixes  # noqa: PTH122 - a name, a million times


class _Tree:
    """What is searched at once: the folder that links may not lead out of, and the folders that were entered."""

    def __init__(self, root: str | Path, suffixes: Set[str], listing: Listing) -> None:
        self.real_root, self.suffixes, self.listing = os.path.realpath(root), suffixes, listing
        self._visited: set[tuple[int, int]] = set()

    def first_visit(self, folder: str) -> bool:
        """Tell whether a folder was not entered before, and remember it."""
        key = _identity(folder)
        if key in self._visited:
            return False
        self._visited.add(key)
        return True

    def entered(self, folder: str) -> bool:
        """Tell whether a folder was entered."""
        return _identity(folder) in self._visited

    def holds(self, path: str) -> bool:
        """Tell whether a path, all links resolved, lies below the root."""
        target = os.path.realpath(path)
        return target == self.real_root or target.startswith(self.real_root.rstrip(os.sep) + os.sep)

    def follows(self, link: str) -> bool:
        """Tell whether a link to a folder is entered: never one that stays below the root, others on request."""
        if self.holds(link):
            return False
        if not self.listing.follow_links:
            self.listing.links.append(link)
        return self.listing.follow_links


def _identity(folder: str) -> tuple[int, int]:
    status = Path(folder).stat()
    return status.st_dev, status.st_ino


def _walk(root: str, tree: _Tree) -> Iterator[ImageRecord]:
    """Yield files with one of the suffixes below `root`, depth first by name, entering each folder once.

    A link to a folder that lies below the tree's root is not entered: that folder is met under its own name, which is
    the one that labels it. One that leads elsewhere is entered if links are to be followed.
    """
    waiting: list[Iterator[tuple[str, bool]]] = [iter(((root, True),))]
    while waiting:
        path, is_folder = next(waiting[-1], (None, False))
        if path is None:
            waiting.pop()
        elif not is_folder:
            yield ImageRecord(path)
        else:
            try:
                if tree.first_visit(path):
                    waiting.append(iter(_list_folder(path, tree)))
            except OSError as error:
                yield ImageRecord(path, place=_unlisted(path, error))


def _list_folder(folder: str, tree: _Tree) -> list[tuple[str, bool]]:
    """Return (path, is a folder) of the files wanted in `folder` and of the folders to enter, by name."""
    found: list[tuple[str, bool]] = []
    num_left_out = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_folder(entry):
                if not entry.is_symlink() or tree.follows(entry.path):
                    found.append((entry.path, True))
            elif _is_image(entry.path, tree.suffixes):
                found.append((entry.path, False))
            else:
                num_left_out += 1
    tree.listing.num_left_out += num_left_out
    return sorted(found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_image(path: str, suffixes: Set[str]) -> bool:
    """Tell whether a file counts: by its suffix or, where it has none, by its first bytes."""
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 - a name, a million times
    if suffix:
        return suffix in suffixes
    try:
        if not os.path.isfile(path):  # noqa: PTH113 - a FIFO would be waited for
            return False
        with Path(path).open("rb") as file:
            return is_surely_picture(file.read(HEAD_BYTES))
    except OSError:
        return False


def _unlisted(folder: str, error: OSError) -> Unlisted:
    reason = f"the folder {folder} could not be listed ({error.strerror}): make it readable or leave it out."
    return Unlisted(reason)


def _glob_root(pattern: str) -> Path:
    """Return the part of `pattern` before its first wildcard."""
    parts = Path(pattern).parts
    wild = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    return Path(*parts[:wild])


def _glob(pattern: str, suffixes: Set[str], listing: Listing) -> Iterator[ImageRecord]:
    """Yield what `pattern` matches: files, and those wanted in matched folders, each once, sorted.

    Files count whatever their suffix if the pattern spells a suffix out (``*.dat``), else only with one of `suffixes`.
    What wildcards match behind a link that leads out of the folder before them is left out, as in folders.
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
    tree, outside = _Tree(root, suffixes, listing), dict[str, bool]()
    for match in matches:
        text = str(match)
        is_folder = _is_dir(text)
        folder = text if is_folder else str(match.parent)
        if folder not in outside:
            outside[folder] = not tree.holds(folder)
            if outside[folder] and not listing.follow_links:
                listing.links.append(folder)
        if outside[folder] and not listing.follow_links:
            continue
        if is_folder:
            found = _walk(text, tree)
        elif any_suffix or _is_image(text, suffixes):
            found = iter((ImageRecord(text),))
        else:
            listing.num_left_out += not tree.entered(folder)  # where it was counted
            continue
        for record in found:
            if record.path not in seen:
                seen.add(record.path)
                yield record
