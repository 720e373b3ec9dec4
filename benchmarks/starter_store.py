"""Stored features of delivered pictures and their views, as `benchmarks.starter_features` writes them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

STATISTICS = ("cls", "mean", "std", "diff")
"""Of the tokens of a layer: [CLS], mean and deviation of the patch tokens, root mean square between neighbours."""

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Pictures:
    """The list that a design is judged on, one row a picture; columns as in the CSV of the same names."""

    sha256: NDArray[np.str_]
    fake: NDArray[np.bool_]
    group: NDArray[np.str_]
    family: NDArray[np.str_]
    fold: NDArray[np.int64]

    @classmethod
    def read(cls, path: Path, known: set[str]) -> Pictures:
        """Read the rows of a list CSV whose SHA-256 is known, in order of the SHA-256."""
        with path.open(newline="", encoding="utf-8") as file:
            rows = sorted(
                (row for row in csv.DictReader(file) if row["sha256"] in known), key=lambda row: row["sha256"]
            )
        return cls(
            sha256=np.array([row["sha256"] for row in rows]),
            fake=np.array([row["class"] == "fake" for row in rows], bool),
            group=np.array([row["group"] for row in rows]),
            family=np.array([row["family"] for row in rows]),
            fold=np.array([int(row["fold"]) for row in rows]),
        )

    def __len__(self) -> int:
        return len(self.sha256)

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Pictures:
        """Return the chosen ones."""
        return Pictures(
            self.sha256[chosen], self.fake[chosen], self.group[chosen], self.family[chosen], self.fold[chosen]
        )


@dataclass
class FeatureStore:
    """Every view of every delivery, found by picture, delivery and view.

    Attributes:
        files: The .npz parts, in order.
        pictures: Those of the list that the parts hold.
        rows: For each view the row of (picture, delivery) in the parts put together, -1 where there is none.
        lcas: For each part the file in which `benchmarks.starter_lcas` put the terms of LCAS; none where not needed.
    """

    files: list[Path]
    pictures: Pictures
    rows: dict[str, NDArray[np.int64]]
    lcas: list[Path] = field(default_factory=list)
    _columns: dict[str, NDArray[np.floating]] = field(default_factory=dict)

    @classmethod
    def open(cls, folders: Sequence[Path], list_csv: Path, lcas: Sequence[Path] = ()) -> FeatureStore:
        """Read what the parts hold, but no features yet.

        Args:
            folders: Of `benchmarks.starter_features`.
            list_csv: Of the pictures.
            lcas: For each of the folders that of `benchmarks.starter_lcas`; none where the terms are not needed.
        """
        files = [file for folder in folders for file in sorted(folder.glob("*.npz"))]
        terms = [lcas[folders.index(file.parent)] / file.name for file in files] if lcas else []
        parts = [np.load(file) for file in files]
        sha256, delivery, view = (np.concatenate([part[key] for part in parts]) for key in ("sha", "delivery", "view"))
        pictures = Pictures.read(list_csv, set(sha256.tolist()))
        number = {sha: n for n, sha in enumerate(pictures.sha256.tolist())}
        picture = np.array([number.get(sha, -1) for sha in sha256.tolist()])
        rows = {}
        for name in np.unique(view).tolist():
            rows[name] = np.full((len(pictures), int(delivery.max()) + 1), -1)
            of_view = np.flatnonzero((view == name) & (picture >= 0))
            rows[name][picture[of_view], delivery[of_view]] = of_view
        return cls(files, pictures, rows, terms)

    def _column(self, name: str) -> NDArray[np.floating]:
        """Return what the parts hold by a name, one row a view, and keep it."""
        if name not in self._columns:
            self._columns[name] = np.concatenate([np.load(file)[name] for file in self.files])
        return self._columns[name]

    def has(self, views: Sequence[str], delivery: int) -> NDArray[np.bool_]:
        """Tell for each picture whether this delivery has any of the views."""
        found = np.zeros(len(self.pictures), bool)
        for view in views:
            if view in self.rows and delivery < self.rows[view].shape[1]:
                found |= self.rows[view][:, delivery] >= 0
        return found

    def mean_of(self, views: Sequence[str], layers: Sequence[int], statistics: Sequence[str], delivery: int) -> Matrix:
        """Return the features of all pictures, averaged over those of the views that each has, (pictures, D)."""
        keep = [STATISTICS.index(name) for name in statistics]
        return np.concatenate(
            [self._mean(self._column(f"L{number}")[:, keep], views, delivery) for number in layers], 1
        )

    def lcas_terms(self, view: str, chosen: NDArray[np.bool_]) -> tuple[Matrix, Matrix]:
        """Return deviation and fidelity of one view of the chosen pictures, delivery 0, (pictures, K, L) each."""
        row = self.rows[view][chosen, 0]
        parts = [values for values in map(np.load, self.lcas) if len(values["deviation"])]
        deviation, fidelity = (
            np.concatenate([part[name] for part in parts])[row] for name in ("deviation", "fidelity")
        )
        return deviation, fidelity

    def of_pixels(self, name: str, views: Sequence[str], delivery: int) -> Matrix:
        """Return "spectrum" or "texture" of all pictures, averaged like the features, (pictures, 378 or 918)."""
        return self._mean(self._column(name), views, delivery)

    def _mean(self, values: NDArray[np.floating], views: Sequence[str], delivery: int) -> Matrix:
        total = np.zeros((len(self.pictures), *values.shape[1:]), np.float32)
        count = np.zeros((len(self.pictures), *(1 for _ in values.shape[1:])), np.float32)
        for view in views:
            row = self.rows[view][:, delivery]
            there = row >= 0
            total[there] += values[row[there]]
            count[there] += 1
        return (total / np.maximum(count, 1)).reshape(len(total), -1)
