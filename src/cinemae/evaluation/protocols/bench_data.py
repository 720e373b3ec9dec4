"""Which images a protocol runs on: the paper's own data set, or other images in its stead."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cinemae.errors import EvaluationError
from cinemae.evaluation.pictures import refuse_shared_images, require_both, survey_rows
from cinemae.evaluation.predictions import IMAGE_SCHEMA, ImageRow, Images
from cinemae.evaluation.protocols.protocol import Protocol
from cinemae.sources.layouts import DataSet, read_dataset
from cinemae.sources.local_files import Listing
from cinemae.sources.published import BENCHMARKS
from cinemae.sources.records import ImageRecord, hash_records
from cinemae.sources.whole_files import replacing

SURVEYED_TOGETHER = 10_000
"""Images whose survey is kept in one file: what a kill can cost."""

_TEST_FOLDERS = ("test", "val", "valid", "validation")


@dataclass(frozen=True)
class BenchData:
    """Training and test images of a protocol; those that cannot be read are left out and counted.

    Attributes:
        train: Training images.
        test: Test images.
        train_images: What is known of the training images.
        test_images: What is known of the test images.
        stand_in: Whether they are other images than the paper's.
        unread: How many files of both could not be read.
        source: Where they are.
    """

    train: tuple[ImageRecord, ...]
    test: tuple[ImageRecord, ...]
    train_images: Images
    test_images: Images
    stand_in: bool
    unread: int
    source: str

    @property
    def train_generators(self) -> tuple[str, ...]:
        """Of the training fakes, sorted."""
        return _generators(self.train_images)

    @property
    def test_generators(self) -> tuple[str, ...]:
        """Of the test fakes, sorted."""
        return _generators(self.test_images)

    def describe(self) -> dict[str, Any]:
        """Return counts as plain JSON types."""
        return {
            "stand_in": self.stand_in,
            "unread": self.unread,
            **{
                name: {
                    "photographs": int((images.label == 0).sum()),
                    "fakes": {
                        one: int((images.generator[images.label == 1] == one).sum()) for one in _generators(images)
                    },
                }
                for name, images in (("train", self.train_images), ("test", self.test_images))
            },
        }


@dataclass(frozen=True)
class Surveyor:
    """Opens images once and keeps what is known of them, so that a run that was stopped need not open them again.

    Attributes:
        folder: Where it is kept; None for nowhere.
        tell: Called with a line about what is under way.
    """

    folder: Path | None = None
    tell: Callable[[str], None] = lambda line: None

    def survey(self, records: Sequence[ImageRecord]) -> Images:
        """Return what is known of every image, of those whose paths are known from before without opening them."""
        rows: list[ImageRow] = []
        for start in range(0, len(records), SURVEYED_TOGETHER):
            part = records[start : start + SURVEYED_TOGETHER]
            kept = self.folder and self.folder / f"{hash_records(part)[:16]}.parquet"
            if kept is None or not kept.is_file():
                self.tell(f"opening images {start + 1:,} to {start + len(part):,} of {len(records):,}")
                found = survey_rows(part)
                if kept is not None:
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    with replacing(kept) as temporary:
                        pq.write_table(pa.Table.from_pylist(found, IMAGE_SCHEMA), temporary)
            else:
                found = pq.read_table(kept).to_pylist()
            rows += found
        return Images.from_rows(rows)


def find_data(
    protocol: Protocol,
    root: Path,
    train_root: Path | None = None,
    surveyor: Surveyor | None = None,
    *,
    follow_links: bool = False,
) -> BenchData:
    """Find a protocol's images.

    The paper's data sets are told by their layout. Other images stand in for them where `root` has a folder ``train``
    and a folder ``test`` or ``val``, each with ``real/`` and ``fake/GENERATOR/``.

    Args:
        protocol: What they are for.
        root: Of the test images.
        train_root: Of the training images, where they lie elsewhere.
        surveyor: Opens the images; None for one that keeps nothing.
        follow_links: Enter links to folders that lead out of the folder named.

    Raises:
        SourceError: If a folder cannot be listed.
        EvaluationError: If neither is there, a class is empty, or an image is both trained and tested on.
    """
    surveyor = surveyor or Surveyor()
    folder = next((root / name for name in _TEST_FOLDERS if (root / name).is_dir()), None)
    read = partial(read_dataset, listing=Listing(follow_links))
    if (root / "train").is_dir() and folder is not None and read(folder).layout not in BENCHMARKS:
        of_both = read(root / "train").records, read(folder).records
        return _surveyed(*of_both, root, surveyor, stand_in=True)
    wanted = protocol.data
    tests = read(root, layout=wanted.test_layout)
    trains = read(train_root or root, layout=wanted.train_layout)
    test = _of(tests, wanted.test, training=False)
    trained = {*wanted.train, *(name for row in protocol.rows for name in row.train)}
    train = _of(trains, trained, training=True)
    if not train or not test:
        raise EvaluationError(
            f"{protocol.name} trains on {', '.join(wanted.train)} and tests on {', '.join(wanted.test)}; found "
            f"{len(train)} training and {len(test)} test images below {root}: name the training images' folder with "
            "--train-data, or see what is missing with cinemae evaluate."
        )
    return _surveyed(train, test, root, surveyor, stand_in=False)


def trained_on(labels: NDArray[np.int64], generators: NDArray[np.str_], wanted: Sequence[str]) -> NDArray[np.bool_]:
    """Return which images belong to some generators: their fakes, and the photographs of their sets.

    Photographs that belong to no generator in particular go with every one of them.

    Example:
        >>> labels, names = np.array([0, 0, 1, 1]), np.array(["ADM", "GLIDE", "ADM", "GLIDE"])
        >>> trained_on(labels, names, ["ADM"]).tolist()
        [True, False, True, False]
        >>> trained_on(labels, np.array(["x", "y", "ADM", "GLIDE"]), ["ADM"]).tolist()
        [True, True, True, False]
    """
    chosen: NDArray[np.bool_] = np.isin(generators, list(wanted))
    return chosen if chosen[labels == 0].any() else chosen | (labels == 0)


def _of(data: DataSet, generators: Collection[str], *, training: bool) -> list[ImageRecord]:
    """Return the images of some generators and the photographs of their sets; of the training split, or of the rest."""
    both = zip(data.records, data.splits, strict=True)
    chosen = [record for record, split in both if split is None or (split == "train") == training]
    own = {record.generator for record in chosen if record.label == 0}
    return [
        record
        for record in chosen
        if record.generator in generators or (record.label == 0 and not own.intersection(generators))
    ]


def _surveyed(
    train: Sequence[ImageRecord], test: Sequence[ImageRecord], root: Path, surveyor: Surveyor, *, stand_in: bool
) -> BenchData:
    kept = []
    unread = 0
    for records, name in ((train, "the training set"), (test, "the test set")):
        images = surveyor.survey(records)
        readable = np.nonzero(images.readable & (images.label >= 0))[0].tolist()
        unread += len(records) - len(readable)
        images = images.chosen(readable)
        require_both(images.label, name)
        kept.append((tuple(records[index] for index in readable), images))
    (train_records, train_images), (test_records, test_images) = kept
    refuse_shared_images(train_images, test_images)
    return BenchData(train_records, test_records, train_images, test_images, stand_in, unread, str(root))


def _generators(images: Images) -> tuple[str, ...]:
    return tuple(sorted(set(images.generator[images.label == 1].tolist())))
