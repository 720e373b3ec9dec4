"""The results folder of a bulk run: verdicts in Parquet, one file a finished part, so that a run can go on.

``results.json`` says what is done: the model, its thresholds, the list of images and how it is cut into parts.
``part-000000.parquet`` and so on hold one row an image, in the order of the list; a part appears whole or not at all,
and may be written by any process that sees the folder. Missing files are what is left to do. The columns are the keys
that ``cinemae detect --format jsonl`` writes, and ``error_message``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cinemae.errors import MissingDependencyError, StoreError
from cinemae.stores.file_folders import open_folder

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingDependencyError("results in Parquet need pyarrow: pip install 'cinemae[train]'.") from error

HEADER_NAME = "results.json"
FORMAT_VERSION = 1
JOB_KEY = b"cinemae.job"

_TEXTS, _NUMBER = pa.list_(pa.string()), pa.float64()
_SIGNAL = pa.struct(
    [(name, pa.string()) for name in ("source", "name", "value", "says")]
    + [("verified", pa.bool_()), ("sentence", pa.string())]
)
RESULT_SCHEMA = pa.schema(
    [("path", pa.string()), ("status", pa.string()), ("verdict", pa.string())]
    + [(name, _NUMBER) for name in ("prob_fake", "logit", "threshold", "false_positive_rate")]
    + [("reasons", _TEXTS)]
    + [(name, _NUMBER) for name in ("variability", "overall", "sensitivity", "ood_score")]
    + [("warnings", _TEXTS), ("redeliveries", pa.map_(pa.string(), _NUMBER)), ("provenance", pa.list_(_SIGNAL))]
    + [("width", pa.int32()), ("height", pa.int32()), ("format", pa.string()), ("content_hash", pa.string())]
    + [("model", pa.string()), ("error_message", pa.string())]
)
"""A column a key of `cinemae.detect.verdict.Verdict.to_dict`, in its order."""


@dataclass(frozen=True)
class ResultsHeader:
    """What a results folder holds, and the identity of the job that fills it.

    Attributes:
        model: `ModelConfig.model_id`.
        fingerprint: Of the model's frozen half.
        threshold: Where "ai" begins.
        real_below: Below which an image is called "real".
        stable: Whether re-deliveries are scored too.
        num_rows: Images in all, readable or not.
        part_size: Rows a part; the last may hold fewer.
        records_hash: `cinemae.sources.datasets.hash_records` of the list.
    """

    model: str
    fingerprint: str
    threshold: float
    real_below: float
    stable: bool
    num_rows: int
    part_size: int
    records_hash: str

    def __post_init__(self) -> None:
        if self.part_size < 1 or self.num_rows < 1:
            raise StoreError(f"part_size and num_rows must be at least 1, got {self.part_size} and {self.num_rows}.")

    @property
    def num_parts(self) -> int:
        """How many parts the results have when they are complete."""
        return math.ceil(self.num_rows / self.part_size)

    def rows_of(self, part: int) -> range:
        """Return which rows of the list `part` holds."""
        return range(part * self.part_size, min((part + 1) * self.part_size, self.num_rows))

    @property
    def job(self) -> str:
        """16 hex digits over all of the above; every part carries them."""
        text = json.dumps([FORMAT_VERSION, dataclasses.asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def prepare_results(path: str | os.PathLike[str], header: ResultsHeader) -> list[int]:
    """Create a results folder, or find out what an interrupted run left to do.

    Two runs on one folder at once do the same work twice, and neither loses anything.

    Args:
        path: The folder, here or behind a URI; made if need be.
        header: The job.

    Returns:
        The parts still to be written, ascending.

    Raises:
        StoreError: If the folder holds other files, or the results of another job; what differs is named.
    """
    folder = open_folder(path)
    with _writing(path):
        names = folder.make()
        if HEADER_NAME in names:
            _check_resumes(_read_header(path), header, path)
        elif visible := sorted(name for name in names if not name.startswith(".")):
            raise StoreError(
                f"results are written to a new or empty folder, {os.fspath(path)} holds {visible[0]} and no "
                f"{HEADER_NAME}: name another folder."
            )
        folder.tidy()
        if HEADER_NAME not in names:
            values = {"format_version": FORMAT_VERSION, "job": header.job, **dataclasses.asdict(header)}
            folder.write(HEADER_NAME, (json.dumps(values, indent=2) + "\n").encode())
    return [part for part in range(header.num_parts) if part_name(part) not in names]


def write_part(
    path: str | os.PathLike[str], header: ResultsHeader, part: int, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write one part: under a temporary name, flushed to the disk, then renamed.

    Args:
        path: The folder, made by `prepare_results`.
        header: The job.
        part: Which part.
        rows: All its rows, in the order of the list, as `cinemae.detect.verdict.Verdict.to_dict` gives them.

    Raises:
        StoreError: If the rows are not as many as the part has, or the disk refuses.
    """
    if len(rows) != len(header.rows_of(part)):
        raise StoreError(f"part {part} holds {len(header.rows_of(part))} rows, got {len(rows)}.")
    whole = [{**row, "redeliveries": list((row["redeliveries"] or {}).items()) or None} for row in rows]
    schema = RESULT_SCHEMA.with_metadata({JOB_KEY: header.job.encode()})
    file = pa.BufferOutputStream()
    with _writing(path):
        pq.write_table(pa.Table.from_pylist(whole, schema=schema), file, compression="zstd")
        open_folder(path).write(part_name(part), file.getvalue().to_pybytes())


def read_part(
    path: str | os.PathLike[str], header: ResultsHeader, part: int, columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Read one part.

    Args:
        path: The folder.
        header: The job.
        part: Which part.
        columns: Which, of `RESULT_SCHEMA`; None for all.

    Returns:
        Its rows, in order.

    Raises:
        StoreError: If it cannot be read, or is another job's.
    """
    file_path = f"{os.fspath(path).rstrip('/')}/{part_name(part)}"
    try:
        data = open_folder(path).read(part_name(part))
        # No thread of Arrow's may read: one that lets go of `data` only when Python ends aborts the process.
        with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
            job = (file.schema_arrow.metadata or {}).get(JOB_KEY, b"").decode()
            wanted = None if columns is None else list(columns)
            rows: list[dict[str, Any]] = file.read(columns=wanted, use_threads=False).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StoreError(
            f"{file_path} could not be read ({error}): delete it and run the same command again, only it is made anew."
        ) from error
    if job != header.job or len(rows) != len(header.rows_of(part)):
        raise StoreError(
            f"{file_path} is not of this job: expected {len(header.rows_of(part))} rows of job {header.job}, it holds "
            f"{len(rows)} of job {job or 'none'}: delete it and run the same command again."
        )
    for row in rows:
        if row.get("redeliveries") is not None:
            row["redeliveries"] = dict(row["redeliveries"])
    return rows


def has_part(path: str | os.PathLike[str], part: int) -> bool:
    """Tell whether a part is written.

    Raises:
        StoreError: If the folder cannot be looked at.
    """
    with _writing(path):
        return open_folder(path).has(part_name(part))


def part_path(folder: Path, part: int) -> Path:
    """Return where a part lies in a folder on a disk."""
    return folder / part_name(part)


def part_name(part: int) -> str:
    """Return the name of a part's file."""
    return f"part-{part:06d}.parquet"


def _read_header(folder: str | os.PathLike[str]) -> dict[str, Any]:
    path = f"{os.fspath(folder).rstrip('/')}/{HEADER_NAME}"
    try:
        values = json.loads(open_folder(folder).read(HEADER_NAME))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} could not be read as JSON ({error}): restore it, or name another folder.") from error
    if not isinstance(values, dict) or values.get("format_version") != FORMAT_VERSION:
        raise StoreError(f"{path} is not of format_version {FORMAT_VERSION}: name another folder, or upgrade cinemae.")
    return values


def _check_resumes(found: Mapping[str, Any], header: ResultsHeader, folder: str | os.PathLike[str]) -> None:
    for name, now in dataclasses.asdict(header).items():
        if found.get(name) != now:
            raise StoreError(
                f"{os.fspath(folder)} was begun with {name} {found.get(name)}, now it is {now}: go on with what it "
                "was begun with, or name another folder."
            )


@contextmanager
def _writing(folder: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise StoreError(
            f"the results {os.fspath(folder)} could not be written ({error}): free space or change permissions, then "
            "run the same command again; finished parts are kept."
        ) from error
