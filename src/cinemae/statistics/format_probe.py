"""A bias alarm: how well container, size and JPEG quality alone, pixels unseen, tell a data set's two classes apart.

Where they do, a high score may say how the pictures were saved and not how they were made. Stores hold no quality, so
`format_probe` looks at container and size; `format_probe_of` takes all that `cinemae.pictures.file_facts` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from cinemae.errors import TrainingError
from cinemae.pictures.file_facts import FileFacts
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.metrics import figure
from cinemae.statistics.resampling import balanced_accuracy_at
from cinemae.stores.features import FeatureStore

ALARM = 0.6
"""Balanced accuracy above which a reader is warned."""

_UNKNOWN_QUALITY = -1.0


@dataclass(frozen=True)
class FactColumns:
    """The facts of N files, one array each.

    Attributes:
        container: "JPEG", "PNG", ..., (N,) of strings.
        width: In pixels, (N,).
        height: In pixels, (N,).
        jpeg_quality: From 1 to 100, nan where unknown or no JPEG, (N,).
    """

    container: NDArray[Any]
    width: NDArray[np.integer[Any]]
    height: NDArray[np.integer[Any]]
    jpeg_quality: NDArray[np.floating[Any]]

    def __post_init__(self) -> None:
        shapes = [values.shape for values in (self.container, self.width, self.height, self.jpeg_quality)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 1:
            raise TrainingError(
                f"the facts of N files are four arrays of shape (N,), got {shapes}: pass one row a file."
            )

    @classmethod
    def of(cls, facts: Sequence[FileFacts]) -> FactColumns:
        """Gather the facts of files, in their order.

        Example:
            >>> FactColumns.of([FileFacts("PNG", 40, 30, 99, None), FileFacts("JPEG", 40, 30, 99, 85)]).jpeg_quality
            array([nan, 85.])
        """
        return cls(
            np.array([each.container for each in facts], dtype=str),
            np.array([each.width for each in facts], np.int64),
            np.array([each.height for each in facts], np.int64),
            np.array([np.nan if each.jpeg_quality is None else each.jpeg_quality for each in facts], np.float64),
        )

    def __len__(self) -> int:
        return len(self.container)

    def take(self, rows: NDArray[Any]) -> FactColumns:
        """Return some rows, by index or by a mask (N,)."""
        return FactColumns(self.container[rows], self.width[rows], self.height[rows], self.jpeg_quality[rows])


class FormatProbe:
    """A random forest on facts of files: what a detector that sees no pixel reaches, also on a set not fitted on.

    A container that was not fitted on is none of those known; an unknown quality is a value of its own. Where no
    quality was known in fitting, none is looked at.

    Example:
        >>> facts = FactColumns.of([FileFacts("JPEG", 40, 30, 99, 85), FileFacts("PNG", 40, 30, 99, None)] * 10)
        >>> probe = FormatProbe()
        >>> probe.fit(facts, np.array([0, 1] * 10), seed=0)
        >>> probe.predict(facts)[:2] > 0.5
        array([False,  True])
    """

    name = "format-probe"
    outputs = "probability"

    def __init__(self) -> None:
        self._encoding: _Encoding | None = None
        self._forest: RandomForestClassifier | None = None

    def fit(self, facts: FactColumns, labels: NDArray[np.integer[Any]], *, seed: int) -> None:
        """Fit on one data set.

        Args:
            facts: Of N files.
            labels: 0 real, 1 fake, (N,); files with other labels are left out.
            seed: Of the forest.

        Raises:
            TrainingError: If a class is missing, or the lengths differ.
        """
        facts, labels = _labelled(facts, labels)
        counts = [int((labels == label).sum()) for label in (0, 1)]
        if min(counts) == 0:
            raise TrainingError(
                "the format probe learns from both classes, got "
                f"{counts[0]} real and {counts[1]} fake files: add files of the missing class."
            )
        self._encoding = _Encoding.of(facts)
        self._forest = _forest(seed).fit(self._encoding.encode(facts), labels)

    def predict(self, facts: FactColumns) -> NDArray[np.float64]:
        """Return the probability of being generated, (N,).

        Raises:
            TrainingError: If `fit` was not called before.
        """
        if self._encoding is None or self._forest is None:
            raise TrainingError("a format probe predicts after it was fitted: call fit first.")
        if len(facts) == 0:
            return np.zeros(0)
        found: NDArray[np.float64] = self._forest.predict_proba(self._encoding.encode(facts))[:, 1]
        return found


def format_probe_of(facts: FactColumns, labels: NDArray[np.integer[Any]], *, seed: int = 0) -> Estimate | None:
    """Return the balanced accuracy of a random forest on facts of files; 0.5 is chance.

    Each file is judged by a forest that saw only the others, in up to five stratified folds.

    Args:
        facts: Of N files, one data set.
        labels: 0 real, 1 fake, (N,); files with other labels are left out.
        seed: Of folds and forest.

    Returns:
        The figure with its interval, or None if a class has fewer than two files.

    Raises:
        TrainingError: If the lengths differ.
    """
    facts, labels = _labelled(facts, labels)
    folds = min(5, *(int((labels == label).sum()) for label in (0, 1)))
    if folds < 2:
        return None
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    called = cross_val_predict(_forest(seed), _Encoding.of(facts).encode(facts), labels, cv=splits)
    return figure(balanced_accuracy_at(1), called[labels == 0], called[labels == 1])


@dataclass(frozen=True)
class ProbeResult(Estimate):
    """The balanced accuracy of a format probe.

    Attributes:
        alarm: Whether it is so high that figures on these files may tell of their format alone.
    """

    alarm: bool


def probe_result(facts: FactColumns, labels: NDArray[np.integer[Any]]) -> ProbeResult | None:
    """Return `format_probe_of` some files with whether it is alarming; None of too few."""
    found = format_probe_of(facts, labels)
    if found is None:
        return None
    return ProbeResult(found.value, found.low, found.high, found.n, alarm=found.value > ALARM)


def format_probe(stores: Sequence[FeatureStore], *, seed: int = 0, most_rows: int | None = None) -> Estimate | None:
    """Return `format_probe_of` the files of stores, by container, width and height.

    Args:
        stores: One data set; labelled, readable rows count, altered copies do not.
        seed: Of folds and forest.
        most_rows: Look at about so many of each store's images, spread evenly; None for all.

    Returns:
        The figure with its interval, or None if a class has fewer than two such images.
    """
    as_they_are = [store for store in stores if not store.header.augment]  # a copy's file is its picture's
    names = ("label", "source_format", "width", "height")
    columns = [store.load(names, most_rows=most_rows) for store in as_they_are]
    if not columns:
        return None
    labels, formats, width, height = (
        np.concatenate([part[name] for part in columns]) for name in ("label", "source_format", "width", "height")
    )
    return format_probe_of(FactColumns(formats, width, height, np.full(len(labels), np.nan)), labels, seed=seed)


def _labelled(facts: FactColumns, labels: NDArray[np.integer[Any]]) -> tuple[FactColumns, NDArray[np.integer[Any]]]:
    if labels.shape != (len(facts),):
        raise TrainingError(f"there must be one label a file, got {labels.shape} for {len(facts)} files: pass (N,).")
    known = (labels == 0) | (labels == 1)
    return facts.take(known), labels[known]


def _forest(seed: int) -> RandomForestClassifier:
    return RandomForestClassifier(100, class_weight="balanced", min_samples_leaf=2, random_state=seed)


@dataclass(frozen=True)
class _Encoding:
    """Which containers have a column, and whether quality has one."""

    containers: NDArray[Any]
    with_quality: bool

    @classmethod
    def of(cls, facts: FactColumns) -> _Encoding:
        return cls(np.unique(facts.container.astype(str)), bool(np.isfinite(facts.jpeg_quality).any()))

    def encode(self, facts: FactColumns) -> NDArray[np.float64]:
        """Return (N, C + 2) or (N, C + 3)."""
        one_hot = facts.container.astype(str)[:, np.newaxis] == self.containers
        columns = [one_hot.astype(np.float64), facts.width, facts.height]
        if self.with_quality:
            columns.append(np.nan_to_num(facts.jpeg_quality, nan=_UNKNOWN_QUALITY))
        return np.column_stack(columns)
