"""Which images a protocol runs on: the paper's own data set, or other images in its stead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cinemae.errors import EvaluationError
from cinemae.evaluation.pictures import refuse_shared_images, require_both, survey
from cinemae.evaluation.predictions import Images
from cinemae.evaluation.protocols.protocol import Protocol
from cinemae.sources.layouts import DataSet, read_dataset
from cinemae.sources.local_files import Listing
from cinemae.sources.published import BENCHMARKS
from cinemae.sources.records import ImageRecord

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


def find_data(
    protocol: Protocol, root: Path, train_root: Path | None = None, *, follow_links: bool = False
) -> BenchData:
    """Find a protocol's images.

    The paper's data sets are told by their layout. Other images stand in for them where `root` has a folder ``train``
    and a folder ``test`` or ``val``, each with ``real/`` and ``fake/GENERATOR/``.

    Args:
        protocol: What they are for.
        root: Of the test images.
        train_root: Of the training images, where they lie elsewhere.
        follow_links: Enter links to folders that lead out of the folder named.

    Raises:
        SourceError: If a folder cannot be listed.
        EvaluationError: If neither is there, a class is empty, or an image is both trained and tested on.
    """
    folder = next((root / name for name in _TEST_FOLDERS if (root / name).is_dir()), None)
    read = partial(read_dataset, listing=Listing(follow_links))
    if (root / "train").is_dir() and folder is not None and read(folder).layout not in BENCHMARKS:
        return _surveyed(read(root / "train").records, read(folder).records, root, stand_in=True)
    wanted = protocol.data
    tests = read(root, layout=wanted.test_layout)
    trains = read(train_root or root, layout=wanted.train_layout)
    test = _of(tests, wanted.test, training=False)
    train = _of(trains, _all_trained(protocol), training=True)
    if not train or not test:
        raise EvaluationError(
            f"{protocol.name} trains on {', '.join(wanted.train)} and tests on {', '.join(wanted.test)}; found "
            f"{len(train)} training and {len(test)} test images below {root}: name the training images' folder with "
            "--train-data, or see what is missing with cinemae evaluate."
        )
    return _surveyed(train, test, root, stand_in=False)


def _all_trained(protocol: Protocol) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*protocol.data.train, *(name for row in protocol.rows for name in row.train)]))


def _of(data: DataSet, generators: Sequence[str], *, training: bool) -> list[ImageRecord]:
    """Return the images of some generators and the photographs of their sets; of the training split, or of the rest."""
    both = zip(data.records, data.splits, strict=True)
    chosen = [record for record, split in both if split is None or (split == "train") == training]
    own = {record.generator for record in chosen if record.label == 0}
    return [
        record
        for record in chosen
        if record.generator in generators or (record.label == 0 and not own.intersection(generators))
    ]


def _surveyed(train: Sequence[ImageRecord], test: Sequence[ImageRecord], root: Path, *, stand_in: bool) -> BenchData:
    kept = []
    unread = 0
    for records, name in ((train, "the training set"), (test, "the test set")):
        images = survey(records)
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
