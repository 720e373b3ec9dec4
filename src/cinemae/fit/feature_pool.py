"""Features by content, kept between runs: an image is looked at once, whatever set it is in next time.

`cinemae.features.extract` goes on with the very list of images it was begun with. A pool is a folder of small stores
that it made, one for every 256 images that were new; from them `write_store` puts together the store of any set of
images.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cinemae.config import AugmentConfig
from cinemae.core.features import FeatureExtractor
from cinemae.errors import StoreError
from cinemae.features.extract import describe, extract, make_header
from cinemae.features.extract_job import DEFAULT_SHARD_SIZE
from cinemae.fit.data import Sample
from cinemae.stores.features import FeatureStore, prepare_store, write_shard
from cinemae.stores.store_format import COLUMNS, FEATURES, HEADER_NAME, StoreRow

_KEPT = [name for name in COLUMNS if name not in ("path", "label", "generator", "status", "error_message")]


class FeaturePool:
    """The features that one frozen half, and one way of altering pictures, gave so far. One process at a time.

    Args:
        folder: Where pools are kept; each has a folder of its own below, by fingerprint.
        extractor: The frozen half, on the device to use.
        augment: How pictures are altered first; None for the pictures as they are.
    """

    def __init__(self, folder: Path, extractor: FeatureExtractor, augment: AugmentConfig | None = None) -> None:
        self.extractor, self.augment = extractor, augment
        parts = (
            extractor.fingerprint,
            describe(extractor).dtype,
            *(() if augment is None else (f"copies-{augment.seed}",)),
        )
        self.folder = folder / "-".join(parts)

    def missing(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return the samples whose features are not there yet."""
        known = {digest for store in self._stores() for digest in store.load(("content_hash",))["content_hash"]}
        return [sample for sample in samples if sample.content_hash not in known]

    def extract(
        self, samples: Sequence[Sample], progress: Callable[[int, int], None] | None = None
    ) -> list[tuple[str, str]]:
        """Extract what is not there yet. A killed run loses the 256 images in hand at most.

        Args:
            samples: Each content once.
            progress: Called with (images done, images in all), counting what was there before as done.

        Returns:
            Path and reason of every image that could not be decoded; it is tried again next time.
        """
        new = self.missing(samples)
        before = len(samples) - len(new)
        failed: list[tuple[str, str]] = []
        for start in range(0, len(new), DEFAULT_SHARD_SIZE):
            chunk = new[start : start + DEFAULT_SHARD_SIZE]
            records = [sample.record for sample in chunk]
            tell = _counting(progress, before + start, len(samples))
            out = self.folder / _name(chunk)
            _remove_store(out)  # if it is there, a killed run left it without its shard
            report = extract(records, out, self.extractor, augment=self.augment, progress=tell)
            if report.num_failed:
                columns = FeatureStore.open(out).load(("path", "error_message"), status="error")
                failed += list(zip(columns["path"].tolist(), columns["error_message"].tolist(), strict=True))
            if not report.num_ok:
                shutil.rmtree(out)
        told = {path for path, _ in failed}
        changed = [sample.record.path for sample in self.missing(new) if sample.record.path not in told]
        return failed + [
            (path, "the file changed while it was looked at: wait until it is written.") for path in changed
        ]

    def write_store(self, samples: Sequence[Sample], out: Path) -> Path:
        """Write a store of these images, in their order, with the labels and groups they have now.

        Args:
            samples: Whose features are here.
            out: The store's folder; a store that lies there is replaced.

        Raises:
            StoreError: If an image's features are not here, or `out` holds something else than a store.
        """
        found = self._rows({sample.content_hash for sample in samples})
        lacking = [sample.record.path for sample in samples if sample.content_hash not in found]
        if lacking:
            raise StoreError(f"the features of {lacking[0]} are not in {self.folder}: extract them first.")
        _remove_store(out)
        header = make_header([sample.record for sample in samples], self.extractor, DEFAULT_SHARD_SIZE, self.augment)
        for shard in prepare_store(out, header):
            rows = [_labelled(found[samples[index].content_hash], samples[index]) for index in header.rows_of(shard)]
            write_shard(out, header, shard, rows)
        return out

    def _stores(self) -> Iterator[FeatureStore]:
        """Open every complete store; one that a killed run left without its shard is passed over."""
        for folder in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            try:
                store = FeatureStore.open(folder)
            except StoreError:
                continue
            if store.header.augment == self.augment:
                yield store

    def _rows(self, wanted: set[str]) -> dict[str, StoreRow]:
        rows: dict[str, StoreRow] = {}
        for store in self._stores():
            columns = store.load(_KEPT)
            for index, digest in enumerate(columns["content_hash"].tolist()):
                if digest in wanted:
                    values = {name: columns[name][index] for name in _KEPT if name not in FEATURES}
                    features = {name: columns[name][index].copy() for name in FEATURES}  # lets go of its neighbours
                    rows[digest] = StoreRow(path="", **{**values, "warnings": tuple(values["warnings"])}, **features)
        return rows


def _counting(
    progress: Callable[[int, int], None] | None, before: int, total: int
) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, _: progress(before + done, total)


def _name(samples: Sequence[Sample]) -> str:
    """Name a store by content: the list of paths that a store knows itself by may come again with other files."""
    return hashlib.sha256("".join(sample.content_hash for sample in samples).encode()).hexdigest()[:16]


def _labelled(row: StoreRow, sample: Sample) -> StoreRow:
    record = sample.record
    return dataclasses.replace(row, path=record.path, label=record.label, generator=record.generator)


def _remove_store(folder: Path) -> None:
    if (folder / HEADER_NAME).is_file():
        shutil.rmtree(folder)
