"""The extraction of a feature store as a bulk job: parts are its shards. Torch is loaded where the work is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cinemae.config import AugmentConfig, BackboneInfo, ExtractorConfig
from cinemae.errors import SourceError
from cinemae.pictures.corruptions import parse_condition
from cinemae.sources.records import ImageRecord, hash_records
from cinemae.stores.bulk import BulkReport, ScoreFunction
from cinemae.stores.features import FeatureStore, store_folder, write_shard
from cinemae.stores.parts import PartsFolder
from cinemae.stores.store_format import StoreHeader, StoreRow

DEFAULT_SHARD_SIZE = 256
DEFAULT_BATCH_SIZE = 16


class RowMaker(Protocol):
    """What turns records into rows of a store: small, and can be pickled where another process is to do the work."""

    def load(self, job: ExtractJob, num_threads: int) -> ScoreFunction:
        """Load the frozen half, to compute with so many threads, and return what makes the rows of `job`."""
        ...


@dataclass(frozen=True)
class ExtractJob:
    """Features of images into a store.

    Attributes:
        maker: The frozen half, or where it comes from.
        out: The store's folder; every worker must see it.
        header: What the store holds.
        batch_size: Images for each call of the model.
    """

    maker: RowMaker
    out: str
    header: StoreHeader
    batch_size: int = DEFAULT_BATCH_SIZE

    @property
    def parts(self) -> PartsFolder:
        """The store's folder."""
        return store_folder(self.out, self.header)

    def load(self, num_threads: int) -> ScoreFunction:
        """Load the frozen half, and return records → rows."""
        return self.maker.load(self, num_threads)

    def failed_row(self, record: ImageRecord, reason: str) -> StoreRow:
        """Return the row of an image without features."""
        return StoreRow(path=record.path, label=record.label, generator=record.generator, error_message=reason)

    def write(self, part: int, rows: Sequence[StoreRow]) -> None:
        """Write a shard."""
        write_shard(self.out, self.header, part, rows)


@dataclass(frozen=True)
class ExtractReport:
    """What a run of `cinemae.features.extract.extract` left behind.

    Attributes:
        num_ok: Images of the whole store with features.
        num_failed: Images of the whole store that could not be read; their rows say why.
        num_extracted: Images, readable or not, that this run worked on.
        num_shards: Shards of the store.
        num_skipped_shards: Shards that an earlier run had finished.
        fingerprint: Of the frozen half that made the features.
    """

    num_ok: int
    num_failed: int
    num_extracted: int
    num_shards: int
    num_skipped_shards: int
    fingerprint: str

    @classmethod
    def of(cls, job: ExtractJob, report: BulkReport) -> ExtractReport:
        """Say what a complete store holds.

        Raises:
            StoreError: If it is not complete, or damaged.
        """
        FeatureStore.open(job.out)
        return cls(
            num_ok=report.num_rows - report.num_failed,
            num_failed=report.num_failed,
            num_extracted=report.num_scored,
            num_shards=report.num_parts,
            num_skipped_shards=report.num_skipped_parts,
            fingerprint=job.header.fingerprint,
        )


@dataclass(frozen=True)
class FrozenIdentity:
    """What the features of a store depend on besides the images.

    Attributes:
        config: Settings.
        backbone: The backbone.
        dtype: What the backbone computes in, such as "float32".
    """

    config: ExtractorConfig
    backbone: BackboneInfo
    dtype: str

    def header(
        self,
        records: Sequence[ImageRecord],
        shard_size: int = DEFAULT_SHARD_SIZE,
        augment: AugmentConfig | None = None,
        condition: str | None = None,
    ) -> StoreHeader:
        """Describe the job of extracting `records` in shards of `shard_size` rows.

        Raises:
            SourceError: If there are no records.
            ConfigError: If there is no such condition.
        """
        if not records:
            raise SourceError("there is no image to extract features of: the list of records is empty.")
        labels = Counter(record.label for record in records)
        generators = Counter(record.generator for record in records if record.generator is not None)
        return StoreHeader(
            fingerprint=self.config.fingerprint(self.backbone.content_hash),
            extractor=self.config,
            backbone=self.backbone,
            dtype=self.dtype,
            shard_size=shard_size,
            num_rows=len(records),
            records_hash=hash_records(records),
            augment=augment,
            condition=None if condition is None else parse_condition(condition).name,
            source={
                "num_real": labels[0],
                "num_fake": labels[1],
                "num_unlabelled": labels[None],
                "generators": dict(sorted(generators.items())),
            },
        )
