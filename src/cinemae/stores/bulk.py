"""What a bulk run does, apart from where it runs: a list of images in parts, and one worker function.

An engine takes part after part, has its images worked on, in a process of their own (`cinemae.detect.guarded`) or here,
and lets the job write the rows. A part's file is the only record of its being done, from whichever process it comes, so
engines need no common state, and a run goes on after any kill.
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
from cinemae.settings import usable_cores
from cinemae.sources.records import ImageRecord
from cinemae.stores.file_folders import open_folder
from cinemae.stores.parts import PartReport, PartsFolder

ScoreFunction = Callable[[Sequence[ImageRecord]], Generator[Sequence[Any], None, None]]
"""Records to their rows, in order, a batch at a time. A row has path and error_message."""


class BulkJob(Protocol):
    """One kind of work. Small, and can be pickled: it goes to every worker; what is heavy is loaded there."""

    @property
    def batch_size(self) -> int:
        """Images handed to the model together."""
        ...

    @property
    def parts(self) -> PartsFolder:
        """The folder that the rows are written to; every worker must see it."""
        ...

    def load(self, num_threads: int) -> ScoreFunction:
        """Load the model, once a process, and return the function that every engine calls."""
        ...

    def failed_row(self, record: ImageRecord, reason: str) -> Any:  # noqa: ANN401 - whatever `load`'s function gives
        """Return the row of an image that cannot be scored."""
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
Engine = Callable[[BulkJob, Iterable[Part], Callable[[int], None]], Generator[PartReport, None, None]]
"""Works on parts in any order, several at a time; gives each one's report once its file is there.

One that works on a part at a time may call the third argument with each number of images that it has rows of.
"""


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
        progress: Called with (images done, images in all) at the start, and after every batch or part.

    Returns:
        Counts over the whole job.

    Raises:
        FailureLimitError: If more images failed than `max_failures`.
        WorkerError: If the engine ends without having done every part.
        CinemaeError: Whatever the job raises: a model that cannot be loaded, a disk that is full.
    """
    header, pending = job.parts.header, job.parts.prepare()
    left = set(pending)
    tally = _Tally(header.num_rows, max_failures, progress or (lambda done, total: None))
    for part in header.part_numbers:
        if part not in left and (report := job.parts.report(part)):  # of earlier runs
            tally.add(report)
    tally.show()
    parts = ((number, [records[row] for row in header.rows_of(number)]) for number in pending)
    if pending:
        with closing(engine(job, parts, tally.show)) as reports:
            for report in reports:
                left.discard(report.part)
                tally.finish(report)
        if left:
            raise WorkerError(
                f"the engine ended without {len(left)} parts, {min(left)} first: run the same command again, finished "
                "parts are kept."
            )
    return BulkReport(
        num_rows=header.num_rows,
        num_failed=tally.num_failed,
        num_scored=sum(len(header.rows_of(number)) for number in pending),
        num_parts=header.num_parts,
        num_skipped_parts=header.num_parts - len(pending),
        quarantined=tuple(sorted(tally.quarantined)),
    )


def run_here(job: BulkJob, parts: Iterable[Part], tell: Callable[[int], None]) -> Generator[PartReport, None, None]:
    """Work on part after part in this process: an engine for models that are in memory already."""
    score = job.load(usable_cores())
    for part, records in parts:
        rows: list[Any] = []
        with closing(score(records)) as batches:
            for batch in batches:
                rows += batch
                tell(len(batch))
        job.write(part, rows)
        yield report_rows(part, rows)


class _Tally:
    def __init__(self, num_rows: int, max_failures: int | None, progress: Callable[[int, int], None]) -> None:
        self.num_rows, self.max_failures, self.progress = num_rows, max_failures, progress
        self.num_done = self.num_failed = self.in_hand = self.shown = 0
        self.quarantined: list[str] = []

    def add(self, report: PartReport) -> None:
        self.num_done += report.num_rows
        self.num_failed += report.num_failed
        self.quarantined += report.quarantined
        FailureLimitError.check(self.num_failed, self.max_failures)

    def finish(self, report: PartReport) -> None:
        """Count a part of this run, whose batches may have been shown."""
        self.in_hand = 0
        self.add(report)
        if self.shown != self.num_done:
            self.show()

    def show(self, num_more: int = 0) -> None:
        """Tell how far the run is, after `num_more` images of the part in hand."""
        self.in_hand += num_more
        self.shown = self.num_done + self.in_hand
        self.progress(self.shown, self.num_rows)


def report_rows(part: int, rows: Sequence[Any]) -> PartReport:
    """Count the rows of a part; each has path and error_message."""
    return PartReport.of(part, ((row.path, row.error_message) for row in rows))


def write_report(folder: str | os.PathLike[str], report: BulkReport) -> None:
    """Write ``report.json`` beside the parts: the counts, and the quarantined images by name."""
    text = json.dumps(dataclasses.asdict(report), indent=2) + "\n"
    open_folder(folder).write("report.json", text.encode())
