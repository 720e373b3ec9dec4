"""Training features that need not fit into memory: read from stores in blocks, as often as they are needed.

In memory is a byte or a few for each image: its label, its generator's number, and whether it was chosen. Features are
read and the statistics computed anew in every epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from cinemae.config import LcasConfig
from cinemae.errors import TrainingError
from cinemae.features.training_set import TrainingSet, read_stats, require_one_fingerprint
from cinemae.stores.features import NO_NUMBER, FeatureStore
from cinemae.stores.store_format import StoreBlock

PART_BYTES = 2**26
"""Features held together, as stored; what reading and shuffling add is about three times that."""
MOST_IN_MEMORY = 4 * 2**30
"""Bytes of features beyond which training streams unless told otherwise."""
_INDEX_ROWS = 2**16


class StreamedSet:
    """Labelled features of N images with V views each, on disk; `cinemae.features.training_set.TrainingSet` in memory.

    Args:
        stores: At least one, made by the same frozen half.
        lcas: Weight and reduction of Eq. 4's terms.
        passes: Which of the K masked passes the statistics are of; None for all.

    Raises:
        FingerprintMismatchError: If two stores differ in backbone or extractor settings.
        TrainingError: If no row is labelled.
        StoreError: If a shard cannot be read.
    """

    def __init__(
        self, stores: Sequence[FeatureStore], lcas: LcasConfig, *, passes: Sequence[int] | None = None
    ) -> None:
        require_one_fingerprint(stores)
        self.stores, self.lcas, self.passes = tuple(stores), lcas, passes
        self._names: list[str] = []
        indexes = [self._index(store) for store in stores]
        self._label_of, self._name_of = (np.concatenate(column) for column in zip(*indexes, strict=True))
        self._chosen = self._label_of != NO_NUMBER
        self._blocks: list[tuple[FeatureStore, StoreBlock, int]] = []
        start = 0
        for store in stores:
            self._blocks += [(store, block, start) for block in store.blocks()]
            start += store.num_rows
        if not self._chosen.any():
            raise TrainingError(f"no readable image in {stores[0].path} carries a label: name folders real/ and fake/.")

    def __len__(self) -> int:
        return int(self._chosen.sum())

    @property
    def labels(self) -> NDArray[np.int64]:
        """0 real, 1 fake, (N,)."""
        labels: NDArray[np.int64] = self._label_of[self._chosen].astype(np.int64)
        return labels

    @property
    def generators(self) -> NDArray[np.str_]:
        """Generator of each fake, source of each photograph, "" where unknown, (N,)."""
        names: NDArray[np.str_] = np.array(self._names, dtype=np.str_)[self._name_of[self._chosen]]
        return names

    def names(self, label: int) -> list[str]:
        """Return the generators of the fakes (1), or the sources of the photographs (0), by name."""
        return sorted(
            self._names[number] for number in np.unique(self._name_of[self._chosen & (self._label_of == label)])
        )

    def made_by(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Return which images have one of these generators, (N,)."""
        numbers = [number for number, name in enumerate(self._names) if name in set(names)]
        return np.isin(self._name_of[self._chosen], numbers)

    def __getitem__(self, chosen: NDArray[Any]) -> Self:
        """Return the chosen images, by mask (N,)."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._chosen = self._chosen.copy()
        other._chosen[self._chosen] = chosen
        return other

    def weights(self, balance: str) -> NDArray[np.float32]:
        """Return a weight for each generator's or source's images, (G, 2) by label: see `samples.sample_weights`."""
        labels, numbers = self._label_of[self._chosen], self._name_of[self._chosen]
        counts = np.bincount(numbers * 2 + labels, minlength=2 * len(self._names)).reshape(-1, 2).astype(np.float64)
        if balance == "none":
            return np.ones(counts.shape, np.float32)
        total, of_label = counts.sum(), counts.sum(0)
        if balance == "class":
            return np.broadcast_to(total / (2 * of_label), counts.shape).astype(np.float32)
        groups = (counts > 0).sum(0)
        weights: NDArray[np.float32] = (total / (2 * groups * np.maximum(counts, 1))).astype(np.float32)
        return weights

    @property
    def num_blocks(self) -> int:
        """How many blocks the stores have."""
        return len(self._blocks)

    @property
    def blocks_together(self) -> int:
        """How many blocks make up a part, by size."""
        rows = sum(len(block.rows) for _, block, _ in self._blocks) / len(self._blocks)
        shapes = self.stores[0].header.shapes
        bytes_of_row = 4 * sum(int(np.prod(shape)) for shape in shapes.values())
        return max(1, int(PART_BYTES / (rows * bytes_of_row)))

    def read(self, blocks: Sequence[int]) -> tuple[TrainingSet, NDArray[np.int64]]:
        """Read the chosen images of some blocks.

        Args:
            blocks: Their numbers, below `num_blocks`, in any order.

        Returns:
            The images in the order of the blocks, and the number of each one's generator, as rows of `weights`.

        Raises:
            TrainingError: If a feature is not finite.
            StoreError: If a shard cannot be read.
        """
        parts = [self._read_block(*self._blocks[number]) for number in blocks]
        features, stats, labels, numbers = (np.concatenate(column) for column in zip(*parts, strict=True))
        names = np.array(self._names, dtype=np.str_)[numbers]
        return TrainingSet(features, stats, labels.astype(np.int64), names), numbers.astype(np.int64)

    def parts(self) -> Iterator[TrainingSet]:
        """Yield the images in order, as many at a time as memory should hold."""
        for blocks in self._together():
            part, _ = self.read(blocks)
            if len(part):
                yield part

    def global_features(self) -> Iterator[NDArray[np.float32]]:
        """Yield [CLS] of each view of the images in order, (n, V, D), as many at a time as memory should hold.

        Raises:
            TrainingError: If a feature is not finite.
            StoreError: If a shard cannot be read.
        """
        for blocks in self._together():
            features = [self._read_global(*self._blocks[number])[0] for number in blocks]
            yield np.concatenate(features)

    def _together(self) -> Iterator[range]:
        for start in range(0, self.num_blocks, self.blocks_together):
            yield range(start, min(start + self.blocks_together, self.num_blocks))

    def _read_global(
        self, store: FeatureStore, block: StoreBlock, offset: int, others: Sequence[str] = ()
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
        """Return [CLS] of the chosen images of a block, and other columns of the whole block."""
        columns = store.load_block(block, ("global_feature", *others))
        features = columns["global_feature"][self._chosen[offset + block.rows.start : offset + block.rows.stop]]
        _require_finite(features, store)
        return features, columns

    def _read_block(self, store: FeatureStore, block: StoreBlock, offset: int) -> tuple[NDArray[Any], ...]:
        rows = slice(offset + block.rows.start, offset + block.rows.stop)
        chosen = self._chosen[rows]
        features, columns = self._read_global(store, block, offset, ("deviation", "fidelity"))
        stats = read_stats(columns, store, self.lcas, self.passes)[chosen]
        _require_finite(stats, store)
        return features, stats, self._label_of[rows][chosen], self._name_of[rows][chosen]

    def _index(self, store: FeatureStore) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
        """Return label and number of the generator of each row; no label where the image could not be read."""
        labels, numbers = np.empty(store.num_rows, np.int8), np.empty(store.num_rows, np.int32)
        known = {name: number for number, name in enumerate(self._names)}
        start = 0
        for batch in store.iter_batches(("status", "label", "generator"), batch_size=_INDEX_ROWS):
            stop = start + len(batch)
            found = pc.if_else(pc.equal(batch["status"], "ok"), batch["label"].fill_null(NO_NUMBER), NO_NUMBER)
            labels[start:stop] = found.to_numpy(zero_copy_only=False)
            coded = batch["generator"].fill_null("").dictionary_encode()
            codes = [known.setdefault(name, len(known)) for name in coded.dictionary.to_pylist()]
            numbers[start:stop] = np.array(codes, np.int32)[coded.indices.to_numpy(zero_copy_only=False)]
            start = stop
        self._names = list(known)
        return labels, numbers


def _require_finite(values: NDArray[np.float32], store: FeatureStore) -> None:
    if not np.isfinite(values).all():
        raise TrainingError(f"a feature in {store.path} is not finite: extract the store again.")


def feature_bytes(stores: Sequence[FeatureStore]) -> int:
    """Return what the features of stores take in memory, in bytes."""
    return sum(
        4 * store.num_rows * sum(int(np.prod(shape)) for shape in store.header.shapes.values()) for store in stores
    )
