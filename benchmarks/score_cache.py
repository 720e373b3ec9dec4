"""Answers from the score cache against scoring: the same files, one at a time, answers compared as JSON.

Two kinds of files: photographs of 1024x768, as sites deliver them, and of 12 megapixels, as cameras write them (those
of `benchmarks.folder`). The cache is a file with many other scores in it, opened anew. Reading and hashing the file are
part of a hit. Copies within one run without a file are timed as well.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from benchmarks.folder import write_photograph
from benchmarks.measure import Record, Samples, Target, WrongAnswerError, make_parser, median_ratio, run, take_turns
from cinemae.detect.detector import Detector
from cinemae.detect.verdict_cache import VerdictCache, describe_context
from cinemae.models.directory import STARTER
from cinemae.stores.score_cache import ScoreCache

SITE_SIZE = (1024, 768)
TARGET = 50.0
_FILLING = {"text": "x" * 700}


def measure(options: argparse.Namespace) -> Record:
    """Make the files and the cache, compare the answers, then score and look up in turns."""
    plain = Detector.from_pretrained(num_threads=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = _write_files(folder, options.images)
        path = folder / "scores.sqlite"
        _fill(path, describe_context(STARTER, plain.scorer), options.rows)
        cached, copies = (
            Detector(plain.scorer, cache=VerdictCache.open(of, STARTER, plain.scorer), checked=plain.checked)
            for of in (path, None)
        )
        for files in kinds.values():
            _compare(plain, (cached, copies), files)
        contestants: dict[str, Callable[[], object]] = {}
        for kind, files in kinds.items():
            for what, detector in (("scored", plain), ("hit", cached), ("copy", copies)):
                contestants[f"{kind}, {what}"] = lambda detector=detector, files=files: _answers(detector, files)
        samples = take_turns(contestants, options.rounds)
        megabytes = path.stat().st_size / 1e6
        assert cached.cache is not None
        cached.cache.scores.close()
    return Record(
        benchmark="score_cache",
        settings={
            "images a kind": options.images,
            "rounds": options.rounds,
            "scores in the file": options.rows,
            "size of the file, MB": round(megabytes, 1),
            "threads an image": 1,
        },
        checks={"answers that differ as JSON": 0.0},
        figures=_figures(samples, options.images),
        targets=[
            Target(f"{kind}, a score / a hit", _ratio(samples, kind, "hit"), TARGET, at_least=True) for kind in kinds
        ],
        samples=samples,
    )


def _write_files(folder: Path, count: int) -> dict[str, list[str]]:
    large = [write_photograph(folder, index) for index in range(count)]
    small = []
    for path in large:
        with Image.open(path) as picture:
            small.append(folder / f"small-{path.name}")
            picture.resize(SITE_SIZE, Image.Resampling.LANCZOS).save(small[-1], quality=85)
    return {"1024x768": [str(path) for path in small], "12 megapixels": [str(path) for path in large]}


def _fill(path: Path, context: str, rows: int) -> None:
    """Put scores of other images into the file, in one transaction."""
    cache = ScoreCache(path)
    db = cache._connection
    assert db is not None
    db.execute("BEGIN")
    for number in range(rows):
        cache.put(context, hashlib.sha256(str(number).encode()).hexdigest(), _FILLING)
    db.execute("COMMIT")
    cache.close()


def _compare(plain: Detector, others: tuple[Detector, ...], files: list[str]) -> None:
    expected = _answers(plain, files)
    for detector in others:
        for _ in range(2):  # the first time they are scored, the second time found
            if _answers(detector, files) != expected:
                raise WrongAnswerError("an answer from the cache is not the answer without one")


def _answers(detector: Detector, files: list[str]) -> list[str]:
    return [json.dumps(verdict.to_dict()) for file in files for verdict in detector.detect_batch([file])]


def _ratio(samples: Samples, kind: str, what: str) -> float:
    return median_ratio(samples[f"{kind}, scored"], samples[f"{kind}, {what}"])


def _figures(samples: Samples, images: int) -> dict[str, float]:
    figures = {f"{name}, ms/image": 1e3 * statistics.median(values) / images for name, values in samples.items()}
    kinds = dict.fromkeys(name.rpartition(", ")[0] for name in samples)
    for kind in kinds:
        figures |= {f"{kind}, a score / a {what}": _ratio(samples, kind, what) for what in ("hit", "copy")}
    return figures


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=int, default=12, help="of each kind")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is timed")
    parser.add_argument("--rows", type=int, default=200_000, help="scores of other images in the file")
    run(measure, parser)


if __name__ == "__main__":
    main()
