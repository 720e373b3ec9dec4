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

    The columns are ``path`` and ``score`` (or ``prob_fake``, as ``cinemae detect --format csv`` writes, which makes them
    probabilities); others are ignored. Paths are those of the test set, absolute or relative to the working directory or
    to the CSV file's folder.

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
        missing = [path for path in batch.images.path.tolist() if _real(path) not in self._scores]
        if missing:
            raise EvaluationError(
                f"a file of scores must hold every test image that can be read; {self._path} lacks {missing[0]} (and "
                f"{len(missing) - 1} more of the {len(batch.pictures)} at hand): write its paths as the test set's."
            )
        return np.array([[self._scores[_real(path)]] for path in batch.images.path.tolist()])


def _read(path: Path) -> tuple[dict[str, float], Literal["probability", "score"]]:
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
            scores: dict[str, float] = {}
            for row in reader:
                if row[column] == "" and column == "prob_fake":  # an image that cinemae detect could not read
                    continue
                value = _number(row[column], path, reader.line_num)
                for name in (row["path"], str(path.parent / row["path"])):
                    scores[_real(name)] = value
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"the file of scores {path} could not be read as UTF-8 CSV: {error}.") from error
    if not scores:
        raise EvaluationError(f"the file of scores {path} holds no line below its header.")
    return scores, "probability" if column == "prob_fake" else "score"


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
