"""Peak memory of scoring one image with a model of ViT-L sizes, in a process of its own.

The model is a whole model directory with random weights. What a processor runs by default is its graph, in ONNX
Runtime: there the whole process is weighed, interpreter and libraries included. With torch, "above the imports" leaves
out what the interpreter takes once torch and transformers' ViTMAE are imported. Resident memory counts the pages of the
weights' file that are mapped, and counts them once.
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

from benchmarks.large_model import make_large_graph, weight_bytes
from benchmarks.measure import KILOBYTES, ROOT, Record, Target, make_parser, require_close, run
from cinemae.models.scorers import TorchScorer

BOUND = 1.15
ENGINES = {
    "torch": "from transformers import ViTMAEForPreTraining\nfrom cinemae.models.scorers import TorchScorer as Scorer",
    "ONNX Runtime": "from cinemae.models.scorers import OnnxScorer as Scorer",
}
_CHILD = """
import json, sys
import numpy
{imports}
{kilobytes}
imports = kilobytes("VmRSS")
scorer = Scorer(sys.argv[1], precision="fp32")
scores = [scorer.score(numpy.load(sys.argv[2])) for _ in range(2)]
print(json.dumps([imports, kilobytes("VmHWM"), scores[0].logit.tolist()]))
"""


def measure(options: argparse.Namespace) -> Record:
    """Score an image in processes of their own, compare their scores with ours, and report their memory."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = make_large_graph(Path(options.keep or temporary) / "vit-l")
        pixel_values = np.random.default_rng(0).standard_normal((1, 1, 3, 224, 224)).astype(np.float32)
        image = Path(temporary) / "image.npy"
        np.save(image, pixel_values)
        rows = {engine: [_child(engine, folder, image) for _ in range(options.rounds)] for engine in ENGINES}
        logit = TorchScorer(folder, device="cpu", precision="fp32").score(pixel_values).logit
    weights = weight_bytes() / 1e6
    peak = {engine: max(row[1] for row in found) * 1024 / 1e6 for engine, found in rows.items()}
    imports = {engine: min(row[0] for row in found) * 1024 / 1e6 for engine, found in rows.items()}
    above = (peak["torch"] - imports["torch"]) / weights
    figures = {"weights, MB": weights}
    for engine in ENGINES:
        figures |= {
            f"{engine}, imported, MB": imports[engine],
            f"{engine}, peak, whole process, MB": peak[engine],
            f"{engine}, peak, whole process / weights": peak[engine] / weights,
        }
    return Record(
        benchmark="memory",
        settings={"size": "large", "batch": 1, "rounds": options.rounds, "threads": torch.get_num_threads()},
        checks={
            f"logit, {engine} in a process of its own": require_close("logit", found[0][2], logit, 1e-4)
            for engine, found in rows.items()
        },
        figures={**figures, "torch, peak above the imports / weights": above},
        targets=[
            Target("ONNX Runtime, peak of the whole process / weights", peak["ONNX Runtime"] / weights, BOUND, False),
            Target("torch, peak above the imports / weights", above, BOUND, at_least=False),
        ],
    )


def _child(engine: str, folder: Path, image: Path) -> tuple[int, int, list[float]]:
    """Return kilobytes after the imports and at most, and the logit."""
    program = _CHILD.replace("{imports}", ENGINES[engine]).replace("{kilobytes}", KILOBYTES)
    command = [sys.executable, "-c", program, str(folder), str(image)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    imports, peak, logit = json.loads(done.stdout)
    return imports, peak, logit


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--keep", help="a folder for the model of ViT-L sizes, 3 GB; without it it is made anew")
    parser.add_argument("--rounds", type=int, default=3, help="how many processes are looked at")
    run(measure, parser)


if __name__ == "__main__":
    main()
