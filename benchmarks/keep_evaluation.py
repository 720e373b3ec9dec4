"""Keep what `cinemae evaluate` measured, without a picture or a place of this machine.

``python -m benchmarks.keep_evaluation OUT NAME`` takes the predictions out of OUT and writes to
``results/evaluation/NAME/``: the predictions with paths below the test set, the results that follow from them, and the
plots. ``python -m benchmarks.render`` then writes ``docs/robustness.md``.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import RESULTS
from cinemae.evaluation.predictions import PREDICTIONS_FILE, Predictions
from cinemae.evaluation.report import PLOTS_DIR, RESULTS_FILE, write_report
from cinemae.evaluation.tables import tabulate

EVALUATIONS = RESULTS / "evaluation"
_PLACE = re.compile(r"(?<![\w.])(?:/|[A-Za-z]:\\)[\w.-]+[/\\]")


def keep(predictions: Predictions, folder: Path) -> None:
    """Write predictions, results and plots to a folder; what was there before is replaced.

    Raises:
        ValueError: If a path of this machine would be written.
    """
    cleaned = without_places(predictions)
    results = tabulate(cleaned)
    with tempfile.TemporaryDirectory() as written:
        partial = Path(written)
        write_report(results, partial)
        _refuse_places((partial / RESULTS_FILE).read_text(encoding="utf-8"))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        cleaned.save(folder / PREDICTIONS_FILE)
        shutil.copy(partial / RESULTS_FILE, folder)
        shutil.copytree(partial / PLOTS_DIR, folder / PLOTS_DIR)


def without_places(predictions: Predictions) -> Predictions:
    """Return predictions whose paths begin below the folder that holds all images."""
    images = predictions.images
    paths = [Path(path).as_posix() for path in images.path.tolist()]
    root = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120 - archives: a::b is no place
    root = f"{root}/" if root else ""
    short = [path.removeprefix(root) for path in paths]
    errors = [str(message).replace(root, "") if root else str(message) for message in images.error_message]
    found = replace(images, path=np.array(short, np.str_), error_message=np.array(errors, np.str_))
    return replace(predictions, images=found, about=_named_only(predictions.about))


def _named_only(about: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a run with the last part of each set's path in its place."""
    result = {**about, "found": dict(about.get("found", {}))}
    for of, name in (
        (result, "test_set"),
        (result, "training_set"),
        (result, "validation_set"),
        (result["found"], "source"),
    ):
        if of.get(name) is not None:
            of[name] = Path(of[name]).name
    return result


def _refuse_places(text: str) -> None:
    if (match := _PLACE.search(text)) is not None:
        around = text[match.start() : match.end() + 40].splitlines()[0]
        raise ValueError(f"no path of this machine may be kept, found {around!r}: evaluate with relative paths.")


def main() -> None:
    """Keep one evaluation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="folder that cinemae evaluate wrote")
    parser.add_argument("name", help="what to keep it as: letters, digits, dashes")
    options = parser.parse_args()
    if not re.fullmatch(r"[a-z0-9-]+", options.name):
        sys.exit(f"a name is made of lower-case letters, digits and dashes, got {options.name!r}.")
    keep(Predictions.load(options.report / PREDICTIONS_FILE), EVALUATIONS / options.name)


if __name__ == "__main__":
    main()
