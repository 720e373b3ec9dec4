"""Run the frozen half over many images, once: records in, a feature store out.

Reader → mapper → writer: threads decode and preprocess a few batches ahead, the model takes them one by one, a shard is
written when it is full. Which images make up a batch follows from the order of the records alone, so a run that was
killed and started again writes the same bytes as one that was not. `extract_rows` knows nothing of folders or shards:
another engine can call it for the shards it was given.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cinemae.config import AugmentConfig, BackboneInfo, ImageConfig
from cinemae.core.features import FeatureExtractor
from cinemae.core.preprocess import preprocess
from cinemae.errors import CinemaeError, ConfigError, FailureLimitError, ImageError, SourceError, log_unexpected
from cinemae.pictures.augment import augment_picture
from cinemae.pictures.corruptions import Corruption, parse_condition
from cinemae.pictures.image import load_image
from cinemae.sources.archives import read_encoded
from cinemae.sources.records import ImageRecord, hash_records
from cinemae.stores.features import FeatureStore, prepare_store, read_outcomes, write_shard
from cinemae.stores.store_format import StoreHeader, StoreRow

DEFAULT_SHARD_SIZE = 256
DEFAULT_BATCH_SIZE = 16
DEFAULT_NUM_WORKERS = min(4, os.cpu_count() or 1)
BATCHES_AHEAD = 2
"""How many batches are decoded, or being decoded, while the model works on one."""

_Decoded = tuple[StoreRow, NDArray[np.float32] | None]


@dataclass(frozen=True)
class ExtractReport:
    """What a run of `extract` left behind.

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


def extract(
    records: Sequence[ImageRecord],
    out: str | os.PathLike[str],
    extractor: FeatureExtractor,
    *,
    shard_size: int = DEFAULT_SHARD_SIZE,
    batch_size: int = DEFAULT_BATCH_SIZE,
    num_workers: int = DEFAULT_NUM_WORKERS,
    augment: AugmentConfig | None = None,
    condition: str | None = None,
    max_failures: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ExtractReport:
    """Extract the features of every record into a store, or go on where an interrupted run stopped.

    An image that cannot be read becomes a row with status "error". Killed at any moment, a run loses at most the shard
    in hand; the next run with the same arguments repeats no finished shard. To have a shard made anew, delete its file.

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
    pending = prepare_store(out, header)
    num_pending = sum(len(header.rows_of(shard)) for shard in pending)
    done = header.num_rows - num_pending
    report = progress or (lambda done, total: None)
    report(done, header.num_rows)
    failed = 0 if max_failures is None else _count_failed(out, header, pending)
    FailureLimitError.check(failed, max_failures)
    batches = (batch for shard in pending for batch in split_batches(records, header.rows_of(shard), batch_size))
    mapper = extract_rows(batches, extractor, num_workers=num_workers, augment=augment, condition=condition)
    with closing(mapper) as mapped:
        for shard in pending:
            rows: list[StoreRow] = []
            while len(rows) < len(header.rows_of(shard)):
                rows += (batch := next(mapped))
                done += len(batch)
                report(done, header.num_rows)
            write_shard(out, header, shard, rows)
            failed += sum(row.status == "error" for row in rows)
            FailureLimitError.check(failed, max_failures)
    return make_report(out, header, num_extracted=num_pending, num_skipped_shards=header.num_shards - len(pending))


def _count_failed(out: str | os.PathLike[str], header: StoreHeader, pending: Sequence[int]) -> int:
    """Count the failures that earlier runs left behind."""
    finished = set(range(header.num_shards)) - set(pending)
    return sum(row.status == "error" for shard in finished for row in read_outcomes(out, header, shard) or ())


def make_report(
    out: str | os.PathLike[str], header: StoreHeader, *, num_extracted: int, num_skipped_shards: int
) -> ExtractReport:
    """Count what a complete store holds.

    Raises:
        StoreError: If it is not complete.
    """
    counts = FeatureStore.open(out).counts()
    return ExtractReport(
        num_ok=counts.num_ok,
        num_failed=counts.num_failed,
        num_extracted=num_extracted,
        num_shards=header.num_shards,
        num_skipped_shards=num_skipped_shards,
        fingerprint=header.fingerprint,
    )


def make_header(
    records: Sequence[ImageRecord],
    extractor: FeatureExtractor,
    shard_size: int,
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
    backbone = extractor.backbone
    labels = Counter(record.label for record in records)
    generators = Counter(record.generator for record in records if record.generator is not None)
    return StoreHeader(
        fingerprint=extractor.fingerprint,
        extractor=extractor.config,
        backbone=BackboneInfo(
            content_hash=backbone.content_hash,
            patch_size=backbone.patch_size,
            num_patches=backbone.num_patches,
            hidden_size=backbone.hidden_size,
        ),
        dtype=str(next(backbone.parameters()).dtype).removeprefix("torch."),
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


def split_batches(records: Sequence[ImageRecord], rows: range, batch_size: int) -> Iterator[Sequence[ImageRecord]]:
    """Cut one shard's `rows` of `records` into batches, the last of which may be smaller."""
    for start in range(rows.start, rows.stop, batch_size):
        yield records[start : min(start + batch_size, rows.stop)]


def extract_rows(
    batches: Iterable[Sequence[ImageRecord]],
    extractor: FeatureExtractor,
    *,
    num_workers: int = DEFAULT_NUM_WORKERS,
    augment: AugmentConfig | None = None,
    condition: str | None = None,
) -> Generator[list[StoreRow], None, None]:
    """Turn batches of records into batches of rows, one for one and in order.

    While the model works on a batch, at most `BATCHES_AHEAD` more are held or being decoded, however many come.

    Args:
        batches: The records; taken as needed.
        extractor: The frozen half, on the device to use.
        num_workers: Threads that decode.
        augment: How to alter the pictures; None to take them as they are.
        condition: What to do to them after that.

    Yields:
        The rows of one batch. An image that cannot be read gives a row with an error message.
    """
    config = extractor.config.image
    corruption = None if condition is None else parse_condition(condition)
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="cinemae-decode")
    ahead: deque[list[Future[_Decoded]]] = deque()
    try:
        for batch in batches:
            ahead.append([pool.submit(decode_record, record, config, augment, corruption) for record in batch])
            if len(ahead) > BATCHES_AHEAD:
                yield _run_model(extractor, [future.result() for future in ahead.popleft()])
        while ahead:
            yield _run_model(extractor, [future.result() for future in ahead.popleft()])
    finally:
        pool.shutdown(cancel_futures=True)


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
    except ImageError as error:
        return dataclasses.replace(row, error_message=str(error)), None
    except CinemaeError:
        raise
    except Exception as error:
        return dataclasses.replace(row, error_message=log_unexpected(error)), None


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
