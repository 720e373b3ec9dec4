"""Parts one after the other, on this machine's cores, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

from cinemae.detect.guarded import GuardConfig, PartWorker
from cinemae.settings import usable_cores
from cinemae.stores.bulk import BulkJob, Engine, Part
from cinemae.stores.parts import PartReport


def local_engine(*, patience_s: float = GuardConfig.patience_s) -> Engine:
    """Return the engine that has one worker, with every core."""

    def run(job: BulkJob, parts: Iterable[Part], tell: Callable[[int], None]) -> Generator[PartReport, None, None]:
        with PartWorker(job, GuardConfig(num_threads=usable_cores(), patience_s=patience_s)) as worker:
            for part, records in parts:
                yield worker.run(part, records, tell)

    return run
