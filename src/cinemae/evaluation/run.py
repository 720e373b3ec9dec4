"""Score the images of a test set with any number of detectors, under any number of conditions.

Reader → detectors → predictions: threads decode a batch ahead, every condition is made from the decoded picture, and
every detector sees the same pictures. An image that cannot be read is a row without scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cinemae.errors import CinemaeError, EvaluationError, log_unexpected, why_unread
from cinemae.evaluation.pictures import load_row, require_judgeable, require_labels, require_photographs
from cinemae.evaluation.predictions import RAW, Column, ImageRow, Images, Predictions, require_distinct
from cinemae.pictures.corruptions import Corruption, parse_condition
from cinemae.pictures.image import LoadedImage
from cinemae.sources.records import ImageRecord
from cinemae.sources.stream import read_ahead

BATCH_SIZE = 16


@dataclass(frozen=True)
class Batch:
    """Some images under one condition.

    Attributes:
        condition: "raw", or what was done to the pictures.
        images: What is known of the files.
        pictures: RGB, one for each.
    """

    condition: str
    images: Images
    pictures: Sequence[Image.Image]


class DetectorColumns(Protocol):
    """A detector as the runner sees it: one or more columns of scores."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The detector as it is run: one column for each seed."""
        ...

    def score(self, batch: Batch) -> NDArray[np.float64]:
        """Return (number of images, number of columns), higher meaning more likely generated.

        A column that says nothing under a condition is nan for all its images.
        """
        ...


def run(
    records: Sequence[ImageRecord],
    sources: Sequence[DetectorColumns],
    conditions: Sequence[str] = (RAW,),
    *,
    seed: int = 0,
    about: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Score every record under every condition.

    Args:
        records: Labelled images.
        sources: The detectors.
        conditions: "raw", "aligned", corruptions such as "jpeg=50" and chains of them.
        seed: Of the random parts of corruptions.
        about: What the predictions should say of the run.
        progress: Called with (images done, images in all).

    Raises:
        EvaluationError: If a label is missing, there is no photograph, no image of a class that is there can be read,
            no detector is given, or a detector returns something other than one finite number an image.
        ConfigError: If there is no such condition.
    """
    columns = _checked_columns(records, sources)
    corruptions = {one.name: one for one in map(parse_condition, conditions)}
    rows: list[ImageRow] = []
    blocks: dict[str, list[NDArray[np.float64]]] = {condition: [] for condition in corruptions}
    for batch_rows, loaded in _decoded(records):
        for condition, corruption in corruptions.items():
            blocks[condition].append(_scored(batch_rows, loaded, corruption, sources, seed))
        rows += batch_rows
        if progress:
            progress(len(rows), len(records))
    images = Images.from_rows(rows)
    require_judgeable(images, "the test set")
    scores = {condition: np.concatenate(of_batches) for condition, of_batches in blocks.items()}
    for values in scores.values():
        values[~images.readable] = np.nan  # also where only a later condition refused the picture
    return Predictions(images, columns, scores, about or {})


def _checked_columns(records: Sequence[ImageRecord], sources: Sequence[DetectorColumns]) -> tuple[Column, ...]:
    """Return all columns of some detectors, after refusing images and detectors that cannot be judged."""
    require_labels(records, "the test set")
    require_photographs(np.array([record.label for record in records]), "the test set")
    if not sources:
        raise EvaluationError("an evaluation needs at least one detector, none was given.")
    columns = tuple(column for source in sources for column in source.columns)
    require_distinct(columns)
    return columns


def _decoded(
    records: Sequence[ImageRecord],
) -> Iterator[tuple[list[ImageRow], list[LoadedImage | None]]]:
    """Yield batches of rows and pictures; one batch is decoded while the detectors work on another."""
    with closing(read_ahead(load_row, records, ahead=BATCH_SIZE)) as decoded:
        while batch := list(islice(decoded, BATCH_SIZE)):
            yield [row for row, _ in batch], [loaded for _, loaded in batch]


def _scored(
    rows: Sequence[ImageRow],
    loaded: Sequence[LoadedImage | None],
    corruption: Corruption,
    sources: Sequence[DetectorColumns],
    seed: int,
) -> NDArray[np.float64]:
    """Return a batch's scores under one condition, (n, columns); nan where there is no picture to score."""
    places, pictures = _altered(rows, loaded, corruption, seed)
    scores = np.full((len(rows), sum(len(source.columns) for source in sources)), np.nan)
    if places:
        try:
            scores[places] = _scores_of([rows[place] for place in places], pictures, corruption, sources)
        except CinemaeError:
            raise
        except Exception:  # image by image, so that none costs others their scores
            if not _score_alone(scores, rows, places, pictures, corruption, sources):
                raise  # the detector is at fault, not an image
    return scores


def _score_alone(
    scores: NDArray[np.float64],
    rows: Sequence[ImageRow],
    places: Sequence[int],
    pictures: Sequence[Image.Image],
    corruption: Corruption,
    sources: Sequence[DetectorColumns],
) -> bool:
    """Fill in the scores of each picture by itself; return whether one has some."""
    any_scored = False
    for place, picture in zip(places, pictures, strict=True):
        try:
            scores[place] = _scores_of([rows[place]], [picture], corruption, sources)[0]
            any_scored = True
        except CinemaeError:
            raise
        except Exception as error:
            rows[place]["error_message"] = f"under {corruption.name}: {log_unexpected(error)}"
    return any_scored


def _scores_of(
    rows: Sequence[ImageRow],
    pictures: Sequence[Image.Image],
    corruption: Corruption,
    sources: Sequence[DetectorColumns],
) -> NDArray[np.float64]:
    batch = Batch(corruption.name, Images.from_rows(rows), pictures)
    return np.concatenate([checked_scores(source, batch) for source in sources], axis=1)


def _altered(
    rows: Sequence[ImageRow], loaded: Sequence[LoadedImage | None], corruption: Corruption, seed: int
) -> tuple[list[int], list[Image.Image]]:
    """Return a batch's pictures under one condition, and their places; one that refuses it is marked unreadable."""
    places, pictures = [], []
    for place, (row, one) in enumerate(zip(rows, loaded, strict=True)):
        if one is None or row.get("error_message"):
            continue
        try:
            pictures.append(corruption.apply(one.image, one.content_hash, seed))
            places.append(place)
        except Exception as error:  # such as a side longer than a codec takes
            row["error_message"] = f"under {corruption.name}: {why_unread(error)}"
    return places, pictures


def checked_scores(source: DetectorColumns, batch: Batch) -> NDArray[np.float64]:
    """Return a source's scores, (n, columns), refusing what no figure can be computed from.

    Raises:
        EvaluationError: If they are not one finite number an image, or probabilities lie outside [0, 1].
    """
    name = source.columns[0].detector
    found = np.asarray(source.score(batch), dtype=np.float64)
    shape = len(batch.pictures), len(source.columns)
    if found.shape != shape:
        raise EvaluationError(
            f"detector {name} must return one score an image, {shape[0]} of them, got an array of shape {found.shape}."
        )
    silent = np.isnan(found).all(axis=0) & (batch.condition != RAW)
    require_finite(found[:, ~silent], batch, name)
    for index, column in enumerate(source.columns):
        scores = found[:, index]
        if column.outputs == "probability" and not np.isnan(scores).all() and not ((scores >= 0) & (scores <= 1)).all():
            worst = float(scores[(scores < 0) | (scores > 1)][0])
            raise EvaluationError(
                f'a detector whose outputs are "probability" must return values in [0, 1], {name} returned {worst:g}: '
                'set its outputs to "score".'
            )
    return found


def require_finite(scores: NDArray[np.float64], batch: Batch, detector: str) -> None:
    """Refuse scores, (n, columns), that are NaN or infinite.

    Raises:
        EvaluationError: If there is one; the sentence names the image.
    """
    bad = ~np.isfinite(scores).all(axis=1)
    if bad.any():
        at = int(np.argmax(bad))
        raise EvaluationError(
            f"a score must be a finite number, {detector} returned {scores[at].tolist()} for {batch.images.path[at]} "
            f"under {batch.condition}: mend the detector, or leave the image out."
        )
