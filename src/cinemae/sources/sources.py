"""Where images come from, near and far: paths, URIs, lists of them, tars and Parquet files to `ImageRecord`.

A record is small and can be sent to another process; `cinemae.sources.archives.read_encoded` fetches its bytes
wherever it is called, `encoded_images` does so for many, a few ahead of whoever scores them. Listing opens no image.

A URI begins with s3://, gs://, hf://, http:// or https:// (`cinemae.sources.remote`). Over HTTP there are single files
only. Sets in braces, ``shard-{000..099}.tar`` or ``{a,b}.tar``, stand for the names that they spell out. A ``.txt``
file is a list: a path, a URI or a pattern a line. A list that is itself behind a URI may name URIs alone.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from cinemae.errors import ImageError, RemoteError, SourceError
from cinemae.sources.archives import read_archives, read_encoded
from cinemae.sources.labels import label_from_folders
from cinemae.sources.local_files import Listing, find_images, list_images
from cinemae.sources.records import ARCHIVE_SUFFIXES, IMAGE_SUFFIXES, EncodedImage, ImageRecord, RemotePlace, Unlisted
from cinemae.sources.remote import fetch, find_objects
from cinemae.sources.remote_object import RemoteObject, is_remote, shown
from cinemae.sources.stream import read_ahead

LIST_SUFFIX = ".txt"
MAX_LIST_BYTES = 2**30
MAX_NAMES = 1_000_000
"""Most names that one pattern in braces may spell out."""
FETCHERS = 16
"""Threads that wait for bytes from afar at the same time."""

_SET = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MAGIC = re.compile(r"[*?[]")


def find_records(sources: Iterable[str | os.PathLike[str]], listing: Listing | None = None) -> Iterator[ImageRecord]:
    """List the images to score, in the order the arguments came; labels are not looked for.

    Paths are read as `cinemae.sources.local_files.list_images` reads them. Archives count where they are named
    outright, by a pattern, or lie in a folder behind a URI; lists where they are named.

    Args:
        sources: Files, folders, globs, archives and lists, here or behind URIs.
        listing: How folders here are listed; it counts what is left out.

    Returns:
        Records; within a folder or glob, sorted by name. A source that is missing or holds no image, and a folder that
        cannot be listed, is a record whose place is `Unlisted`.

    Raises:
        SourceError: At once, if every source is missing or holds no image.
        MissingDependencyError: If the package for a URI is not installed.
    """
    listing = listing or Listing()
    listed, refusals = [], []
    for source in sources:
        text = os.fspath(source)
        try:
            listed.append(_listed(text, listing))
        except SourceError as error:
            refusals.append(error)
            listed.append(_unlisted(text, error))
    if refusals and len(refusals) == len(listed):
        raise refusals[0]
    return itertools.chain.from_iterable(listed)


def listed_or_unlisted(source: str, listing: Listing) -> Iterator[ImageRecord]:
    """Return the records of one source among others; one that is missing or holds no image is a record that says so."""
    try:
        return _listed(source, listing)
    except SourceError as error:
        return _unlisted(source, error)


def _unlisted(source: str, error: SourceError) -> Iterator[ImageRecord]:
    return iter((ImageRecord(source, place=Unlisted(str(error))),))


def encoded_images(
    records: Iterable[ImageRecord], *, num_fetchers: int = FETCHERS
) -> Generator[str | EncodedImage, None, None]:
    """Yield what `cinemae.detect.detector.Detector.detect_batch` takes for each record, in order, fetched ahead.

    Args:
        records: Taken as needed; a local file of its own becomes its path, and is read by whoever scores it.
        num_fetchers: How many are fetched at the same time, and about how many are held.
    """
    listed = iter(records)
    for record in listed:
        if record.place is None:  # nothing to wait for, so that names from a pipe pass at once
            yield record.path
        else:
            rest = itertools.chain([record], listed)
            yield from read_ahead(_encoded, rest, num_workers=num_fetchers, ahead=num_fetchers)


def read_far_records(source: str, listing: Listing | None = None) -> list[ImageRecord]:
    """List a labelled data set behind a URI, in a list, or spelled out by braces.

    Folders below the URI tell labels as they do below a folder (`cinemae.sources.datasets.read_records`).

    Raises:
        SourceError: If it is missing, names no image, or an archive of it is malformed.
    """
    return list(_far(source, listing or Listing(), labelled=True))


def spell_out(pattern: str) -> list[str]:
    """Return the names that sets in braces stand for, in their order.

    Raises:
        SourceError: If they are more than `MAX_NAMES`.

    Example:
        >>> spell_out("{a,b}-{08..10}.tar")
        ['a-08.tar', 'a-09.tar', 'a-10.tar', 'b-08.tar', 'b-09.tar', 'b-10.tar']
        >>> spell_out("photo{}.jpg")
        ['photo{}.jpg']
    """
    parts: list[Iterable[str]] = []
    count, end = 1, 0
    for match in _SET.finditer(pattern):
        inside = match[1]
        if numbers := _RANGE.fullmatch(inside):
            first, last = int(numbers[1]), int(numbers[2])
            width = len(numbers[1]) if numbers[1].startswith("0") else 0
            choices: Iterable[str] = (f"{number:0{width}d}" for number in range(first, last + 1))
            count *= max(last - first + 1, 0)
        elif "," in inside:
            choices = inside.split(",")
            count *= inside.count(",") + 1
        else:
            continue
        if not 1 <= count <= MAX_NAMES:
            raise SourceError(f"{pattern!r} stands for {count:,} names, allowed are 1 to {MAX_NAMES:,}: split it.")
        parts += [(pattern[end : match.start()],), choices]
        end = match.end()
    return ["".join(name) for name in itertools.product(*parts, (pattern[end:],))]


def _encoded(record: ImageRecord) -> str | EncodedImage:
    try:
        found = read_encoded(record)
    except ImageError as error:
        return EncodedImage(record.path, error_message=str(error))
    return found if isinstance(found, str) else EncodedImage(record.path, found)


def _listed(text: str, listing: Listing) -> Iterator[ImageRecord]:
    """Return the records of one argument; what names nothing is refused here, not at the first record."""
    if os.path.lexists(text) and not Path(text).is_dir():
        if _suffix(text) == LIST_SUFFIX:
            return _read_list(text, listing)
        if _suffix(text) in ARCHIVE_SUFFIXES:
            return iter(read_archives([text], Path(text).parent, labelled=False))
    elif not os.path.lexists(text) and (is_remote(text) or _is_spelled(text)):
        return _far(text, listing, labelled=False)
    elif _MAGIC.search(text) and _suffix(text) in ARCHIVE_SUFFIXES:
        files = list(find_images([text]))
        return iter(read_archives(files, Path(text).parent, labelled=False))
    return list_images(text, listing)


def _far(text: str, listing: Listing, *, labelled: bool) -> Iterator[ImageRecord]:
    names = spell_out(text)
    if names != [text]:
        return itertools.chain.from_iterable([_listed(name, listing) for name in names])
    if _suffix(text) == LIST_SUFFIX and (is_remote(text) or Path(text).is_file()):
        return _read_list(text, listing)
    if not is_remote(text):
        raise SourceError(f"there is no file, folder, glob or URI {text!r}: check the path.")
    return iter(_below(text, labelled=labelled))


def _below(uri: str, *, labelled: bool) -> list[ImageRecord]:
    """List what a URI names: an object, those below a folder, or those that a glob matches."""
    try:
        objects = find_objects(uri)
    except RemoteError as error:
        raise SourceError(str(error)) from error
    root = _root_of(uri, objects)
    if [one.uri for one in objects] == [uri] and _suffix(uri) not in ARCHIVE_SUFFIXES:  # named outright
        return [_record(objects[0], root, labelled=labelled)]
    images = [one for one in objects if _suffix(one.uri) in IMAGE_SUFFIXES]
    if images:
        return [_record(one, root, labelled=labelled) for one in images]
    archives = [one.uri for one in objects if _suffix(one.uri) in ARCHIVE_SUFFIXES]
    if not archives:
        raise SourceError(f"{shown(uri)} holds no image, .tar or .parquet file: check the address.")
    return read_archives(archives, Path(root), labelled=labelled)


def _record(found: RemoteObject, root: str, *, labelled: bool) -> ImageRecord:
    label, generator = None, None
    if labelled:
        folders = PurePosixPath(found.uri).parts[len(PurePosixPath(root).parts) : -1]
        label, generator = label_from_folders(folders, PurePosixPath(root).name)
    return ImageRecord(found.uri, label, generator, RemotePlace(found.size))


def _root_of(uri: str, objects: list[RemoteObject]) -> str:
    """Return the folder below which names of folders tell labels."""
    if match := _MAGIC.search(uri):
        return uri[: match.start()].rpartition("/")[0]
    return uri.rpartition("/")[0] if [one.uri for one in objects] == [uri] else uri.rstrip("/")


def _read_list(text: str, listing: Listing) -> Iterator[ImageRecord]:
    """Yield the records of a list; a line that names nothing becomes a record that cannot be read."""
    far = is_remote(text)
    try:
        lines = (fetch(text, limit=MAX_LIST_BYTES) if far else Path(text).read_bytes()).splitlines()
    except OSError as error:
        raise SourceError(f"the list {shown(text)} could not be read ({error}): check the address.") from error
    names = [name for line in lines if (name := os.fsdecode(line.strip())) and not name.startswith("#")]
    if not names:
        raise SourceError(f"the list {shown(text)} names no image: give one path or URI a line.")
    near = next((name for name in names if far and not is_remote(name)), None)
    if near is not None:
        raise SourceError(f"a list from afar names URIs alone, {shown(text)} names {near!r}: keep such a list here.")
    if nested := next((name for name in names if _suffix(name) == LIST_SUFFIX), None):
        raise SourceError(f"a list names no further lists, {shown(text)} names {nested!r}: put them into one.")
    return itertools.chain.from_iterable(listed_name(name, listing) for name in names)


def listed_name(name: str, listing: Listing) -> Iterator[ImageRecord]:
    """Yield the records of one line of a list; what is not there comes as it is, to be a row that says so."""
    if name.lower().startswith(("http://", "https://")) and _suffix(name) not in ARCHIVE_SUFFIXES:
        yield from (ImageRecord(each, place=RemotePlace()) for each in spell_out(name))
        return
    try:
        yield from _listed(name, listing)
    except SourceError:
        yield ImageRecord(name, place=RemotePlace() if is_remote(name) else None)


def _is_spelled(text: str) -> bool:
    return "{" in text and spell_out(text) != [text]


@functools.lru_cache(maxsize=4096)
def _suffix(text: str) -> str:
    path = urlsplit(text).path if is_remote(text) else text
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 - a name, a million times
