"""Scores that another program has written: a CSV file with ``path`` and ``score``."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cinemae.errors import EvaluationError
from cinemae.evaluation.predictions import RAW, Column
from cinemae.evaluation.run import Batch


class ScoreFile:
    """Any detector's scores of the files as they are.

    The columns are ``path`` and ``score`` (or ``prob_fake``, as ``cinemae detect --format csv`` writes, which makes
    them probabilities); others are ignored. Paths are those of the test set, absolute or relative to the working
    directory or to the CSV file's folder.

    Args:
        path: The CSV file.

    Raises:
        EvaluationError: If the file cannot be read, lacks a column, or a line holds no finite number.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._scores, outputs = _read(path)
        self.columns = (
            Column(
                path.stem,
                outputs=outputs,
                threshold=0.5 if outputs == "probability" else None,
                threshold_rule="0.5, the file holds probabilities" if outputs == "probability" else "none",
                description=f"scores of {path.name}",
            ),
        )

    def score(self, batch: Batch) -> NDArray[np.float64]:
        """Return the file's scores, (n, 1); nan under any condition but raw."""
        if batch.condition != RAW:
            return np.full((len(batch.pictures), 1), np.nan)
        paths = batch.images.path.tolist()
        found = [{scores[_real(path)] for scores in self._scores if _real(path) in scores} for path in paths]
        missing = [path for path, values in zip(paths, found, strict=True) if not values]
        if missing:
            raise EvaluationError(
                f"a file of scores must hold every test image that can be read; {self._path} lacks {missing[0]} (and "
                f"{len(missing) - 1} more of the {len(batch.pictures)} at hand): write its paths as the test set's."
            )
        unclear = [path for path, values in zip(paths, found, strict=True) if len(values) > 1]
        if unclear:
            raise EvaluationError(
                f"{self._path} gives {unclear[0]} one score if its paths are relative to the working directory, and "
                "another if they are relative to its own folder: write absolute paths."
            )
        return np.array([list(values) for values in found])


def _read(path: Path) -> tuple[tuple[dict[str, float], dict[str, float]], Literal["probability", "score"]]:
    """Return the scores by path, relative ones taken from the working directory and from the file's folder."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            column = "score" if "score" in names else "prob_fake"
            if "path" not in names or column not in names:
                raise EvaluationError(
                    f"a file of scores needs the columns path and score (or prob_fake); {path} has "
                    f"{', '.join(names) or 'none'}."
                )
            from_here: dict[str, float] = {}
            from_folder: dict[str, float] = {}
            for row in reader:
                if row[column] == "" and column == "prob_fake":  # an image that cinemae detect could not read
                    continue
                value, name = _number(row[column], path, reader.line_num), row["path"] or ""
                if from_here.setdefault(_real(name), value) != value:
                    raise EvaluationError(f"{path}, line {reader.line_num}: {name} has a second score: keep one.")
                from_folder[_real(str(path.parent / name))] = value
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"the file of scores {path} could not be read as UTF-8 CSV: {error}.") from error
    if not from_here:
        raise EvaluationError(f"the file of scores {path} holds no line below its header.")
    return (from_here, from_folder), "probability" if column == "prob_fake" else "score"


def _number(text: str | None, path: Path, line: int) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise EvaluationError(f"{path}, line {line}: a score must be a finite number, got {text!r}: mend this line.")
    return value


def _real(path: str) -> str:
    return str(Path(path).resolve())
