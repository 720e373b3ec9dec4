"""What a bulk run does, apart from where it runs: a list of images in parts, and one worker function.

An engine takes part after part, has its images scored in a process of their own (`cinemae.detect.guarded`) and lets the
job write the rows. A part's file is the only record of its being done: it appears whole, from whichever process made
it, and what has a file is not scored again. So engines need no common state, and a run goes on after any kill.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from cinemae.errors import FailureLimitError, WorkerError
from cinemae.sources.records import ImageRecord
from cinemae.stores.file_folders import open_folder

ScoreFunction = Callable[[Sequence[ImageRecord]], Iterable[Sequence[Any]]]
"""Records to their rows, in order, a batch at a time. A row has path, status and error_message."""

SET_ASIDE = "set aside: "
"""How the error_message of a quarantined image begins."""


@dataclass(frozen=True)
class PartReport:
    """What became of one part.

    Attributes:
        part: Which.
        num_rows: Its images.
        num_failed: Those that could not be read or scored, the quarantined among them.
        quarantined: Paths of the images that ended the process that scored them, again and again.
    """

    part: int
    num_rows: int
    num_failed: int
    quarantined: tuple[str, ...]


class BulkJob(Protocol):
    """One kind of work. Small, and can be pickled: it goes to every worker; what is heavy is loaded there."""

    @property
    def out(self) -> str:
        """The folder that the parts are written to."""
        ...

    @property
    def num_rows(self) -> int:
        """Images in all."""
        ...

    @property
    def batch_size(self) -> int:
        """Images handed to the model together."""
        ...

    def rows_of(self, part: int) -> range:
        """Return which images of the list a part holds."""
        ...

    def prepare(self) -> list[int]:
        """Make the output's folder, or find what an earlier run finished; return the parts left to do, ascending."""
        ...

    def load(self, num_threads: int) -> ScoreFunction:
        """Load the model, once a process, and return the function that every engine calls."""
        ...

    def failed_row(self, record: ImageRecord, reason: str) -> Any:  # noqa: ANN401 - whatever `load`'s function gives
        """Return the row of an image that cannot be scored."""
        ...

    def finished(self, part: int) -> PartReport | None:
        """Report a part whose file is there; None if it is not."""
        ...

    def write(self, part: int, rows: Sequence[Any]) -> None:
        """Write a part, whole or not at all."""
        ...


@dataclass(frozen=True)
class BulkReport:
    """What a bulk run left behind.

    Attributes:
        num_rows: Images of the whole job.
        num_failed: Those without a score; their rows say why.
        num_scored: Images that this run worked on.
        num_parts: Parts of the job.
        num_skipped_parts: Parts that an earlier run had finished.
        quarantined: Paths of images that ended the process that scored them.
    """

    num_rows: int
    num_failed: int
    num_scored: int
    num_parts: int
    num_skipped_parts: int
    quarantined: tuple[str, ...]


Part = tuple[int, Sequence[ImageRecord]]
Engine = Callable[[BulkJob, Iterable[Part]], Generator[PartReport, None, None]]
"""Works on parts in any order, several at a time; gives each one's report once its file is there."""


def run_bulk(
    job: BulkJob,
    records: Sequence[ImageRecord],
    engine: Engine,
    *,
    max_failures: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BulkReport:
    """Do a job, or go on where an earlier run of it stopped.

    Args:
        job: The work.
        records: The images, the same list in the same order whenever the job is gone on with.
        engine: Where it runs.
        max_failures: Stop once more images than this failed, those of earlier runs included.
        progress: Called with (images done, images in all) at the start and after every part.

    Returns:
        Counts over the whole job.

    Raises:
        FailureLimitError: If more images failed than `max_failures`.
        WorkerError: If the engine ends without having done every part.
        CinemaeError: Whatever the job raises: a model that cannot be loaded, a disk that is full.
    """
    pending = job.prepare()
    left = set(pending)
    tally = _Tally(job.num_rows, max_failures, progress or (lambda done, total: None))
    part = 0
    while len(job.rows_of(part)):  # those of earlier runs
        if part not in left and (report := job.finished(part)):
            tally.add(report)
        part += 1
    tally.show()
    parts = ((number, [records[row] for row in job.rows_of(number)]) for number in pending)
    if pending:
        with closing(engine(job, parts)) as reports:
            for report in reports:
                left.discard(report.part)
                tally.add(report)
                tally.show()
        if left:
            raise WorkerError(
                f"the engine ended without {len(left)} parts, {min(left)} first: run the same command again, finished "
                "parts are kept."
            )
    return BulkReport(
        num_rows=job.num_rows,
        num_failed=tally.num_failed,
        num_scored=sum(len(job.rows_of(number)) for number in pending),
        num_parts=part,
        num_skipped_parts=part - len(pending),
        quarantined=tuple(sorted(tally.quarantined)),
    )


class _Tally:
    def __init__(self, num_rows: int, max_failures: int | None, progress: Callable[[int, int], None]) -> None:
        self.num_rows, self.max_failures, self.progress = num_rows, max_failures, progress
        self.num_done = self.num_failed = 0
        self.quarantined: list[str] = []

    def add(self, report: PartReport) -> None:
        self.num_done += report.num_rows
        self.num_failed += report.num_failed
        self.quarantined += report.quarantined
        FailureLimitError.check(self.num_failed, self.max_failures)

    def show(self) -> None:
        self.progress(self.num_done, self.num_rows)


def report_rows(part: int, rows: Sequence[Any]) -> PartReport:
    """Count the rows of a part."""
    failed = [row for row in rows if row.status == "error"]
    set_aside = tuple(row.path for row in failed if row.error_message.startswith(SET_ASIDE))
    return PartReport(part, len(rows), len(failed), set_aside)


def write_report(folder: str | os.PathLike[str], report: BulkReport) -> None:
    """Write ``report.json`` beside the parts: the counts, and the quarantined images by name."""
    text = json.dumps(dataclasses.asdict(report), indent=2) + "\n"
    open_folder(folder).write("report.json", text.encode())
