"""The results of a bulk run: verdicts in Parquet, in a folder of parts (`cinemae.stores.parts`).

``results.json`` says what is done: the model, its thresholds, the list of images and how it is cut into parts.
``part-000000.parquet`` and so on hold the rows. The columns are the keys that ``cinemae detect --format jsonl`` writes,
and ``error_message``. Parts of earlier versions are read as they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cinemae.errors import MissingDependencyError, StoreError
from cinemae.stores.job_header import JobHeader
from cinemae.stores.parts import PartsFolder, PartsFormat

try:
    import pyarrow as pa
except ImportError as error:
    raise MissingDependencyError("results in Parquet need pyarrow: pip install 'cinemae[train]'.") from error

HEADER_NAME = "results.json"
FORMAT_VERSION = 1

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
RESULT_SCHEMA = _FIRST_SCHEMA.insert(20, pa.field("examined", _EXAMINED))
"""A column a key of `cinemae.detect.verdict.Verdict.to_dict`, in its order."""


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
    def rows_per_part(self) -> int:
        """Rows a part; the last may hold fewer."""
        return self.part_size

    @property
    def job(self) -> str:
        """16 hex digits over all of the above; every part carries them."""
        text = json.dumps([FORMAT_VERSION, dataclasses.asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return the text of ``results.json``."""
        values = {"format_version": FORMAT_VERSION, "job": self.job, **dataclasses.asdict(self)}
        return json.dumps(values, indent=2) + "\n"

    def check_resumes(self, values: Mapping[str, Any], folder: str) -> None:
        """Check that this job may go on where the one that `values`, in `folder`, describe has stopped.

        Raises:
            StoreError: If it may not; what differs is named.
        """
        if values.get("format_version") != FORMAT_VERSION:
            raise StoreError(
                f"{folder}/{HEADER_NAME} is not of format_version {FORMAT_VERSION}: name another folder, or upgrade "
                "cinemae."
            )
        for name, now in dataclasses.asdict(self).items():
            if values.get(name) != now:
                raise StoreError(
                    f"{folder} was begun with {name} {values.get(name)}, now it is {now}: go on with what it was begun "
                    "with, or name another folder."
                )


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


def write_results(folder: PartsFolder, part: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one part.

    Args:
        folder: What `results_folder` gave, prepared.
        part: Which part.
        rows: All its rows, in the order of the list, as `cinemae.detect.verdict.Verdict.to_dict` gives them.

    Raises:
        StoreError: If the rows are not as many as the part has, or the disk refuses.
    """
    whole = [{**row, "redeliveries": list((row["redeliveries"] or {}).items()) or None} for row in rows]
    folder.write(part, pa.Table.from_pylist(whole, schema=RESULT_SCHEMA))


def read_results(folder: PartsFolder, part: int) -> list[dict[str, Any]]:
    """Read the rows of one part, in order.

    Raises:
        StoreError: If it cannot be read, or is another job's.
    """
    with folder.open(part) as file:
        rows: list[dict[str, Any]] = file.read(use_threads=False).to_pylist()
    for row in rows:
        if row["redeliveries"] is not None:
            row["redeliveries"] = dict(row["redeliveries"])
    return rows
