"""A folder of 12-megapixel JPEGs: images a second, and where the time goes.

The pictures are photographs that come with scikit-image, enlarged to 4032x3024 with noise as a sensor adds it, so that
a file has the megabytes a camera writes. Decoding is `load_image`: read, hash, decode, turn upright.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image, ImageOps

from benchmarks.measure import Record, Samples, Target, make_parser, require_close, run, take_turns
from cinemae.core.preprocess import preprocess
from cinemae.detect.detector import THREADS_PER_IMAGE, Detector
from cinemae.models.directory import resolve_model
from cinemae.models.scorers import TorchScorer
from cinemae.pictures.image import load_image
from cinemae.sources.stream import NUM_WORKERS

SIZE = (4032, 3024)
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "retina", "hubble_deep_field")
STAGES = ("decode", "preprocess", "model")
NOISE = 5.0
QUALITY = 92


def measure(options: argparse.Namespace) -> Record:
    """Make the folder, check the verdicts, time the stages alone, then the whole and decoding alone in turns."""
    detector = Detector.from_pretrained(options.model, num_threads=THREADS_PER_IMAGE)
    with tempfile.TemporaryDirectory() as folder:
        paths = [write_photograph(Path(folder), index) for index in range(options.images)]
        megabytes = sum(path.stat().st_size for path in paths) / len(paths) / 1e6
        checks = _check(detector, paths, options.model)
        wall, cpu = _time_stages(detector, paths)
        both = {"whole": lambda: _detect(detector, paths), "decode only": lambda: _decode(paths)}
        samples = take_turns(both, options.rounds)
    rates = {name: len(paths) / statistics.median(values) for name, values in samples.items()}
    spent = sum(cpu.values())
    return Record(
        benchmark="folder",
        settings={
            "images": options.images,
            "rounds": options.rounds,
            "model": options.model or "the bundled starter",
            "size": f"{SIZE[0]}x{SIZE[1]}, {megabytes:.1f} MB a file",
            "views an image": detector.config.extractor.image.num_views,
            "threads": NUM_WORKERS,
        },
        checks=checks,
        figures={
            "whole, images/s": rates["whole"],
            "decoding only, same threads, images/s": rates["decode only"],
            "whole / decoding only": rates["whole"] / rates["decode only"],
            **{f"{stage} alone, one after the other, ms/image": 1e3 * wall[stage] for stage in STAGES},
            **{f"{stage}, processor time, ms/image": 1e3 * cpu[stage] for stage in STAGES},
            **{f"{stage}, share of processor time, %": 100 * cpu[stage] / spent for stage in STAGES},
        },
        targets=[Target("decoding / model, processor time", cpu["decode"] / cpu["model"], 1.0, at_least=True)],
        samples=samples,
    )


def write_photograph(folder: Path, index: int) -> Path:
    """Enlarge a photograph to 12 megapixels, flip it for variety, add noise, write it as a camera would."""
    name = PHOTOGRAPHS[index % len(PHOTOGRAPHS)]
    picture = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
    picture = ImageOps.fit(picture, SIZE, Image.Resampling.BICUBIC)
    if index // len(PHOTOGRAPHS) % 2:
        picture = ImageOps.mirror(picture)
    rng = np.random.default_rng(index)
    noise = rng.standard_normal((SIZE[1], SIZE[0], 3), np.float32) * NOISE
    noisy = (np.asarray(picture, np.float32) + noise).clip(0, 255).astype(np.uint8)
    path = folder / f"{index:03d}-{name}.jpg"
    Image.fromarray(noisy).save(path, quality=QUALITY, subsampling="4:2:0")
    return path


def _detect(detector: Detector, paths: list[Path]) -> list[float | None]:
    return [verdict.prob_fake for verdict in detector.detect_batch(paths)]


def _decode(paths: list[Path]) -> None:
    with ThreadPoolExecutor(NUM_WORKERS) as pool:
        for _ in pool.map(lambda path: load_image(path).width, paths):
            pass


def _check(detector: Detector, paths: list[Path], model: str | None) -> dict[str, float]:
    """Compare the folder's scores with those of one image at a time, and some with torch's."""
    scores = _detect(detector, paths)
    alone = [detector.detect(path).prob_fake for path in paths]
    both = Detector.from_pretrained(model, precision="fp32"), Detector(TorchScorer(resolve_model(model), device="cpu"))
    few, exact = ([scorer.detect(path).prob_fake for path in paths[:3]] for scorer in both)
    return {
        "prob_fake, in a folder and alone": require_close("prob_fake in a folder", scores, alone, 1e-6),
        "prob_fake in float32, and torch (3 images)": require_close("prob_fake", few, exact, 1e-4),
    }


def _time_stages(detector: Detector, paths: list[Path]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median wall and processor seconds of each stage, run one after the other for each image."""
    wall: Samples = {stage: [] for stage in STAGES}
    cpu: Samples = {stage: [] for stage in STAGES}
    for path in paths:
        value: object = path
        steps: tuple[Callable[..., object], ...] = (
            load_image,
            lambda loaded: preprocess(loaded.image, detector.config.extractor.image),
            lambda pixel_values: detector.scorer.score(pixel_values[None]),
        )
        ticks = [(time.perf_counter(), time.process_time())]
        for step in steps:
            value = step(value)
            ticks.append((time.perf_counter(), time.process_time()))
        for stage, (before, after) in zip(STAGES, itertools.pairwise(ticks), strict=True):
            wall[stage].append(after[0] - before[0])
            cpu[stage].append(after[1] - before[1])
    return _medians(wall), _medians(cpu)


def _medians(samples: Samples) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in samples.items()}


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=int, default=18, help="in the folder")
    parser.add_argument("--rounds", type=int, default=5, help="how often the folder is scored")
    parser.add_argument("--model", help="a model directory; without it the bundled starter")
    run(measure, parser)


if __name__ == "__main__":
    main()
