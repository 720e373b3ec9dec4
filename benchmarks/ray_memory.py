"""Memory of a run on Ray over 100,000 small images: of the driver, and of Ray's object store, all along.

The model is the tiny one of the tests (random weights, one view of 32 x 32 pixels), so that parts come quickly and what
grows with their number shows. Every image is another, so that none is answered from the cache.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from tests.conftest import write_tiny_model

from benchmarks.measure import Record, Target, make_parser, run
from cinemae.detect.detect_job import DetectorSource, detect_job
from cinemae.detect.ray_engine import OBJECT_STORE_BYTES, RayConfig, ray_engine
from cinemae.models.export import export_onnx
from cinemae.sources.records import ImageRecord
from cinemae.stores.bulk import run_bulk

SIDE = 40


def measure(options: argparse.Namespace) -> Record:
    """Make the images, run, and compare the memory early with the memory late."""
    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny_model(Path(folder) / "tiny")
        export_onnx(model)
        records = [ImageRecord(str(path)) for path in draw(Path(folder) / "images", options.images)]
        job = detect_job(DetectorSource(str(model)), Path(folder) / "results", records)
        watch = Watch()
        begin = time.perf_counter()
        report = run_bulk(job, records, ray_engine(RayConfig(num_workers=2)), progress=watch.take)
        seconds = time.perf_counter() - begin
    if report.num_failed or report.num_rows != options.images:
        raise SystemExit(f"{report.num_failed} of {report.num_rows} images failed")
    early, late = watch.between(0.1, 0.4), watch.between(0.7, 1.0)
    growth = np.mean([row["driver"] for row in late]) / np.mean([row["driver"] for row in early]) - 1
    stored = max(row["store"] for row in watch.rows)
    return Record(
        benchmark="ray_memory",
        settings={"images": options.images, "parts": report.num_parts, "object store, MiB": OBJECT_STORE_BYTES / 2**20},
        checks={"images without a verdict": float(report.num_failed)},
        figures={
            "whole run, s": seconds,
            "images/s": options.images / seconds,
            "driver, 10 to 40 % of the run, MB": float(np.mean([row["driver"] for row in early])),
            "driver, last 30 % of the run, MB": float(np.mean([row["driver"] for row in late])),
            "driver, most, MB": max(row["driver"] for row in watch.rows),
            "object store, 10 to 40 % of the run, MB": float(np.mean([row["store"] for row in early])),
            "object store, last 30 % of the run, MB": float(np.mean([row["store"] for row in late])),
            "object store, most, MB": stored,
        },
        targets=[
            Target("growth of the driver from the first third to the last", float(growth), 0.05, at_least=False),
            Target("object store, most, MB", stored, OBJECT_STORE_BYTES / 1e6, at_least=False),
        ],
        samples={name: [row[name] for row in watch.rows] for name in ("done", "driver", "store")},
    )


class Watch:
    """Takes the memory at every hundredth of the run."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._process, self._lock = psutil.Process(os.getpid()), threading.Lock()

    def take(self, done: int, total: int) -> None:
        """Note how much is done, and the memory in MB."""
        share = done / total
        if done and (not self.rows or share - self.rows[-1]["done"] >= 0.01):
            self.rows.append(
                {"done": share, "driver": self._process.memory_info().rss / 1e6, "store": store_megabytes()}
            )

    def between(self, low: float, high: float) -> list[dict[str, float]]:
        """Return what was noted in a stretch of the run."""
        return [row for row in self.rows if low <= row["done"] <= high]


def store_megabytes() -> float:
    """Return how much of Ray's object store is used on this machine."""
    import ray

    name = "object_store_memory"
    return float(ray.cluster_resources()[name] - ray.available_resources().get(name, 0.0)) / 1e6


def draw(folder: Path, count: int) -> list[Path]:
    """Save `count` pictures of noise, 1,000 a folder."""
    rng, paths = np.random.default_rng(0), []
    for index in range(count):
        path = folder / f"{index // 1000:03d}" / f"{index:06d}.ppm"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path)
        paths.append(path)
    return paths


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    run(measure, parser)
