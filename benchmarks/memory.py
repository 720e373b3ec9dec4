"""Peak memory of scoring one image with a model of ViT-L sizes, in a process of its own.

The model is a whole model directory with random weights, run by `TorchScorer`. "Above the imports" leaves out what the
interpreter takes once torch and transformers' ViTMAE are imported. Resident memory counts the pages of the weights'
file that are mapped, and counts them once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.large_model import write_large_model
from benchmarks.measure import ROOT, Record, Target, make_parser, require_close, run
from cinemae.scorers import TorchScorer

BOUND = 1.15
_CHILD = """
import json, pathlib, re, sys
import numpy, torch
from transformers import ViTMAEForPreTraining
from cinemae.scorers import TorchScorer

def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text()).group(1))

imports = kilobytes("VmRSS")
scorer = TorchScorer(sys.argv[1], device="cpu", precision="fp32")
scores = [scorer.score(numpy.load(sys.argv[2])) for _ in range(2)]
print(json.dumps({"imports": imports, "peak": kilobytes("VmHWM"), "logit": scores[0].logit.tolist()}))
"""


def measure(options: argparse.Namespace) -> Record:
    """Write a model of random weights, score an image in a process of its own, and compare its score with ours."""
    with tempfile.TemporaryDirectory() as folder:
        weights = write_large_model(Path(folder))
        pixel_values = np.random.default_rng(0).standard_normal((1, 1, 3, 224, 224)).astype(np.float32)
        np.save(Path(folder) / "image.npy", pixel_values)
        rows = [_child(Path(folder)) for _ in range(options.rounds)]
        logit = TorchScorer(folder, device="cpu", precision="fp32").score(pixel_values).logit
    megabytes = weights / 1e6
    whole = max(row["peak"] for row in rows) * 1024 / 1e6
    imports = min(row["imports"] for row in rows) * 1024 / 1e6
    return Record(
        benchmark="memory",
        settings={"size": "large", "batch": 1, "rounds": options.rounds, "threads": torch.get_num_threads()},
        checks={"logit, in this process and in its own": require_close("logit", rows[0]["logit"], logit, 1e-4)},
        figures={
            "weights, MB": megabytes,
            "torch and transformers' ViTMAE imported, MB": imports,
            "peak, whole process, MB": whole,
            "peak, whole process / weights": whole / megabytes,
            "peak above the imports / weights": (whole - imports) / megabytes,
        },
        targets=[
            Target("peak above the imports / weights", (whole - imports) / megabytes, BOUND, at_least=False),
            Target("peak of the whole process / weights", whole / megabytes, BOUND, at_least=False),
        ],
    )


def _child(folder: Path) -> dict[str, list[float] | int]:
    command = [sys.executable, "-c", _CHILD, str(folder), str(folder / "image.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how many processes are looked at")
    run(measure, parser)


if __name__ == "__main__":
    main()
