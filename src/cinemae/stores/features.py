"""The feature store: what the frozen half knows of each image, on disk, so that heads train without the backbone.

A store is a folder of parts (`cinemae.stores.parts`): ``store.json`` says what the features are and which job makes
them, ``shard-00000.parquet`` and so on hold the rows. The two terms of Eq. 4 are kept for each pass and patch, not
their sum.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinemae.config import BackboneInfo, ExtractorConfig
from cinemae.errors import MissingDependencyError, StoreError
from cinemae.stores.parts import PartsFolder, PartsFormat, read_header
from cinemae.stores.store_format import (
    COLUMNS,
    FEATURES,
    HEADER_NAME,
    Status,
    StoreHeader,
    StoreRow,
    check_row,
    stored_value,
)

try:
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError as error:
    raise MissingDependencyError("feature stores need pyarrow: pip install 'cinemae[train]'.") from error

NO_NUMBER = -1  # what `load` gives for a number that is not known, a missing label among them
_ROWS_PER_BATCH = 256
_PARQUET: dict[str, Any] = {
    "version": "2.6",
    "data_page_version": "1.0",
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": ["label", "generator", "source_format", "status"],
    "row_group_size": 1024,
    "write_page_checksum": True,
}
# Plain lists of floats, not fixed-size ones: before 2026 Arrow could write a fixed-size list that is null, not read it.
_SCHEMA = pa.schema(
    pa.field(
        name,
        {"list<string>": pa.list_(pa.string()), "list<float>": pa.list_(pa.float32())}.get(kind)
        or pa.type_for_alias(kind),
        nullable=name not in ("path", "status"),
    )
    for name, (kind, _) in COLUMNS.items()
)


_FORMAT = PartsFormat(
    what="features",
    header_name=HEADER_NAME,
    part="shard",
    part_name="shard-{:05d}.parquet",
    schema=_SCHEMA,
    again="cinemae extract",
    parquet=_PARQUET,
)


def store_folder(path: str | os.PathLike[str], header: StoreHeader) -> PartsFolder:
    """Return the folder of a store, to be filled with the shards of a job; nothing is looked at yet."""
    return PartsFolder(path, _FORMAT, header)


def prepare_store(path: str | os.PathLike[str], header: StoreHeader) -> list[int]:
    """Create a store, or find out what an interrupted job left to do: see `PartsFolder.prepare`."""
    return store_folder(path, header).prepare()


def write_shard(path: str | os.PathLike[str], header: StoreHeader, shard: int, rows: Sequence[StoreRow]) -> None:
    """Write one shard: see `PartsFolder.write`.

    Args:
        path: The store's folder, made by `prepare_store`.
        header: The job.
        shard: Which shard.
        rows: All its rows, in the order of the records.

    Raises:
        StoreError: If the rows are not those of this shard, or the disk refuses.
    """
    for row in rows:
        check_row(row, header)
    arrays = [pa.array([stored_value(row, column.name) for row in rows], type=column.type) for column in _SCHEMA]
    store_folder(path, header).write(shard, pa.Table.from_arrays(arrays, schema=_SCHEMA))


class FeatureStore:
    """A complete store, for reading; `open` makes one."""

    def __init__(self, path: Path, header: StoreHeader) -> None:
        self.path = path
        self.header = header
        self._folder = store_folder(path, header)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a store; every shard's footer is checked, the rows are read later.

        Raises:
            StoreError: If it is not a store, not complete, of another format version, or damaged.
        """
        try:
            header = StoreHeader.read(read_header(path, _FORMAT), os.fspath(path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreError(
                f"a feature store is a folder with a {HEADER_NAME}, {path} has none: make one with cinemae extract."
            ) from error
        store = cls(Path(path), header)
        missing = [shard for shard in range(header.num_shards) if not store._folder.has(shard)]
        if missing:
            raise StoreError(
                f"the store {path} is not complete: {len(missing)} of {header.num_shards} shards are missing, "
                f"{store._folder.name_of(missing[0])} first: run cinemae extract again as before, it goes on."
            )
        for shard in range(header.num_shards):
            with store._folder.open(shard):
                pass  # looking at the footer
        return store

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the frozen half that made the features."""
        return self.header.fingerprint

    @property
    def config(self) -> ExtractorConfig:
        """Settings of the frozen half that made the features."""
        return self.header.extractor

    @property
    def backbone(self) -> BackboneInfo:
        """The backbone that made the features."""
        return self.header.backbone

    @property
    def num_rows(self) -> int:
        """Images in all, readable or not."""
        return self.header.num_rows

    def iter_batches(
        self, columns: Sequence[str] | None = None, *, batch_size: int = _ROWS_PER_BATCH
    ) -> Iterator[pa.RecordBatch]:
        """Read the rows in the order of the records, a few at a time.

        Args:
            columns: Which, of `COLUMNS`; None for all.
            batch_size: Rows a batch at most; a batch never spans two shards.

        Returns:
            Arrow record batches.

        Raises:
            StoreError: If a column is unknown or a shard cannot be read; the file is named.
        """
        return self._iter_batches(_check_columns(columns), batch_size, range(self.header.num_shards))

    def _iter_batches(self, columns: list[str], batch_size: int, shards: Iterable[int]) -> Iterator[pa.RecordBatch]:
        for shard in shards:
            with self._folder.open(shard) as file:
                yield from file.iter_batches(batch_size=batch_size, columns=columns)

    def iter_arrays(
        self, columns: Sequence[str], *, status: Status | None = "ok", most_rows: int | None = None
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Read columns a few rows at a time, in the order of the records.

        Args:
            columns: Which, of `COLUMNS`.
            status: Only rows that are "ok", or "error"; None for all rows.
            most_rows: Of a store with more rows, read whole shards spread evenly over it, about so many rows but one
                shard at least; None for all.

        Yields:
            An array a column, as `load` gives them.

        Raises:
            StoreError: If a column is unknown or a shard cannot be read; the file is named.
        """
        columns, count = _check_columns(columns), self.header.num_shards
        chosen = count if most_rows is None else min(count, max(1, count * most_rows // self.num_rows))
        shards = [index * count // chosen for index in range(chosen)]
        for batch in self._iter_batches([*columns, *({"status"} - set(columns))], _ROWS_PER_BATCH, shards):
            if status is not None:
                batch = batch.filter(pc.equal(batch["status"], status))
            yield {name: self._to_numpy(name, batch[name]) for name in columns}

    def load(
        self,
        columns: Sequence[str] | None = None,
        *,
        status: Status | None = "ok",
        most_rows: int | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Read columns into memory.

        Args:
            columns: Which, of `COLUMNS`; None for all.
            status: Only rows that are "ok", or "error"; None for all rows.
            most_rows: About how many at most, as `iter_arrays` has it; None for all.

        Returns:
            An array a column, N rows each, in the order of the records. global_feature is (N, V, D), deviation and
            fidelity are (N, V, K, L), float32, nan for images that could not be read. Unknown numbers are -1, a missing
            label among them; texts and warnings are object arrays with None where there is none.

        Raises:
            StoreError: If a column is unknown or a shard cannot be read; the file is named.
        """
        columns = _check_columns(columns)
        arrays = {name: self._empty(name) for name in columns}
        filled = 0
        for batch in self.iter_arrays(columns, status=status, most_rows=most_rows):
            count = len(batch[columns[0]])
            for name in columns:
                arrays[name][filled : filled + count] = batch[name]
            filled += count
        return {name: array[:filled] for name, array in arrays.items()}

    def _empty(self, name: str) -> NDArray[Any]:
        """Room for every row of a column; pages that stay unused cost no memory."""
        if name in FEATURES:
            return np.empty((self.num_rows, *self.header.shapes[name]), np.float32)
        kind = _SCHEMA.field(name).type
        return np.empty(self.num_rows, np.dtype(str(kind)) if pa.types.is_integer(kind) else object)

    def _to_numpy(self, name: str, column: pa.Array) -> NDArray[Any]:
        if name in FEATURES:
            shape = self.header.shapes[name]
            known = column.is_valid().to_numpy(zero_copy_only=False)
            values = np.full((len(column), *shape), np.nan, np.float32)
            values[known] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, *shape)
            return values
        if pa.types.is_integer(column.type):
            return np.asarray(column.fill_null(NO_NUMBER))
        values = np.empty(len(column), object)
        for index, value in enumerate(column.to_pylist()):
            values[index] = value
        return values


def _check_columns(columns: Sequence[str] | None) -> list[str]:
    columns = list(COLUMNS) if columns is None else list(columns)
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        raise StoreError(f"a store has the columns {', '.join(COLUMNS)}; there is no {', '.join(unknown)}.")
    return columns
