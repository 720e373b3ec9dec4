"""Which images, and what is known of them: folder trees, globs, CSV manifests and archives to `ImageRecord`.

Nothing here opens an image: a file that cannot be read is found out later, and becomes a row. What is refused here is a
source that names nothing, or a manifest that does not say what it must. What lies inside tars and Parquet files is read
by `cinemae.sources.archives`.
"""

from __future__ import annotations

import os
from pathlib import Path

from cinemae.errors import SourceError
from cinemae.sources.archives import read_archives
from cinemae.sources.labels import label_from_folders
from cinemae.sources.local_files import Listing, find_source, has_suffix, suffix_list
from cinemae.sources.manifest import read_manifest
from cinemae.sources.records import ARCHIVE_SUFFIXES, ImageRecord, RemotePlace, Unlisted
from cinemae.sources.remote_object import is_remote
from cinemae.sources.sources import read_far_records, spell_out


def read_records(source: str | os.PathLike[str], listing: Listing | None = None) -> list[ImageRecord]:
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
        listing: How folders here are listed; it counts what is left out.

    Returns:
        The records: folders by name, depth first; a manifest or archive in its own order. A folder that cannot be
        listed is a record whose place is `Unlisted`.

    Raises:
        SourceError: If the source is missing, names no image, or is a malformed manifest (the line is named) or
            archive.
    """
    text = os.fspath(source)
    path, listing = Path(text), listing or Listing()
    if path.suffix.lower() == ".csv" and path.is_file():
        return _read_listed(path)
    far = not os.path.lexists(text) and (is_remote(text) or "{" in text)
    if far or (path.suffix.lower() == ".txt" and path.is_file()):
        names = spell_out(text)
        if names != [text]:
            return [record for name in names for record in read_records(name, listing)]
        return read_far_records(text, listing)
    root, found = find_source(text, listing)
    images = [one for one in found if isinstance(one.place, Unlisted) or not has_suffix(one.path, ARCHIVE_SUFFIXES)]
    if any(one.place is None for one in images):
        return [_record_from_tree(one, root) for one in images]
    archives = [one.path for one in found if one.place is None]
    if not archives:
        links = f" {listing.summary()}" if listing.links else ""
        raise SourceError(
            f"{text} holds no image: looked for files ending in {suffix_list()}, .tar or .parquet.{links}"
        )
    return [*read_archives(archives, root), *(_record_from_tree(one, root) for one in images)]


def _record_from_tree(found: ImageRecord, root: Path) -> ImageRecord:
    parts = Path(found.path).parts[len(root.parts) :]
    folders = parts if isinstance(found.place, Unlisted) else parts[:-1]
    return ImageRecord(found.path, *label_from_folders(folders, root.name), found.place)


def _read_listed(manifest: Path) -> list[ImageRecord]:
    """Return the records of a manifest; local paths are relative to its folder."""
    records = [
        ImageRecord(row.path, row.label, row.generator, RemotePlace())
        if is_remote(row.path)
        else ImageRecord(str(manifest.parent / row.path), row.label, row.generator)
        for row in read_manifest(manifest, ("path", "label"))
    ]
    if not records:
        raise SourceError(f"the manifest {manifest} lists no image: it has a header and nothing below it.")
    return records
