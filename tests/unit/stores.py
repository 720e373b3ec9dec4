"""Stores of rows that a test made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cinemae.extractor_config import ExtractorConfig
from cinemae.stores.features import FeatureStore, prepare_store, write_shard
from cinemae.stores.store_format import BackboneInfo, StoreHeader, StoreRow


def write_store(
    path: Path,
    rows: Sequence[StoreRow],
    extractor: ExtractorConfig,
    backbone: BackboneInfo,
    shard_size: int = 64,
    augment=None,
) -> FeatureStore:
    """Write a complete store of some rows, in float32."""
    fingerprint = extractor.fingerprint(backbone.content_hash)
    header = StoreHeader(fingerprint, extractor, backbone, "float32", shard_size, len(rows), "0" * 64, augment)
    for shard in prepare_store(path, header):
        write_shard(path, header, shard, [rows[index] for index in header.rows_of(shard)])
    return FeatureStore.open(path)
