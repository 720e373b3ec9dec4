"""The results of a bulk run: verdicts in Parquet, in a folder of parts (`cinemae.stores.parts`).

``results.json`` says what is done: the model, its thresholds, the list of images and how it is cut into parts, and of
which earlier lists parts are kept. ``part-000000.parquet`` and so on hold the rows. ``part-unlisted.parquet``, made
anew by every run, holds those of arguments that name nothing and of folders that cannot be listed. The columns are the
keys that ``cinemae detect --format jsonl`` writes, and ``error_message``; ``schema_version`` says which keys a row has.
Parts of earlier versions are read as they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

from cinemae.errors import MissingDependencyError, StoreError
from cinemae.stores.job_header import JobHeader
from cinemae.stores.parts import PartsFolder, PartsFormat
from cinemae.verdict_row import VerdictRow

try:
    import pyarrow as pa
except ImportError as error:
    raise MissingDependencyError("results in Parquet need pyarrow: pip install 'cinemae[data]'.") from error

HEADER_NAME = "results.json"
FORMAT_VERSION = 2
"""Of jobs whose parts grow or whose list grew. Others are written, and carry the identity, of version 1."""
UNLISTED_NAME = "part-unlisted.parquet"

_TEXTS, _NUMBER = pa.list_(pa.string()), pa.float64()
_SIGNAL = pa.struct(
    [(name, pa.string()) for name in ("source", "name", "value", "says")]
    + [("verified", pa.bool_()), ("sentence", pa.string())]
)
_FIRST_SCHEMA = pa.schema(
    [("path", pa.string()), ("status", pa.string()), ("verdict", pa.string())]
    + [(name, _NUMBER) for name in ("prob_fake", "logit", "threshold", "false_positive_rate")]
    + [("reasons", _TEXTS)]
    + [(name, _NUMBER) for name in ("variability", "overall", "sensitivity", "ood_score")]
    + [("warnings", _TEXTS), ("redeliveries", pa.map_(pa.string(), _NUMBER)), ("provenance", pa.list_(_SIGNAL))]
    + [("width", pa.int32()), ("height", pa.int32()), ("format", pa.string()), ("content_hash", pa.string())]
    + [("model", pa.string()), ("error_message", pa.string())]
)
_EXAMINED = pa.struct([("share", _NUMBER), ("side", pa.int32()), ("native", _NUMBER)])
_LATER = (("examined", _EXAMINED), ("reason_kinds", _TEXTS), ("schema_version", pa.int32()))
RESULT_SCHEMA = pa.schema([*list(_FIRST_SCHEMA)[:20], *(pa.field(*each) for each in _LATER), *list(_FIRST_SCHEMA)[20:]])
"""A column a key of `cinemae.detect.verdict.Verdict.to_dict`, in its order."""


class EarlierPart(NamedTuple):
    """A part that was finished before the list of images grew."""

    part: int
    num_rows: int
    job: str


@dataclass(frozen=True)
class ResultsHeader(JobHeader):
    """What a results folder holds, and the identity of the job that fills it.

    Attributes:
        model: `ModelConfig.model_id`.
        fingerprint: Of the model's frozen half.
        threshold: Where "ai" begins.
        real_below: Below which an image is called "real".
        stable: Whether re-deliveries are scored too.
        num_rows: Images in all, readable or not.
        part_size: Most rows a part.
        records_hash: `cinemae.sources.records.hash_records` of the list.
        first_part_size: Rows of the first part; each further one has twice as many, up to `part_size`. None where all
            have `part_size`.
        earlier: Parts kept from before the list grew; their rows come first.
    """

    model: str
    fingerprint: str
    threshold: float
    real_below: float
    stable: bool
    num_rows: int
    part_size: int
    records_hash: str
    first_part_size: int | None = None
    earlier: tuple[EarlierPart, ...] = ()

    def __post_init__(self) -> None:
        sizes = self.part_size if self.first_part_size is None else min(self.part_size, self.first_part_size)
        if sizes < 1 or self.num_rows < 1:
            raise StoreError(f"part_size and num_rows must be at least 1, got {sizes} and {self.num_rows}.")

    @classmethod
    def read(cls, values: Mapping[str, Any], folder: str) -> Self:
        """Read what ``results.json`` says.

        Raises:
            StoreError: If it is of another version, or damaged.
        """
        if values.get("format_version") not in (1, FORMAT_VERSION):
            raise StoreError(
                f"{folder}/{HEADER_NAME} is not of format_version 1 to {FORMAT_VERSION}: name another folder, or "
                "upgrade cinemae."
            )
        known = {field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values}
        try:
            return cls(**{**known, "earlier": tuple(EarlierPart(*one) for one in known.get("earlier", ()))})
        except TypeError as error:
            raise StoreError(
                f"{folder}/{HEADER_NAME} is damaged ({error}): restore it, or name another folder."
            ) from error

    @property
    def rows_per_part(self) -> int:
        """Most rows a part."""
        return self.part_size

    @property
    def num_parts(self) -> int:
        """How many parts there are when all is done."""
        return len(self._rows)

    @property
    def part_numbers(self) -> Sequence[int]:
        """The parts, in the order of the list."""
        return tuple(self._rows)

    def rows_of(self, part: int) -> range:
        """Return which rows of the list `part` holds."""
        return self._rows[part]

    @cached_property
    def _rows(self) -> dict[int, range]:
        rows, begin = dict[int, range](), 0
        for kept in self.earlier:
            rows[kept.part] = range(begin, begin + kept.num_rows)
            begin += kept.num_rows
        number, size = max(rows, default=-1) + 1, self.first_part_size or self.part_size
        while begin < self.num_rows:
            rows[number] = range(begin, min(begin + size, self.num_rows))
            begin, number, size = begin + size, number + 1, min(2 * size, self.part_size)
        return rows

    @cached_property
    def job(self) -> str:
        """16 hex digits over all of the above; every part of this list carries them."""
        version, values = self._versioned
        return hashlib.sha256(json.dumps([version, values], sort_keys=True).encode()).hexdigest()[:16]

    def job_of(self, part: int) -> str:
        """Return what `part` carries: this job, or the one that made it before the list grew."""
        return self._earlier_jobs.get(part, self.job)

    @cached_property
    def _earlier_jobs(self) -> dict[int, str]:
        return {kept.part: kept.job for kept in self.earlier}

    @property
    def _versioned(self) -> tuple[int, dict[str, Any]]:
        """Return the version and the fields that it has."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if value not in (None, (), [])}
        return FORMAT_VERSION if {"first_part_size", "earlier"} & values.keys() else 1, values

    def to_json(self) -> str:
        """Return the text of ``results.json``."""
        version, values = self._versioned
        return json.dumps({"format_version": version, "job": self.job, **values}, indent=2) + "\n"

    def check_resumes(self, values: Mapping[str, Any], folder: str) -> None:
        """Check that this job may go on where the one that `values`, in `folder`, describe has stopped.

        Raises:
            StoreError: If it may not; what differs is named.
        """
        self.check_same(self.read(values, folder), folder, [field.name for field in dataclasses.fields(self)])


_FORMAT = PartsFormat(
    what="results",
    header_name=HEADER_NAME,
    part="part",
    part_name="part-{:06d}.parquet",
    schema=RESULT_SCHEMA,
    again="the same command",
    parquet={"compression": "zstd"},
    older=(_FIRST_SCHEMA,),
)


def results_folder(path: str | os.PathLike[str], header: ResultsHeader) -> PartsFolder:
    """Return the folder of a job's results, here or behind a URI; nothing is looked at yet."""
    return PartsFolder(path, _FORMAT, header)


def write_results(folder: PartsFolder, part: int, rows: Sequence[VerdictRow]) -> None:
    """Write one part.

    Args:
        folder: What `results_folder` gave, prepared.
        part: Which part.
        rows: All its rows, in the order of the list, as `cinemae.detect.verdict.Verdict.to_dict` gives them.

    Raises:
        StoreError: If the rows are not as many as the part has, or the disk refuses.
    """
    folder.write(part, _table_of(rows))


def write_unlisted(folder: PartsFolder, rows: Sequence[VerdictRow]) -> None:
    """Write the rows of what is no image, in place of those of earlier runs.

    Raises:
        StoreError: If the disk refuses.
    """
    if rows or folder.holds(UNLISTED_NAME):
        folder.write_beside(UNLISTED_NAME, _table_of(rows))


def _table_of(rows: Sequence[VerdictRow]) -> pa.Table:
    whole = [{**row, "redeliveries": list((row["redeliveries"] or {}).items()) or None} for row in rows]
    return pa.Table.from_pylist(whole, schema=RESULT_SCHEMA)


def read_results(folder: PartsFolder, part: int) -> list[VerdictRow]:
    """Read the rows of one part, in order.

    Raises:
        StoreError: If it cannot be read, or is another job's.
    """
    with folder.open(part) as file:
        rows: list[VerdictRow] = file.read(use_threads=False).to_pylist()
    for row in rows:
        if row["redeliveries"] is not None:
            row["redeliveries"] = dict(row["redeliveries"])
    return rows
