"""What the light install scores against what torch scores, over every readable picture of a folder.

Not a race: the figures are differences. It is kept here because it takes minutes and needs pictures that tests cannot
bring along, such as the validation images a model's thresholds were chosen on.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.measure import Record, Target, make_parser, run
from cinemae import Detector
from cinemae.models.directory import resolve_model
from cinemae.models.scorers import OnnxScorer, TorchScorer
from cinemae.sources.local_files import find_images

TOLERANCE = 1e-4


def measure(options: argparse.Namespace) -> Record:
    """Score everything twice and compare."""
    directory = resolve_model(options.model)
    paths = list(find_images([options.folder]))
    by_onnx = list(Detector(OnnxScorer(directory)).detect_batch(paths))
    by_torch = list(Detector(TorchScorer(directory, device="cpu")).detect_batch(paths))
    pairs = [(a, b) for a, b in zip(by_onnx, by_torch, strict=True) if a.status == b.status == "ok"]
    differences = {
        name: float(np.abs([getattr(a, name) - getattr(b, name) for a, b in pairs]).max())
        for name in ("prob_fake", "logit", "variability", "overall", "sensitivity")
    }
    return Record(
        "onnx_parity",
        {"images": len(paths)},
        checks={f"{name}, ONNX and torch": value for name, value in differences.items()},
        figures={
            "images scored by both": len(pairs),
            "images that one or both could not read": len(paths) - len(pairs),
            "images with another verdict": sum(a.verdict != b.verdict for a, b in pairs),
        },
        targets=[Target("largest difference of prob_fake, ONNX and torch", differences["prob_fake"], TOLERANCE, False)],
    )


def main() -> None:
    """Run the comparison from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("folder", help="pictures, searched in all subfolders")
    parser.add_argument("--model", help="a model directory; without it the bundled starter")
    run(measure, parser)


if __name__ == "__main__":
    main()
