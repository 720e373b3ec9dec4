"""A results folder that is gone on with: by the same list of images, or by one that grew.

Of a list that grew, every finished part stays as it is; what is in none of them makes new parts. Images are known by
their names: what a file held when it was scored is compared only where it has been touched since.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cinemae.errors import StoreError
from cinemae.sources.manifest import digest_of
from cinemae.sources.records import ImageRecord
from cinemae.sources.remote_object import is_remote
from cinemae.stores.parts import PartsFolder
from cinemae.stores.results import EarlierPart, ResultsHeader, results_folder

FIRST_PART_SIZE = 2
"""Images of the first new part, so that a run that is stopped early leaves something, with large pictures too."""

_SAME_WORK = ("model", "fingerprint", "threshold", "real_below", "stable")


@dataclass(frozen=True)
class ChangedImage:
    """A file that no longer holds what was scored.

    Attributes:
        path: The file.
        part_file: Where its row lies.
    """

    path: str
    part_file: str


def continue_results(
    path: str | os.PathLike[str], header: ResultsHeader, records: Sequence[ImageRecord]
) -> tuple[ResultsHeader, list[ImageRecord]]:
    """Fit a job to what is in its folder.

    Args:
        path: The results folder, here or behind a URI.
        header: The job as it would be without a folder.
        records: Its images.

    Returns:
        The job that goes on, and its images in the order of the folder's rows.

    Raises:
        StoreError: If the folder was begun with another model or other thresholds, holds results of images that are no
            longer among `records`, or cannot be read.
    """
    values = results_folder(path, header).begun()
    if values is None:
        first = min(FIRST_PART_SIZE, header.part_size)
        return dataclasses.replace(header, first_part_size=first), list(records)
    begun = ResultsHeader.read(values, os.fspath(path))
    header.check_same(begun, os.fspath(path), _SAME_WORK)
    if (begun.num_rows, begun.records_hash) == (header.num_rows, header.records_hash):
        kept = [one.part for one in begun.earlier]
        return begun, _in_order(results_folder(path, begun), kept, records)
    folder = results_folder(path, begun)
    finished = folder.finished()
    earlier = tuple(EarlierPart(part, len(begun.rows_of(part)), begun.job_of(part)) for part in finished)
    ordered = _in_order(folder, finished, records)
    first = min(FIRST_PART_SIZE, begun.part_size)
    grown = dataclasses.replace(header, part_size=begun.part_size, first_part_size=first, earlier=earlier)
    results_folder(path, grown).grow()
    return grown, ordered


def _in_order(folder: PartsFolder, kept: Sequence[int], records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """Return the records whose rows are kept, in the order of the rows, then the others."""
    if not kept:
        return list(records)
    named = {record.path: record for record in records}
    rows = [path for part in kept for path, _ in _rows_of(folder, part)]
    left = Counter(rows)
    others = []
    for record in records:
        if left[record.path]:
            left[record.path] -= 1
        else:
            others.append(record)
    if gone := sorted(left.elements()):
        raise StoreError(
            f"{folder.path} holds results of {len(gone):,} images that are not named now, {gone[0]} first: name them "
            "as well, or another folder for the results."
        )
    return [named[path] for path in rows] + others


def find_changed(folder: PartsFolder, parts: Sequence[int]) -> Iterator[ChangedImage]:
    """Yield the local files that no longer hold what was scored; those touched since are read.

    Args:
        folder: The results.
        parts: Finished ones.
    """
    if is_remote(folder.path):
        return
    for part in parts:
        file = Path(folder.path, folder.name_of(part))
        written = file.stat().st_mtime
        for path, content_hash in _rows_of(folder, part):
            if _is_touched(path, written) and digest_of(path) != content_hash:
                yield ChangedImage(path, file.name)


def _rows_of(folder: PartsFolder, part: int) -> Iterator[tuple[str, str | None]]:
    with folder.open(part) as file:
        rows = file.read(columns=["path", "content_hash"], use_threads=False)
    return zip(*(column.to_pylist() for column in rows.columns), strict=True)


def _is_touched(path: str, since: float) -> bool:
    try:
        status = os.stat(path)  # noqa: PTH116 - a million times
    except (OSError, ValueError):
        return False  # it lies elsewhere, or is gone
    return max(status.st_mtime, status.st_ctime) > since
