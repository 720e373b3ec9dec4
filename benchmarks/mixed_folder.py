"""A folder of mixed photographs with both cores and with one: images a second, and whether memory grows.

The photographs are those that come with scikit-image, in sizes from a thumbnail to 12 megapixels, JPEG, PNG and WebP;
each file differs in content. Every run is a process of its own, held to so many cores before anything is imported.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import skimage.data
from PIL import Image, ImageOps

from benchmarks.folder import PHOTOGRAPHS
from benchmarks.measure import Record, Samples, Target, make_parser, median_ratio, require_close, run
from cinemae.detect.detector import Detector

SIZES = ((320, 240), (640, 480), (1024, 768), (1280, 960), (1600, 1200), (2048, 1536), (3000, 2000), (4032, 3024))
"""Of the pictures; a small one occurs more often than a large one, as in a folder from the web (`SHARES`)."""

SHARES = (20, 25, 20, 12, 10, 7, 4, 2)
"""Of each size, in percent: a mean of 1.4 megapixels. A choice, not measured anywhere."""

FORMATS = (("JPEG", 92), ("JPEG", 85), ("JPEG", 75), ("JPEG", 85), ("WEBP", 80), ("PNG", None))

_CHILD = """
import json, sys, time
from pathlib import Path
from cinemae.detect.detector import THREADS_PER_IMAGE, Detector
detector = Detector.from_pretrained(num_threads=THREADS_PER_IMAGE)
paths = sorted(Path(sys.argv[1]).iterdir())
list(detector.detect_batch(paths[:4]))
begin = time.perf_counter()
scores = [verdict.prob_fake for verdict in detector.detect_batch(paths)]
print(json.dumps([time.perf_counter() - begin, scores]))
"""


def measure(options: argparse.Namespace) -> Record:
    """Make the folder, score it in turns with all cores and with one, and check the scores."""
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    samples: Samples = {"all cores": [], "one core": []}
    with tempfile.TemporaryDirectory() as folder:
        megabytes = write_folder(Path(folder), options.images)
        for _ in range(options.rounds):
            for name, some in (("all cores", cores), ("one core", cores[:1])):
                seconds, scores, memory = _score(folder, some)
                samples[name].append(seconds)
                if name == "all cores":
                    growth = _growth(memory)
                    all_scores, peak = scores, max(memory)
                else:
                    difference = require_close("prob_fake with one core", scores, all_scores, 0.0)
        paths = sorted(Path(folder).iterdir())[:: max(1, options.images // 20)]
        alone = [Detector.from_pretrained().detect(path).prob_fake for path in paths]
        positions = list(range(0, options.images, max(1, options.images // 20)))
        exact = require_close("prob_fake in a folder", [all_scores[index] for index in positions], alone, 0.0)
    rates = {name: options.images / min(values) for name, values in samples.items()}
    return Record(
        benchmark="mixed_folder",
        settings={
            "images": options.images,
            "rounds": options.rounds,
            "cores": len(cores),
            "model": "the bundled starter",
            "bytes a file": f"{1e3 * megabytes:.0f} kB",
        },
        checks={
            "prob_fake, all cores and one": difference,
            "prob_fake, in the folder and alone (every twentieth part)": exact,
        },
        figures={
            **{f"{name}, images/s": rate for name, rate in rates.items()},
            "memory at most, MB": peak,
            "memory, last quarter less second quarter, MB": growth,
        },
        targets=[
            Target("all cores / one core", median_ratio(samples["one core"], samples["all cores"]), 1.6, at_least=True),
            Target("growth of memory / its peak", growth / peak, 0.05, at_least=False),
        ],
        samples=samples,
    )


def write_folder(folder: Path, images: int) -> float:
    """Write so many files; return their mean size in megabytes."""
    rng = np.random.default_rng(0)
    made: dict[tuple[int, int, int], bytes] = {}
    total = 0
    for index in range(images):
        size = int(rng.choice(len(SIZES), p=np.array(SHARES) / sum(SHARES)))
        key = (size, int(rng.integers(len(PHOTOGRAPHS))), int(rng.integers(len(FORMATS))))
        if key not in made:
            made[key] = _encode(*key)
        suffix = FORMATS[key[2]][0].lower()
        data = made[key] + index.to_bytes(4, "big")  # what follows the end is no part of the picture, but of its hash
        (folder / f"{index:05d}.{suffix}").write_bytes(data)
        total += len(data)
    return total / images / 1e6


def _encode(size: int, photograph: int, kind: int) -> bytes:
    picture = Image.fromarray(getattr(skimage.data, PHOTOGRAPHS[photograph])()).convert("RGB")
    buffer = io.BytesIO()
    name, quality = FORMATS[kind]
    ImageOps.fit(picture, SIZES[size], Image.Resampling.BICUBIC).save(
        buffer, name, **({"quality": quality} if quality else {"compress_level": 3})
    )
    return buffer.getvalue()


def _score(folder: str, cores: list[int]) -> tuple[float, list[float], list[float]]:
    """Score the folder on these cores; return the seconds, the scores, and the memory in megabytes as time went on."""
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, folder],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    memory: list[float] = []

    def watch() -> None:
        process = psutil.Process(child.pid)
        while child.poll() is None:
            try:
                memory.append(process.memory_info().rss / 1e6)
            except psutil.NoSuchProcess:
                return
            time.sleep(0.2)

    threading.Thread(target=watch, daemon=True).start()
    out, _ = child.communicate()
    if child.returncode:
        raise RuntimeError(f"scoring the folder ended with {child.returncode}")
    seconds, scores = json.loads(out)
    return seconds, scores, memory


def _growth(memory: list[float]) -> float:
    """Return by how much the highest of the last quarter of a run exceeds that of its second quarter."""
    quarter = len(memory) // 4
    return max(memory[3 * quarter :]) - max(memory[quarter : 2 * quarter])


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=int, default=2000, help="in the folder")
    parser.add_argument("--rounds", type=int, default=1, help="how often it is scored with all cores and with one")
    parser.add_argument("--cores", type=int, default=2, help="what 'all cores' means")
    run(measure, parser)


if __name__ == "__main__":
    main()
