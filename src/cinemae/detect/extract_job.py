"""``cinemae extract`` as a bulk job: parts are the shards of a feature store."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from cinemae.config import ExtractorConfig, ImageConfig
from cinemae.core.backbone import FrozenMAE
from cinemae.core.features import FeatureExtractor
from cinemae.detect.job import PartReport, ScoreFunction, report_rows
from cinemae.features.extract import DEFAULT_BATCH_SIZE, DEFAULT_NUM_WORKERS, extract_rows, split_batches
from cinemae.models.directory import read_model_config, resolve_model
from cinemae.models.scorers import find_device
from cinemae.models.weights import load_extractor
from cinemae.sources.records import ImageRecord
from cinemae.stores.features import prepare_store, read_outcomes, write_shard
from cinemae.stores.store_format import StoreHeader, StoreRow


@dataclass(frozen=True)
class ExtractorSource:
    """Where a frozen half comes from: enough to build it again in another process.

    Attributes:
        model: A model directory or Hub id; None for the bundled starter.
        backbone: A bare backbone in place of a model: folder in Hub layout, original .pth, or Hub id.
        changes: Settings in place of the model's (with `backbone`, of the paper's): ``{"image": {"views": "five"}}``.
        device: "auto", "cpu", "cuda" or "mps".
        dtype: "float32" or "bfloat16".
    """

    model: str | None = None
    backbone: str | None = None
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device: str = "auto"
    dtype: str = "float32"

    def load(self) -> FeatureExtractor:
        """Build the frozen half, on its device.

        Raises:
            ModelDirError: If the model is missing or cannot be used.
            CheckpointError: If the backbone is.
            ConfigError: If a change or the device is none.
        """
        where, precision = find_device(self.device), getattr(torch, self.dtype)
        if self.backbone is None:
            directory = resolve_model(self.model)
            trained = load_extractor(directory, read_model_config(directory), device=where, dtype=precision)
            frozen, config = trained.backbone, trained.config
        else:
            frozen = FrozenMAE.from_pretrained(self.backbone, device=where, dtype=precision)
            image = ImageConfig.of_size(frozen.image_size)
            config = ExtractorConfig(image=image)
        for part, settings in self.changes.items():
            merged = {**getattr(config, part).to_dict(), **settings}
            config = dataclasses.replace(config, **{part: type(getattr(config, part)).from_dict(merged)})
        return FeatureExtractor(frozen, config).to(where)


@dataclass(frozen=True)
class ExtractJob:
    """Features of images into a store.

    Attributes:
        source: The frozen half.
        out: The store's folder; every worker must see it.
        header: What the store holds (`cinemae.features.extract.make_header`).
        batch_size: Images for each call of the model.
    """

    source: ExtractorSource
    out: str
    header: StoreHeader
    batch_size: int = DEFAULT_BATCH_SIZE

    @property
    def num_rows(self) -> int:
        """Images in all."""
        return self.header.num_rows

    def rows_of(self, part: int) -> range:
        """Return which images a shard holds."""
        return self.header.rows_of(part)

    def prepare(self) -> list[int]:
        """Make the store, or find what an earlier run finished; return the shards left to do."""
        return prepare_store(self.out, self.header)

    def load(self, num_threads: int) -> ScoreFunction:
        """Load the frozen half, and return records → rows, what `features.extract.extract` runs as well."""
        torch.set_num_threads(num_threads)
        extractor = self.source.load()

        def score(records: Sequence[ImageRecord]) -> Iterator[list[StoreRow]]:
            batches = split_batches(records, range(len(records)), self.batch_size)
            workers = min(num_threads, DEFAULT_NUM_WORKERS)
            header = self.header
            yield from extract_rows(
                batches, extractor, num_workers=workers, augment=header.augment, condition=header.condition
            )

        return score

    def failed_row(self, record: ImageRecord, reason: str) -> StoreRow:
        """Return the row of an image without features."""
        return StoreRow(path=record.path, label=record.label, generator=record.generator, error_message=reason)

    def finished(self, part: int) -> PartReport | None:
        """Report a shard whose file is there."""
        rows = read_outcomes(self.out, self.header, part)
        return None if rows is None else report_rows(part, rows)

    def write(self, part: int, rows: Sequence[StoreRow]) -> None:
        """Write a shard."""
        write_shard(self.out, self.header, part, rows)


def extract_job(
    source: ExtractorSource, out: str | os.PathLike[str], header: StoreHeader, *, batch_size: int | None = None
) -> ExtractJob:
    """Describe the job, its folder named so that every process on a machine finds it."""
    return ExtractJob(source, os.path.abspath(out), header, batch_size or DEFAULT_BATCH_SIZE)  # noqa: PTH100
