"""The Ray path against the local path on the same two cores, and two workers against one on one core.

Steady state is timed, start-up apart: of a run on Ray, what comes before each worker's first part is start-up, and the
rate is that of the parts after it, by the times of their files (reports come later, several at once). The local path is
`Detector.detect_batch`, its model loaded, on every core.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.drawn_pictures import white_noise
from benchmarks.measure import Record, Samples, Target, WrongAnswerError, make_parser, median_ratio, run
from cinemae.detect.detect_job import DetectorSource, detect_job
from cinemae.detect.detector import THREADS_PER_IMAGE, Detector
from cinemae.detect.ray_engine import RayConfig, ray_engine
from cinemae.sources.records import ImageRecord
from cinemae.stores.bulk import run_bulk

os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's workers are nicer than others, and would lose to those here
NAMES = ("local, two cores", "Ray, two workers", "Ray, one worker")


@dataclass(frozen=True)
class Timed:
    """Seconds until each worker had one part done, and seconds an image after that."""

    start_up: float
    per_image: float


def measure(options: argparse.Namespace) -> Record:
    """Draw the pictures, compare the verdicts, and let the three take turns."""
    detector = Detector.from_pretrained(num_threads=THREADS_PER_IMAGE)
    with tempfile.TemporaryDirectory() as folder:
        records = [ImageRecord(str(draw(Path(folder), index))) for index in range(options.images)]
        expected = [verdict.to_dict() for verdict in detector.detect_batch(record.path for record in records)]
        samples: Samples = {name: [] for name in NAMES}
        start_ups: dict[str, list[float]] = {name: [] for name in NAMES[1:]}
        for turn in range(options.rounds):
            for shift in range(len(NAMES)):
                name = NAMES[(turn + shift) % len(NAMES)]
                if name == NAMES[0]:
                    timed = time_here(detector, records)
                else:
                    timed = time_on_ray(records, options.part_size, 2 if name == NAMES[1] else 1, expected)
                    start_ups[name].append(timed.start_up)
                samples[name].append(timed.per_image)
    rates = {f"{name}, images/s": 1 / statistics.median(values) for name, values in samples.items()}
    waits = {f"{name}, until each worker's first part, s": statistics.median(v) for name, v in start_ups.items()}
    overhead = median_ratio(samples[NAMES[1]], samples[NAMES[0]]) - 1
    scaling = median_ratio(samples[NAMES[2]], samples[NAMES[1]])
    return Record(
        benchmark="ray_engine",
        settings={"images": options.images, "part_size": options.part_size, "rounds": options.rounds},
        checks={"verdicts of both paths, every field": 0.0},
        figures={**rates, **waits},
        targets=[
            Target("seconds an image, Ray with two workers over local, less one", overhead, 0.10, at_least=False),
            Target("two workers on two cores over one on one, times as fast", scaling, 1.7, at_least=True),
        ],
        samples=samples,
    )


def draw(folder: Path, index: int) -> Path:
    """Save one picture as JPEG: noise, so that no two are the same."""
    path = folder / f"{index:05d}.jpg"
    white_noise(np.random.default_rng(index)).save(path, quality=90)
    return path


def time_here(detector: Detector, records: list[ImageRecord]) -> Timed:
    """Run in this process."""
    begin = time.perf_counter()
    for _ in detector.detect_batch(record.path for record in records):
        pass
    return Timed(0.0, (time.perf_counter() - begin) / len(records))


def time_on_ray(
    records: list[ImageRecord], part_size: int, num_workers: int, expected: list[dict[str, object]]
) -> Timed:
    """Run on a cluster of this machine alone.

    Raises:
        WrongAnswerError: If a verdict is another than `expected`.
    """
    with tempfile.TemporaryDirectory() as out:
        job = detect_job(DetectorSource(), Path(out) / "results", records, part_size=part_size)
        begin = time.time()
        run_bulk(job, records, ray_engine(RayConfig(num_workers=num_workers)))
        if [verdict.to_dict() for verdict in job.verdicts()] != expected:
            raise WrongAnswerError("the run on Ray says something else than the local one")
        ends = sorted(path.stat().st_mtime for path in Path(job.out).glob("part-*"))
    warm = ends[num_workers - 1]
    return Timed(warm - begin, (ends[-1] - warm) / (len(records) - num_workers * part_size))


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=int, default=512, help="pictures of 256 x 256 pixels")
    parser.add_argument("--part-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    run(measure, parser)
