"""Parts one after the other, on this machine's cores, without Ray."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from cinemae.detect.guarded import GuardConfig, PartWorker
from cinemae.detect.job import BulkJob, Engine, Part, PartReport
from cinemae.settings import usable_cores


def local_engine(*, patience_s: float = GuardConfig.patience_s) -> Engine:
    """Return the engine that has one worker, with every core."""

    def run(job: BulkJob, parts: Iterable[Part]) -> Generator[PartReport, None, None]:
        with PartWorker(job, GuardConfig(num_threads=usable_cores(), patience_s=patience_s)) as worker:
            for part, records in parts:
                yield worker.run(part, records)

    return run
