"""A detect job whose images do what their names say, and which keeps a log: workers import it, so it is a module."""

from __future__ import annotations

import json
import os
import pickle
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cinemae.detect.detect_job import DetectJob
from cinemae.errors import ModelDirError
from cinemae.sources.records import ImageRecord
from cinemae.stores.bulk import ScoreFunction


@dataclass(frozen=True)
class WatchedJob(DetectJob):
    """A job to watch.

    Attributes:
        log: A file.
        seconds: How long each image takes.
        broken: Spoils the loading, or fills the disk at the third part.
        s3: Where s3:// is, for a quick and impatient client.
        gather: How many scoring processes must have loaded before one begins.
    """

    log: str = ""
    seconds: float = 0.0
    broken: str = ""
    s3: str = ""
    gather: int = 1

    def load(self, num_threads: int) -> ScoreFunction:
        if self.broken == "exit":
            os._exit(7)
        if self.broken == "raise":
            raise ModelDirError("there is no model on this machine.")
        if self.s3:
            be_impatient(self.s3)
        score = super().load(num_threads)
        note(self.log, event="load", child=os.getpid(), parent=os.getppid(), threads=num_threads)
        while len(read_log(self.log, "load")) < self.gather:
            time.sleep(0.01)

        def watched(records: Sequence[ImageRecord]) -> Iterator[Sequence[Any]]:
            for start in range(0, len(records), self.batch_size):
                batch = records[start : start + self.batch_size]
                for record in batch:
                    act(Path(record.path).name, self.seconds)
                yield from score(batch)
                note(self.log, event="scored", paths=[record.path for record in batch])

        return watched

    def write(self, part: int, rows: Sequence[Any]) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if self.broken == "disk full" and part == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the kernel refuses as a full disk does
        try:
            super().write(part, rows)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        note(self.log, event="written", part=part, process=os.getpid())


def be_impatient(endpoint: str) -> None:
    from cinemae.sources import object_store, remote

    os.environ.update(AWS_ENDPOINT_URL=endpoint, AWS_REGION="us-east-1")
    os.environ.update(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")
    remote.FIRST_WAIT = 0.05
    object_store._OPTIONS["s3"]["config_kwargs"]["read_timeout"] = 4.0


def act(name: str, seconds: float) -> None:
    if "kills" in name:
        os._exit(9)
    if "hangs" in name:
        time.sleep(1000)
    time.sleep(seconds)


def watch(job: DetectJob, log: Path, **changes: Any) -> WatchedJob:
    values = {field.name: getattr(job, field.name) for field in fields(job)}
    return WatchedJob(**{**values, "log": str(log), **changes})


def note(log: str, **values: Any) -> None:
    with Path(log).open("a") as file:  # one short write: lines of several processes do not mix
        file.write(json.dumps(values) + "\n")


def read_log(log: str | Path, event: str) -> list[dict[str, Any]]:
    if not Path(log).exists():
        return []
    return [entry for line in Path(log).read_text().splitlines() if (entry := json.loads(line))["event"] == event]


def parts_written(log: Path) -> Counter[int]:
    return Counter(entry["part"] for entry in read_log(log, "written"))


def drive(address: str, given: str) -> None:
    """Be a driver that can be killed: `given` is a file with a pickled pair of job and records."""
    from cinemae.detect.ray_engine import RayConfig, ray_engine
    from cinemae.stores.bulk import run_bulk

    job, records = pickle.loads(Path(given).read_bytes())
    run_bulk(job, records, ray_engine(RayConfig(address=address, num_workers=2)))
