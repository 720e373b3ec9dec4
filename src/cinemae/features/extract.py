"""Run the frozen half over many images, once: records in, a feature store out.

Threads decode and preprocess a few batches ahead, the model takes them one by one, a shard is written when it is full.
Which images make up a batch follows from the order of the records and the shards alone, so a run that was killed and
started again writes the same bytes as one that was not. `extract_rows` knows nothing of folders or shards: every engine
calls it for the shards that it was given.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from cinemae.config import AugmentConfig, BackboneInfo, ImageConfig
from cinemae.core.backbone import MaskedAutoencoder
from cinemae.core.features import FeatureExtractor
from cinemae.core.preprocess import preprocess
from cinemae.errors import CinemaeError, ConfigError, log_unexpected, why_unread
from cinemae.features.extract_job import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_SHARD_SIZE,
    ExtractJob,
    ExtractReport,
    FrozenIdentity,
)
from cinemae.pictures.augment import augment_picture
from cinemae.pictures.corruptions import Corruption, parse_condition
from cinemae.pictures.image import load_image
from cinemae.sources.archives import read_encoded
from cinemae.sources.records import ImageRecord
from cinemae.sources.stream import NUM_WORKERS, read_ahead
from cinemae.stores.bulk import ScoreFunction, run_bulk, run_here
from cinemae.stores.store_format import StoreHeader, StoreRow

BATCHES_AHEAD = 2
"""How many batches are decoded, or being decoded, while the model works on one."""

_Decoded = tuple[StoreRow, NDArray[np.float32] | None]


@dataclass(frozen=True)
class LoadedHalf:
    """Makes the rows of a store with a frozen half that is in memory, on the device to use.

    Attributes:
        extractor: The frozen half.
        num_workers: Threads that decode.
    """

    extractor: FeatureExtractor
    num_workers: int = NUM_WORKERS

    def load(self, job: ExtractJob, num_threads: int) -> ScoreFunction:
        """Return what makes the rows of a job; the number of threads stays as it is."""
        header = job.header
        return lambda records: extract_rows(
            records,
            self.extractor,
            batch_size=job.batch_size,
            num_workers=self.num_workers,
            augment=header.augment,
            condition=header.condition,
        )


def extract(
    records: Sequence[ImageRecord],
    out: str | os.PathLike[str],
    extractor: FeatureExtractor,
    *,
    shard_size: int = DEFAULT_SHARD_SIZE,
    batch_size: int = DEFAULT_BATCH_SIZE,
    num_workers: int = NUM_WORKERS,
    augment: AugmentConfig | None = None,
    condition: str | None = None,
    max_failures: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ExtractReport:
    """Extract the features of every record into a store, or go on where an interrupted run stopped.

    An image that cannot be read becomes a row with status "error". Killed at any moment, a run loses at most the shard
    in hand; the next run with the same arguments repeats no finished shard. To have a shard made anew, delete its file.
    Works in this process: an image that kills its decoder ends it, where ``cinemae extract`` sets that image aside.

    Args:
        records: The images, as `cinemae.sources.datasets.read_records` lists them.
        out: The store's folder: new, empty, or begun by the same job.
        extractor: The frozen half, on the device to use.
        shard_size: Rows a shard: what a kill can cost, and about what is held in memory.
        batch_size: Images for each call of the model; batches end where a shard ends.
        num_workers: Threads that decode.
        augment: Store altered copies of the pictures, for training; rows name the files the copies were made from.
        condition: Store the pictures after a corruption such as "jpeg=50", for evaluation.
        max_failures: Stop, at the end of a shard, once more images than this could not be read, earlier runs included.
        progress: Called from this thread with (images done, images in all): at the start, and after every batch.

    Returns:
        Counts over the whole store.

    Raises:
        SourceError: If there are no records.
        ConfigError: If a size or number is below 1.
        FingerprintMismatchError: If `out` holds features of another backbone or other settings.
        StoreError: If `out` was begun with other images, shards or alterations, is damaged, or cannot be written.
        FailureLimitError: If more images could not be read than `max_failures`.
    """
    for name, value in (("shard_size", shard_size), ("batch_size", batch_size), ("num_workers", num_workers)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}.")
    header = make_header(records, extractor, shard_size, augment, condition)
    job = ExtractJob(LoadedHalf(extractor, num_workers), os.fspath(out), header, batch_size)
    return ExtractReport.of(job, run_bulk(job, records, run_here, max_failures=max_failures, progress=progress))


def make_header(
    records: Sequence[ImageRecord],
    extractor: FeatureExtractor,
    shard_size: int,
    augment: AugmentConfig | None = None,
    condition: str | None = None,
) -> StoreHeader:
    """Describe the job of extracting `records` with a frozen half: see `FrozenIdentity.header`."""
    return describe(extractor).header(records, shard_size, augment, condition)


def describe(extractor: FeatureExtractor) -> FrozenIdentity:
    """Say what the features that a frozen half gives depend on."""
    backbone = extractor.backbone
    dtype = str(next(backbone.parameters()).dtype).removeprefix("torch.")
    return FrozenIdentity(extractor.config, backbone_info(backbone), dtype)


def backbone_info(backbone: MaskedAutoencoder) -> BackboneInfo:
    """Return what stores and models say of a backbone."""
    return BackboneInfo(backbone.content_hash, backbone.patch_size, backbone.num_patches, backbone.hidden_size)


def extract_rows(
    records: Sequence[ImageRecord],
    extractor: FeatureExtractor,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    num_workers: int = NUM_WORKERS,
    augment: AugmentConfig | None = None,
    condition: str | None = None,
) -> Generator[list[StoreRow], None, None]:
    """Turn records into rows, in order, a batch at a time.

    While the model works on a batch, at most `BATCHES_AHEAD` more are held or being decoded, however many come.

    Args:
        records: The images; taken as needed.
        extractor: The frozen half, on the device to use.
        batch_size: Images for each call of the model.
        num_workers: Threads that decode.
        augment: How to alter the pictures; None to take them as they are.
        condition: What to do to them after that.

    Yields:
        The rows of one batch. An image that cannot be read gives a row with an error message.
    """
    config = extractor.config.image
    corruption = None if condition is None else parse_condition(condition)

    def decode(record: ImageRecord) -> _Decoded:
        return decode_record(record, config, augment, corruption)

    with closing(read_ahead(decode, records, num_workers=num_workers, ahead=BATCHES_AHEAD * batch_size)) as decoded:
        while batch := list(islice(decoded, batch_size)):
            rows = _run_model(extractor, batch)
            del batch  # and its pixels, before the next is decoded
            yield rows


def decode_record(
    record: ImageRecord,
    config: ImageConfig,
    augment: AugmentConfig | None = None,
    corruption: Corruption | None = None,
) -> _Decoded:
    """Return the row without features, and `pixel_values` (V, 3, S, S) unless the image cannot be read."""
    row = StoreRow(path=record.path, label=record.label, generator=record.generator)
    try:
        loaded = load_image(read_encoded(record))
        row = dataclasses.replace(
            row,
            content_hash=loaded.content_hash,
            source_format=loaded.format,
            width=loaded.width,
            height=loaded.height,
            num_bytes=loaded.num_bytes,
            warnings=loaded.warnings,
        )
        image = augment_picture(loaded.image, augment, loaded.content_hash) if augment else loaded.image
        if corruption:
            image = corruption.apply(image, loaded.content_hash)
        return row, preprocess(image, config)
    except Exception as error:
        return dataclasses.replace(row, error_message=why_unread(error)), None


def _run_model(extractor: FeatureExtractor, decoded: Sequence[_Decoded]) -> list[StoreRow]:
    """Fill in the features of a batch; if that fails, image by image, so that no image costs others theirs.

    Where no image of a batch can be scored alone either, the model is at fault: its error ends the run, which can be
    gone on with.
    """
    try:
        return _run_together(extractor, decoded)
    except CinemaeError:
        raise
    except Exception:
        rows, num_scored = [], 0
        for row, pixels in decoded:
            try:
                rows += _run_together(extractor, [(row, pixels)])
                num_scored += pixels is not None
            except CinemaeError:
                raise
            except Exception as error:
                rows.append(dataclasses.replace(row, error_message=log_unexpected(error)))
        if not num_scored:
            raise
        return rows


def _run_together(extractor: FeatureExtractor, decoded: Sequence[_Decoded]) -> list[StoreRow]:
    """Fill in the features of the rows that have pixels; those that could not be read are left out of the batch."""
    rows = [row for row, _ in decoded]
    readable = [(index, pixels) for index, (_, pixels) in enumerate(decoded) if pixels is not None]
    if not readable:
        return rows
    views = np.stack([pixels for _, pixels in readable])
    with torch.inference_mode():
        pixel_values = torch.from_numpy(views).flatten(0, 1).to(next(extractor.parameters()).device)
        features = extractor(pixel_values)
        unflattened = [
            value.cpu().unflatten(0, views.shape[:2]).numpy()
            for value in (features.global_feature, features.deviation, features.fidelity)
        ]
    for (index, _), global_feature, deviation, fidelity in zip(readable, *unflattened, strict=True):
        rows[index] = dataclasses.replace(
            rows[index], global_feature=global_feature, deviation=deviation, fidelity=fidelity
        )
    return rows
