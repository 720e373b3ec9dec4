"""Per-image predictions: what every table, plot and comparison is computed from, in one Parquet file.

The file is in long form, one row for each image, condition and score: it opens in any tool. What is known of the run
(the detectors with their thresholds, data set, versions, seeds) lies in the file's own metadata as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cinemae.errors import EvaluationError
from cinemae.sources.whole_files import replacing
from cinemae.stores.store_format import to_unicode

RAW = "raw"
ALIGNED = "aligned"
PREDICTIONS_FILE = "predictions.parquet"
FORMAT_VERSION = 1
_METADATA_KEY = b"cinemae.predictions"
_GROUP_ROWS = 200_000  # or the scores of one detector under one condition, where those are more
_IMAGE_COLUMNS: dict[str, pa.DataType] = {
    "path": pa.string(),
    "content_hash": pa.string(),
    "label": pa.int8(),
    "generator": pa.string(),
    "container": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "num_bytes": pa.int64(),
    "jpeg_quality": pa.float32(),
    "error_message": pa.string(),
}
IMAGE_SCHEMA = pa.schema(list(_IMAGE_COLUMNS.items()))
"""Of rows that hold what is known of images."""

_SCHEMA = pa.schema(
    [
        *(pa.field(name, kind) for name, kind in _IMAGE_COLUMNS.items()),
        pa.field("condition", pa.string()),
        pa.field("detector", pa.string()),
        pa.field("seed", pa.int32()),
        pa.field("mask_seed", pa.int32()),
        pa.field("score", pa.float64()),
    ]
)
Outputs = Literal["probability", "score"]


@dataclass(frozen=True, order=True)
class Column:
    """One detector as it was run; each gives one score an image and condition.

    Attributes:
        detector: Its name.
        seed: Of its training; None where it was not trained here, or training has no chance in it.
        mask_seed: Of the MAE's masks; None where there are none.
        outputs: "probability" of being generated, or a "score" of any scale; higher means more likely generated.
        threshold: "Generated" from here on, fixed before the test images were seen; None if there is none.
        threshold_rule: Where the threshold comes from, in words.
        description: What else a reader must know: model, weights, training set.
        real_below: "Photograph" below this score, "uncertain" from it to the threshold; None of two verdicts.
    """

    detector: str
    seed: int | None = None
    mask_seed: int | None = None
    outputs: Outputs = "probability"
    threshold: float | None = None
    threshold_rule: str = "none"
    description: str = ""
    real_below: float | None = None

    @property
    def key(self) -> tuple[str, int | None, int | None]:
        """What tells columns apart."""
        return self.detector, self.seed, self.mask_seed


def require_distinct(columns: Sequence[Column]) -> None:
    """Refuse two columns that nothing tells apart.

    Raises:
        EvaluationError: If detector, seed and mask seed of two are the same.
    """
    if len({column.key for column in columns}) < len(columns):
        names = ", ".join(sorted(column.detector for column in columns))
        raise EvaluationError(f"each detector, seed and mask seed may have one column, got {names}: rename one.")


class ImageRow(TypedDict, total=False):
    """What is known of one image; what is missing or None is unknown. See `Images`."""

    path: str
    content_hash: str | None
    label: int | None
    generator: str | None
    container: str | None
    width: int | None
    height: int | None
    num_bytes: int | None
    jpeg_quality: float | None
    error_message: str | None


@dataclass(frozen=True)
class Images:
    """What is known of N images without looking at their pixels; arrays of length N.

    Attributes:
        path: Where each came from.
        content_hash: SHA-256 of the file, "" where it could not be read.
        label: 0 real, 1 fake.
        generator: Of a fake; source of a photograph, or the generator whose set it belongs to; "" unknown.
        container: "JPEG", "PNG", ...; "" unknown.
        width: In pixels; 0 unknown.
        height: In pixels; 0 unknown.
        num_bytes: Of the file; 0 unknown.
        jpeg_quality: Estimated from the file's tables; nan where unknown.
        error_message: Why there is no score; "" where the image could be read.
    """

    path: NDArray[np.str_]
    content_hash: NDArray[np.str_]
    label: NDArray[np.int64]
    generator: NDArray[np.str_]
    container: NDArray[np.str_]
    width: NDArray[np.int64]
    height: NDArray[np.int64]
    num_bytes: NDArray[np.int64]
    jpeg_quality: NDArray[np.float64]
    error_message: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.path)

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which images could be read, (N,)."""
        return np.asarray(self.error_message == "", np.bool_)

    def chosen(self, which: NDArray[Any] | list[int] | slice) -> Self:
        """Return some of them, by mask, index or slice."""
        return type(self)(**{name: getattr(self, name)[which] for name in _IMAGE_COLUMNS})

    @classmethod
    def from_rows(cls, rows: Sequence[ImageRow]) -> Self:
        """Build from rows."""
        blank = {"label": -1, "width": 0, "height": 0, "num_bytes": 0, "jpeg_quality": np.nan}
        columns: dict[str, Any] = {}
        for name in _IMAGE_COLUMNS:
            values = [row.get(name) for row in rows]
            default = blank.get(name, "")
            known = [default if value is None else value for value in values]
            filled = [to_unicode(value) if isinstance(value, str) else value for value in known]
            kind = np.float64 if name == "jpeg_quality" else np.int64 if name in blank else np.str_
            columns[name] = np.array(filled, dtype=kind)
        return cls(**columns)


@dataclass(frozen=True)
class Predictions:
    """The scores of N images under some conditions.

    Attributes:
        images: The images.
        columns: The detectors, each as it was run.
        scores: For each condition, (N, number of columns); nan where there is none.
        about: Of the run: data set, versions, seeds, remarks; plain JSON types.
    """

    images: Images
    columns: tuple[Column, ...]
    scores: Mapping[str, NDArray[np.float64]]
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_distinct(self.columns)
        shape = len(self.images), len(self.columns)
        for condition, values in self.scores.items():
            if values.shape != shape:
                raise EvaluationError(
                    f"scores under {condition} must have one row an image and one column a detector, {shape}, "
                    f"got {values.shape}."
                )

    @property
    def conditions(self) -> tuple[str, ...]:
        """In the order they were run."""
        return tuple(self.scores)

    @property
    def detectors(self) -> tuple[str, ...]:
        """Their names, each once, in the order of the columns."""
        return tuple(dict.fromkeys(column.detector for column in self.columns))

    def of(self, column: Column, condition: str = RAW) -> NDArray[np.float64]:
        """Return one column's scores under one condition, (N,)."""
        return self.scores[condition][:, self.columns.index(column)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the Parquet file; it appears when it is whole.

        Raises:
            OSError: If the disk refuses.
        """
        about = {
            "format_version": FORMAT_VERSION,
            "columns": [asdict(column) for column in self.columns],
            "conditions": list(self.scores),
            "num_images": len(self.images),
            "about": self.about,
        }
        schema = _SCHEMA.with_metadata({_METADATA_KEY: json.dumps(about).encode()})
        with replacing(Path(path)) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for group in self._groups(schema):
                writer.write_table(group, row_group_size=group.num_rows or None)

    def _groups(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the rows in groups: within one, what is known of an image is stored once for all its scores."""
        known = {name: _to_arrow(getattr(self.images, name), kind) for name, kind in _IMAGE_COLUMNS.items()}
        blocks: list[pa.Table] = []
        for condition, scores in self.scores.items():
            for index, column in enumerate(self.columns):
                blocks.append(self._block(schema, known, condition, column, scores[:, index]))
                if len(blocks) * len(self.images) >= _GROUP_ROWS:
                    yield pa.concat_tables(blocks)
                    blocks = []
        if blocks:
            yield pa.concat_tables(blocks)

    def _block(
        self,
        schema: pa.Schema,
        known: Mapping[str, pa.Array],
        condition: str,
        column: Column,
        scores: NDArray[np.float64],
    ) -> pa.Table:
        n = len(self.images)
        own = {
            "condition": pa.array([condition] * n),
            "detector": pa.array([column.detector] * n),
            "seed": pa.array([column.seed] * n, pa.int32()),
            "mask_seed": pa.array([column.mask_seed] * n, pa.int32()),
            "score": pa.array(scores, mask=np.isnan(scores)),
        }
        return pa.table({**known, **own}, schema=schema)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            EvaluationError: If the file is missing, damaged, or of another kind or format.
        """
        about, table = _read(Path(path))
        try:
            columns = tuple(Column(**values) for values in about["columns"])
            conditions, n = list(about["conditions"]), int(about["num_images"])
            images = Images.from_rows(table.slice(0, n).select(list(_IMAGE_COLUMNS)).to_pylist())
            scores = table["score"].to_numpy(zero_copy_only=False).reshape(len(conditions), len(columns), n)
            return cls(images, columns, {name: scores[i].T for i, name in enumerate(conditions)}, about["about"])
        except EvaluationError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise EvaluationError(
                f"{path} has a header that does not fit its rows ({error}): write it again."
            ) from error


def _read(path: Path) -> tuple[dict[str, Any], pa.Table]:
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise EvaluationError(f"there is no file {path}: cinemae evaluate writes predictions.parquet.") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise EvaluationError(f"predictions are a Parquet file, {path} cannot be read as one: {error}.") from error
    text = (table.schema.metadata or {}).get(_METADATA_KEY)
    if text is None or not set(_SCHEMA.names) <= set(table.column_names):
        raise EvaluationError(f"{path} is a Parquet file of another kind: predictions come from cinemae evaluate.")
    try:
        about: dict[str, Any] = dict(json.loads(text))
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"{path} has a damaged header ({error}): write it again.") from error
    if about.get("format_version") != FORMAT_VERSION:
        raise EvaluationError(
            f"this cinemae reads predictions of format {FORMAT_VERSION}, {path} has {about.get('format_version')!r}: "
            "upgrade cinemae, or evaluate again."
        )
    return about, table


def _to_arrow(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    if values.dtype.kind == "f":
        return pa.array(values, kind, mask=np.isnan(values))
    return pa.array(values.tolist(), kind)
