"""Images inside archives, here or behind a URI: WebDataset tars, and Parquet files in the layout of the Hub.

Listing opens no image and writes nothing to disk: a record says where its bytes lie, `read_encoded` fetches them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cinemae.errors import ImageError, RemoteError, SourceError
from cinemae.pictures.picture import MAX_BYTES
from cinemae.sources.records import ImageRecord, RemotePlace, TarPlace, Unlisted
from cinemae.sources.remote import fetch
from cinemae.sources.tars import read_member, read_tar


def read_archives(files: Sequence[str], root: Path, *, labelled: bool = True) -> list[ImageRecord]:
    """List the images in archives of one kind, in the order given.

    `cinemae.sources.tars` and `cinemae.sources.parquet_images` say how labels are told.

    Args:
        files: ``.tar`` or ``.parquet`` files, paths or URIs.
        root: The folder that labels are looked for below, and in whose own name.
        labelled: Whether to look for labels at all; without, none can be wrong.

    Returns:
        The records, each with its `place`.

    Raises:
        SourceError: If the kinds are mixed, a file is damaged, compressed or not what its suffix says, a label is
            none, or no image is found.
        MissingDependencyError: If there are Parquet files, and no pyarrow.
    """
    kinds = {Path(file).suffix.lower() for file in files}
    if len(kinds) > 1:
        raise SourceError(
            f"a data set is made of tars or of Parquet files, {root} holds both: name one kind, as in {root}/**/*.tar."
        )
    if kinds == {".tar"}:
        records = [record for file in files for record in read_tar(file, root, labelled=labelled)]
    else:
        from cinemae.sources.parquet_images import read_parquet  # only here: it needs pyarrow

        records = [record for file in files for record in read_parquet(file, root, labelled=labelled)]
    if not records:
        raise SourceError(f"{root} holds archives without any image, such as {files[0]}: check how they were written.")
    return records


def read_encoded(record: ImageRecord) -> str | bytes:
    """Return what `cinemae.pictures.image.load_image` takes: a record's path, or its bytes from an archive or URI.

    Threads may share it. A few blocks of Parquet rows are kept, so that reading in order decodes each block once.

    Raises:
        ImageError: If the bytes cannot be fetched, are more than an image may have, or the record is no image's.
        MissingDependencyError: If the package for a URI is not installed.

    Example:
        >>> read_encoded(ImageRecord("photos/a.jpg", 0))
        'photos/a.jpg'
    """
    place = record.place
    if place is None:
        return record.path
    if isinstance(place, Unlisted):
        raise ImageError(place.reason)
    if isinstance(place, RemotePlace):
        try:
            return fetch(record.path, size=place.size, limit=MAX_BYTES)
        except RemoteError as error:
            raise ImageError(str(error)) from error
    if isinstance(place, TarPlace):
        if place.size > MAX_BYTES:
            raise _too_long(record.path)
        return read_member(record.path, place)
    from cinemae.sources.parquet_images import read_row  # only here: it needs pyarrow

    data = read_row(record.path, place)
    if len(data) > MAX_BYTES:
        raise _too_long(record.path)
    return data


def _too_long(path: str) -> ImageError:
    return ImageError(f"image {path!r} has more than the {MAX_BYTES:,} bytes allowed: give a smaller image.")
