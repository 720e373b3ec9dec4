"""`cinemae report` on stored predictions: every number, plot and page of an evaluation, no picture opened.

The predictions are drawn: the sizes of a robustness run (all conditions of the standard grid) of several detectors, the
first with three training seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.measure import Record, Target, WrongAnswerError, make_parser, require_close, run, take_turns
from cinemae.evaluation.predictions import ALIGNED, RAW, Column, Images, Predictions
from cinemae.pictures.corruptions import STANDARD_GRID

COLUMNS = (
    *(Column("npr", seed=seed, threshold=0.5) for seed in range(3)),
    Column("cinemae", mask_seed=0, threshold=0.6),
    Column("nll", outputs="score", threshold=0.0),
)
REPORT = "cinemae report"


def measure(options: argparse.Namespace) -> Record:
    """Check an AUC of the report against scikit-learn's, then time the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.parquet"
        predictions = draw(options.images)
        predictions.save(path)
        _report(path)
        checks = _check(predictions, json.loads((Path(folder) / "results.json").read_text(encoding="utf-8")))
        samples = take_turns({REPORT: lambda: _report(path)}, options.rounds)
    seconds = statistics.median(samples[REPORT])
    return Record(
        benchmark="rebuild_report",
        settings={
            "rounds": options.rounds,
            "images": options.images,
            "conditions": len(predictions.conditions),
            "columns": len(COLUMNS),
        },
        checks=checks,
        figures={f"{REPORT}, s": seconds},
        targets=[Target("seconds for cinemae report", seconds, 10.0, at_least=False)],
        samples=samples,
    )


def draw(num_images: int) -> Predictions:
    """Return predictions of photographs of ten sources and fakes of four generators, half of each class."""
    rng = np.random.default_rng(0)
    labels = np.arange(num_images) % 2
    groups = np.where(labels == 0, rng.integers(0, 10, num_images), rng.integers(0, 4, num_images))
    rows = [
        {
            "path": f"{index}.jpg",
            "content_hash": f"{index:064x}",
            "label": int(label),
            "generator": f"{'generator' if label else 'source'}-{group}",
            "container": "JPEG",
            "width": 256,
            "height": 256,
            "num_bytes": 20_000,
            "jpeg_quality": float(rng.integers(80, 96)),
        }
        for index, (label, group) in enumerate(zip(labels, groups, strict=True))
    ]
    grid = [level for levels in STANDARD_GRID.values() for level in levels]
    scores = {
        condition: 1 / (1 + np.exp(-rng.normal(labels[:, None], 1.0, (num_images, len(COLUMNS)))))
        for condition in (RAW, ALIGNED, *grid)
    }
    return Predictions(Images.from_rows(rows), COLUMNS, scores)


def _report(path: Path) -> None:
    command = [sys.executable, "-m", "cinemae", "report", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise WrongAnswerError(f"cinemae report ended with {done.returncode}: {done.stderr[-500:]}")


def _check(predictions: Predictions, results: dict) -> dict[str, float]:
    labels = predictions.images.label
    checks = {}
    for detector in results["detectors"]:
        column = next(one for one in COLUMNS if one.detector == detector["detector"])
        found = detector["conditions"]["jpeg=50"]["pooled"]["auc"]["value"]
        exact = roc_auc_score(labels, predictions.of(column, "jpeg=50"))
        name = f"AUC of {column.detector} under jpeg=50, report and scikit-learn"
        checks[name] = require_close(name, found, exact, 1e-9)
    return checks


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often the process is timed")
    parser.add_argument("--images", type=int, default=1262, help="images in the predictions")
    run(measure, parser)


if __name__ == "__main__":
    main()
