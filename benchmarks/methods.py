"""Train the compared methods on few images and judge them: ``python -m benchmarks.methods DATA --work WORK``.

DATA holds ``train`` and ``val``, each with ``real/SOURCE/`` and ``fake/GENERATOR/``. All methods see the same images,
and their thresholds come from a quarter of the training images. What was trained is kept in WORK and used again, so a
run that was cut off goes on. Written: ``results/methods/`` with predictions, results and how long each method took;
``python -m benchmarks.render`` makes ``docs/compared-methods.md`` of it.

Networks are small and trained for minutes, because two processor cores have to do it: SPECS says how.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from benchmarks.keep_evaluation import keep
from benchmarks.measure import RESULTS
from cinemae.evaluation.detectors import Setup
from cinemae.evaluation.evaluate import Plan, evaluate
from cinemae.evaluation.predictions import PREDICTIONS_FILE, Predictions

METHODS = RESULTS / "methods"
TRAINING_FILE = "training.json"
SPECS = (
    "fredect,crop=128",
    "npr,crop=64,width=16,epochs=6,learning_rate=0.001",
    "spec,crop=96,width=16,epochs=4,learning_rate=0.001",
    "ferretnet,crop=64,width=32,epochs=4,learning_rate=0.001",
    "gramnet,crop=64,width=16,epochs=4,learning_rate=0.001",
    "lnp,crop=64,width=16,epochs=4,learning_rate=0.001,batch_size=32",
    "patchcraft,crop=64,epochs=2,learning_rate=0.001",
    "format-probe",
)
"""In the order of their cost."""


def side_by_side(parts: list[Predictions]) -> Predictions:
    """Return the columns of several predictions of the same images as one."""
    scores = {
        condition: np.concatenate([one.scores[condition] for one in parts], axis=1) for condition in parts[0].conditions
    }
    columns = tuple(column for one in parts for column in one.columns)
    return Predictions(parts[0].images, columns, scores, parts[0].about)


def main() -> None:
    """Train, judge and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train and val")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is trained, to be used again")
    parser.add_argument("--spec", action="append", help="in place of all: a method and its options")
    options = parser.parse_args()
    specs, parts = tuple(options.spec or SPECS), []
    for spec in specs:
        name = spec.partition(",")[0]
        out = options.work / name
        if not (out / TRAINING_FILE).exists():
            setup = Setup(seeds=1, keep=options.work / "baselines", tell=lambda line: print(line, flush=True))
            plan = Plan(str(options.data / "val"), detectors=(spec,), setup=setup, train=str(options.data / "train"))
            start = time.process_time()
            evaluate(plan, out)
            spent = {"spec": spec, "processor_seconds": round(time.process_time() - start)}
            (out / TRAINING_FILE).write_text(json.dumps(spent) + "\n", encoding="utf-8")
        parts.append(out)
    keep(side_by_side([Predictions.load(out / PREDICTIONS_FILE) for out in parts]), METHODS)
    spent = [json.loads((out / TRAINING_FILE).read_text(encoding="utf-8")) for out in parts]
    (METHODS / TRAINING_FILE).write_text(json.dumps(spent, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
