"""Sources that hold one class, by the option (--real, --fake) that they were named with; sub-folders are groups."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from cinemae.errors import SourceError
from cinemae.sources.datasets import read_records
from cinemae.sources.labels import SPLIT_NAMES, label_of_name
from cinemae.sources.local_files import Listing, source_root
from cinemae.sources.records import ImageRecord

CLASS = ("photographs", "generated images")
_OPTION = ("--real", "--fake")


def read_class(sources: Sequence[str], label: int, listing: Listing | None = None) -> list[ImageRecord]:
    """List the images of sources that hold one class.

    An image's group is the first folder below the source whose name says more than a class or a split; where there is
    none, the source itself. In manifests and archives it is the generator that they name.

    Args:
        sources: Folders, globs, manifests or archives.
        label: 0 real, 1 fake: what they were named as.
        listing: How folders here are listed; it counts what is left out.

    Returns:
        The records, each with that label, and its group as generator.

    Raises:
        SourceError: If a source is missing, empty or malformed, or says of an image that it is of the other class.
    """
    return [
        _as_class(record, source, name, label)
        for source, name in zip(sources, _names(sources), strict=True)
        for record in read_records(source, listing)
    ]


def is_file(source: str) -> bool:
    """Tell whether a source is one file, such as a manifest, and not a folder or glob."""
    return os.path.isfile(source)  # noqa: PTH113 - False, not an error, for a glob that no file can be called


def _names(sources: Sequence[str]) -> list[str]:
    """Return what to call each source: its own name, or all of what was given where two have the same."""
    short = [Path(source).stem if is_file(source) else source_root(source).resolve().name for source in sources]
    return [name if short.count(name) == 1 else source for source, name in zip(sources, short, strict=True)]


def _as_class(record: ImageRecord, source: str, name: str, label: int) -> ImageRecord:
    if record.place is None and not is_file(source):
        parts = Path(record.path).parts[len(source_root(source).parts) : -1]
        stated = next((found for part in parts if (found := label_of_name(part)) is not None), None)
        telling = [part for part in parts if part.casefold() not in SPLIT_NAMES and label_of_name(part) is None]
        group = telling[0] if telling else name
    else:
        stated, group = record.label, record.generator or name
    if stated not in (None, label):
        raise SourceError(
            f"{_OPTION[label]} names {CLASS[label]}, but in {source} the image {record.path} is said to be among the "
            f"{CLASS[1 - label]}: name the folder of each class itself, or correct the manifest."
        )
    return dataclasses.replace(record, label=label, generator=group)
