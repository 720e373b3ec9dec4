"""Images inside archives: WebDataset tars, and Parquet files in the layout of the Hugging Face Hub.

Listing opens no image and writes nothing to disk: a record says where its bytes lie, `read_encoded` fetches them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cinemae.core.image import MAX_BYTES
from cinemae.data.datasets import ImageRecord, TarPlace
from cinemae.data.tars import read_member, read_tar
from cinemae.errors import ImageError, SourceError


def read_archives(files: Sequence[str], root: Path) -> list[ImageRecord]:
    """List the images in archives of one kind, in the order given.

    `cinemae.data.tars` and `cinemae.data.parquet_images` say how labels are told.

    Args:
        files: ``.tar`` or ``.parquet`` files.
        root: The folder that labels are looked for below, and in whose own name.

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
        records = [record for file in files for record in read_tar(file, root)]
    else:
        from cinemae.data.parquet_images import read_parquet  # only here: it needs pyarrow

        records = [record for file in files for record in read_parquet(file, root)]
    if not records:
        raise SourceError(f"{root} holds archives without any image, such as {files[0]}: check how they were written.")
    return records


def read_encoded(record: ImageRecord) -> str | bytes:
    """Return what `cinemae.core.image.load_image` takes for a record: its path, or its bytes in an archive.

    Threads may share it. A few blocks of Parquet rows are kept, so that reading in order decodes each block once.

    Raises:
        ImageError: If the bytes cannot be fetched from the archive, or are more than an image may have.

    Example:
        >>> read_encoded(ImageRecord("photos/a.jpg", 0))
        'photos/a.jpg'
    """
    place = record.place
    if place is None:
        return record.path
    if isinstance(place, TarPlace):
        if place.size > MAX_BYTES:
            raise _too_long(record.path)
        return read_member(record.path, place)
    from cinemae.data.parquet_images import read_row  # only here: it needs pyarrow

    data = read_row(record.path, place)
    if len(data) > MAX_BYTES:
        raise _too_long(record.path)
    return data


def _too_long(path: str) -> ImageError:
    return ImageError(f"image {path!r} has more than the {MAX_BYTES:,} bytes allowed: give a smaller image.")
