"""One image of a data set, and where its bytes lie; nothing is opened here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

IMAGE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
    ".arw", ".cr2", ".dng", ".nef",
})  # fmt: skip
ARCHIVE_SUFFIXES = frozenset({".parquet", ".tar"})


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
class Unlisted:
    """Stands for images that could not be found: a folder that cannot be listed, an argument that names nothing.

    Attributes:
        reason: Why, as a sentence.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a data set.

    Attributes:
        path: Where the file lies: absolute, relative to the working directory, or a URI. Of an archived image a name,
            unique within the data set, that a person can follow: ``shard-000.tar/000123.jpg``, ``train.parquet/17``.
        label: 0 real, 1 fake, None unknown.
        generator: What made a fake, or where a photograph comes from; None unknown.
        place: Where the bytes of an archived or remote image lie; None for a local file of its own; `Unlisted` for what
            is no image, and has a row that says so. `cinemae.sources.archives.read_encoded` gives what to decode.
    """

    path: str
    label: int | None = None
    generator: str | None = None
    place: TarPlace | ParquetPlace | RemotePlace | Unlisted | None = None


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


def hash_records(records: Iterable[ImageRecord]) -> str:
    """Return SHA-256 over path, label and generator of every record, in order; no image is opened."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(json.dumps([record.path, record.label, record.generator]).encode() + b"\n")
    return digest.hexdigest()
