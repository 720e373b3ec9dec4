"""What a head is trained on, read from feature stores; and the split by generator."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from cinemae.config import LcasConfig, ViewPooling
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.features import terms_to_lcas
from cinemae.core.head import pool_views, pooled_dim
from cinemae.errors import FingerprintMismatchError, TrainingError
from cinemae.stores.features import NO_NUMBER, FeatureStore
from cinemae.stores.store_format import FEATURES

VALIDATION_SHARE = 0.25
MOST_IN_MEMORY = 4 * 2**30
"""Bytes of [CLS] and statistics beyond which they are mapped from a file unless told otherwise."""
SLICE_BYTES = 2**23
"""Features that are worked on together where all of them need not be in memory."""


@dataclass(frozen=True)
class TrainingSet:
    """Labelled features of N images with V views each, in memory or mapped from a file that ends with this process.

    Attributes:
        global_feature: (N, V, D) float32.
        stats: s1, s2, s3, (N, V, 3) float32.
        labels: 0 real, 1 fake, (N,).
        groups: Names of generators and of sources of photographs, "" where unknown, (G,).
        group_of: Which group each image is of, (N,).
        mapped: Whether features lie in a file.
    """

    global_feature: NDArray[np.float32]
    stats: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    group_of: NDArray[np.int32]
    mapped: bool = False

    @classmethod
    def of(
        cls,
        global_feature: NDArray[np.float32],
        stats: NDArray[np.float32],
        labels: NDArray[np.int64],
        generators: NDArray[np.str_],
    ) -> Self:
        """Take features in memory, with the name of each image's generator or source, (N,)."""
        groups, group_of = np.unique(generators, return_inverse=True)
        return cls(global_feature, stats, labels, groups, group_of.astype(np.int32))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def generators(self) -> NDArray[np.str_]:
        """Generator of each fake, source of each photograph, "" where unknown, (N,)."""
        names: NDArray[np.str_] = self.groups[self.group_of]
        return names

    def names(self, label: int) -> list[str]:
        """Return the generators of the fakes (1), or the sources of the photographs (0), by name."""
        return sorted(self.groups[np.unique(self.group_of[self.labels == label])].tolist())

    def made_by(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Return which images have one of these generators, (N,)."""
        return np.isin(self.group_of, np.nonzero(np.isin(self.groups, list(names)))[0])

    def __getitem__(self, chosen: NDArray[Any]) -> Self:
        """Return the chosen images, by mask or index."""
        rows = np.arange(len(self))[chosen]
        return dataclasses.replace(
            self,
            global_feature=self._each(self.global_feature.shape[1:], rows, lambda some: self.global_feature[some]),
            stats=self._each(self.stats.shape[1:], rows, lambda some: self.stats[some]),
            labels=self.labels[rows],
            group_of=self.group_of[rows],
        )

    def pooled(self, how: ViewPooling) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return global feature and statistics of each sample as the head takes them, `pool_views` of each image.

        Args:
            how: How the views of an image are joined; "logit" makes each view a sample.
        """
        if how == "logit":
            return self.global_feature.reshape(-1, self.global_feature.shape[-1]), self.stats.reshape(-1, 3)
        if how == "concat" or (how == "mean" and self.stats.shape[1] == 1):
            return self.global_feature.reshape(len(self), -1), self.stats.mean(1, dtype=np.float32)

        def pool(rows: NDArray[np.int64]) -> torch.Tensor:
            return pool_views(torch.from_numpy(self.global_feature[rows]), torch.from_numpy(self.stats[rows]), how)[0]

        dim = pooled_dim(self.global_feature.shape[-1], how, self.stats.shape[1])
        return self._each((dim,), np.arange(len(self)), pool), torch.from_numpy(self.stats).mean(1).numpy()

    def _each(
        self, shape: tuple[int, ...], rows: NDArray[np.int64], function: Callable[[NDArray[np.int64]], Any]
    ) -> NDArray[np.float32]:
        """Return a function of rows, a few rows at a time, where the features lie."""
        values = _room((len(rows), *shape), self.mapped)
        for some in row_slices(len(rows), self.global_feature):
            values[some] = function(rows[some])
        return values

    @classmethod
    def from_stores(
        cls,
        stores: Sequence[FeatureStore],
        lcas: LcasConfig,
        *,
        passes: Sequence[int] | None = None,
        mapped: bool = False,
    ) -> Self:
        """Read the readable, labelled rows of stores that were made by the same frozen half.

        Args:
            stores: At least one.
            lcas: Weight and reduction of Eq. 4's terms.
            passes: Which of the K masked passes the statistics are of; None for all.
            mapped: Keep the features in a temporary file, for stores larger than memory.

        Raises:
            FingerprintMismatchError: If two stores differ in backbone or extractor settings.
            TrainingError: If no row is labelled, or a feature is not finite.
        """
        require_one_fingerprint(stores)
        views, dim = stores[0].header.shapes["global_feature"]
        most = sum(store.num_rows for store in stores)
        global_feature, stats = _room((most, views, dim), mapped), _room((most, views, 3), mapped)
        labels, group_of = np.empty(most, np.int64), np.empty(most, np.int32)
        known: dict[str, int] = {}
        filled = 0
        for store in stores:
            for columns in store.iter_arrays(("label", "generator", *FEATURES)):
                kept = columns["label"] != NO_NUMBER
                rows = slice(filled, filled := filled + int(kept.sum()))
                global_feature[rows] = columns["global_feature"][kept]
                stats[rows] = read_stats(columns, store, lcas, passes)[kept]
                labels[rows] = columns["label"][kept]
                group_of[rows] = [known.setdefault(name or "", len(known)) for name in columns["generator"][kept]]
                if not (np.isfinite(global_feature[rows]).all() and np.isfinite(stats[rows]).all()):
                    raise TrainingError(f"a feature in {store.path} is not finite: extract the store again.")
        if not filled:
            raise TrainingError(f"no readable image in {stores[0].path} carries a label: name folders real/ and fake/.")
        return cls(
            global_feature[:filled],
            stats[:filled],
            labels[:filled],
            np.array(list(known), np.str_),
            group_of[:filled],
            mapped,
        )


def row_slices(count: int, values: NDArray[Any]) -> Iterator[slice]:
    """Cut `count` rows like those of `values` into slices of `SLICE_BYTES` at most, but one row at least."""
    step = max(1, SLICE_BYTES // max(1, values[:1].nbytes))
    for start in range(0, count, step):
        yield slice(start, start + step)


def features_bytes(stores: Sequence[FeatureStore]) -> int:
    """Return what [CLS] and statistics of stores take, in bytes."""
    views, dim = stores[0].header.shapes["global_feature"]
    return 4 * views * (dim + 3) * sum(store.num_rows for store in stores)


def _room(shape: tuple[int, ...], mapped: bool) -> NDArray[np.float32]:
    """Return an array to be filled, in memory or mapped from a file that has no name."""
    if not (mapped and all(shape)):
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(prefix="cinemae-") as file:
        return np.memmap(file, np.float32, "w+", shape=shape)


def require_one_fingerprint(stores: Sequence[FeatureStore]) -> None:
    """Refuse stores that different frozen halves made.

    Raises:
        FingerprintMismatchError: If two differ; they are named.
    """
    first = stores[0]
    for store in stores[1:]:
        if store.fingerprint != first.fingerprint:
            raise FingerprintMismatchError(
                f"stores that are used together must come from one frozen half; {first.path} has fingerprint "
                f"{first.fingerprint} and {store.path} has {store.fingerprint}: extract one of them again."
            )


def read_stats(
    columns: Mapping[str, NDArray[Any]], store: FeatureStore, lcas: LcasConfig, passes: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Return s1, s2, s3 of stored images, (N, V, 3).

    Args:
        columns: `deviation` and `fidelity`, as `FeatureStore.load` gives them.
        store: Where they come from.
        lcas: Weight and reduction of Eq. 4's terms.
        passes: Which of the K masked passes the statistics are of; None for all.
    """
    chosen = slice(None) if passes is None else list(passes)
    deviation, fidelity = (torch.from_numpy(columns[name][:, :, chosen]) for name in ("deviation", "fidelity"))
    scores = terms_to_lcas(deviation, fidelity, lcas, store.backbone.patch_dim)
    stats: NDArray[np.float32] = anomaly_stats(scores.flatten(0, 1)).unflatten(0, scores.shape[:2]).numpy()
    return stats


def require_both_classes(labels: NDArray[Any], name: str) -> None:
    """Refuse labels of one class.

    Raises:
        TrainingError: If there are fewer than two photographs or two generated images.
    """
    reals, fakes = int((labels == 0).sum()), int((labels == 1).sum())
    if min(reals, fakes) < 2:
        raise TrainingError(
            f"{name} needs photographs and generated images, at least two of each; it holds {reals} and {fakes}."
        )


def hold_out(labels: NDArray[np.int64], generators: NDArray[np.str_], *, seed: int) -> NDArray[np.bool_]:
    """Hold out a quarter, rounded, of each generator's and of each photo source's images.

    Args:
        labels: 0 real, 1 fake, (N,).
        generators: Generator of each fake, source of each photograph, (N,).
        seed: Of the draw.

    Returns:
        Which images are held out, (N,).

    Example:
        >>> int(hold_out(np.array([0] * 8 + [1] * 4), np.array(["a"] * 8 + ["b"] * 4), seed=0).sum())
        3
    """
    rng = np.random.default_rng(seed)
    groups = np.char.add(labels.astype(str), generators)
    held_out = np.zeros(len(labels), bool)
    for name in np.unique(groups):
        members = rng.permutation(np.nonzero(groups == name)[0])
        held_out[members[: round(len(members) * VALIDATION_SHARE)]] = True
    return held_out


def split_by_generator(
    data: TrainingSet, val_generators: Sequence[str] | None, *, seed: int
) -> tuple[TrainingSet, TrainingSet, str]:
    """Hold out whole generators and a quarter of the photographs for validation.

    Args:
        data: All labelled images.
        val_generators: Which generators to hold out; None draws a quarter of them (at least one). With a single
            generator a quarter of its images is held out instead, and the returned sentence says so.
        seed: Of the draw.

    Returns:
        Training set, validation set, and how the split was made.

    Raises:
        TrainingError: If a named generator is not in the data, or none is left to train on.
    """
    rng = np.random.default_rng(seed)
    names = data.names(1)
    if val_generators is None and len(names) > 1:
        val_generators = sorted(rng.permutation(names)[: max(1, round(len(names) * VALIDATION_SHARE))].tolist())
    unknown = sorted(set(val_generators or ()) - set(names))
    if unknown:
        raise TrainingError(f"no generator {', '.join(unknown)} in the store; it holds {', '.join(names)}.")
    if val_generators and set(val_generators) == set(names):
        raise TrainingError(f"all generators are to be held out ({', '.join(names)}): none is left to train on.")
    held_out = rng.random(len(data)) < VALIDATION_SHARE
    if val_generators:
        held_out = np.where(data.labels == 1, data.made_by(val_generators), held_out)
        how = f"generators held out: {', '.join(val_generators)}; a quarter of the photographs"
    else:
        how = "a quarter of the images at random: one generator only, so the figures say nothing of unseen ones"
    return data[~held_out], data[held_out], how
