"""What a feature store holds: its columns, one row, and ``store.json``, which names the job that makes it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cinemae.config import AugmentConfig, BackboneInfo, ExtractorConfig
from cinemae.errors import ConfigError, FingerprintMismatchError, StoreError
from cinemae.stores.job_header import REMEDY, JobHeader

Status = Literal["ok", "error"]

FORMAT_VERSION = 1
HEADER_NAME = "store.json"

FEATURES = ("global_feature", "deviation", "fidelity")
COLUMNS: dict[str, tuple[str, str]] = {
    "content_hash": ("string", "SHA-256 of the file"),
    "path": ("string", "as given to extract"),
    "label": ("int8", "0 real, 1 fake, null unknown"),
    "generator": ("string", "what made a fake, or where a photograph comes from"),
    "source_format": ("string", "what the file was decoded as"),
    "width": ("int32", "pixels"),
    "height": ("int32", "pixels"),
    "num_bytes": ("int64", "size of the file"),
    "status": ("string", "ok, or error: then the features are null"),
    "error_message": ("string", "why the image could not be read"),
    "warnings": ("list<string>", "what to know of an image that could be read"),
    "global_feature": ("list<float>", "Eq. 3, flattened"),
    "deviation": ("list<float>", "Eq. 5 averaged over each patch's values, flattened, nan where visible"),
    "fidelity": ("list<float>", "squared error of Eq. 4 averaged likewise, flattened, nan where visible"),
}


@dataclass(frozen=True)
class StoreRow:
    """One image of a store: either with features, or with an `error_message`.

    Attributes:
        path: As given in the record.
        label: 0 real, 1 fake, None unknown.
        generator: What made it; None unknown.
        content_hash: SHA-256 of the file.
        source_format: What the file was decoded as.
        width: In pixels.
        height: In pixels.
        num_bytes: Size of the file.
        warnings: Sentences about an image that could be read.
        error_message: Why the image could not be read.
        global_feature: (V, D) float32.
        deviation: (V, K, L) float32, nan where visible.
        fidelity: (V, K, L) float32, nan where visible.
    """

    path: str
    label: int | None = None
    generator: str | None = None
    content_hash: str | None = None
    source_format: str | None = None
    width: int | None = None
    height: int | None = None
    num_bytes: int | None = None
    warnings: tuple[str, ...] = ()
    error_message: str | None = None
    global_feature: NDArray[np.float32] | None = None
    deviation: NDArray[np.float32] | None = None
    fidelity: NDArray[np.float32] | None = None

    @property
    def status(self) -> Status:
        """Whether the image could be read."""
        return "ok" if self.error_message is None else "error"


@dataclass(frozen=True)
class StoreHeader(JobHeader):
    """What the features of a store are, and the identity of the job that makes them.

    Attributes:
        fingerprint: Of the frozen half (`ExtractorConfig.fingerprint`).
        extractor: Its settings.
        backbone: Its backbone.
        dtype: What the backbone computes in, such as "float32".
        shard_size: Rows a shard; the last may hold fewer.
        num_rows: Images in all, readable or not.
        records_hash: `cinemae.sources.datasets.hash_records` of the source.
        augment: How each picture was altered first; None for the pictures as they are.
        condition: What was done to each picture after that, as `cinemae.pictures.corruptions.parse_condition` reads it.
        source: What else is said of the source, for people; no part of the job's identity.

    Raises:
        StoreError: If a shard or the store would hold no row.
    """

    fingerprint: str
    extractor: ExtractorConfig
    backbone: BackboneInfo
    dtype: str
    shard_size: int
    num_rows: int
    records_hash: str
    augment: AugmentConfig | None = None
    condition: str | None = None
    source: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if self.shard_size < 1 or self.num_rows < 1:
            raise StoreError(f"shard_size and num_rows must be at least 1, got {self.shard_size} and {self.num_rows}.")

    @property
    def rows_per_part(self) -> int:
        """Rows a shard; the last may hold fewer."""
        return self.shard_size

    @property
    def num_shards(self) -> int:
        """How many shards a complete store has."""
        return self.num_parts

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each feature of one image: global_feature (V, D), deviation and fidelity (V, K, L)."""
        views, passes = self.extractor.image.num_views, self.extractor.mask.num_passes
        maps = (views, passes, self.backbone.num_patches)
        dim = self.extractor.global_feature.dim(self.backbone.hidden_size)
        return {"global_feature": (views, dim), "deviation": maps, "fidelity": maps}

    @property
    def job(self) -> str:
        """16 hex digits over all that fixes the rows; every shard carries them."""
        identity = [FORMAT_VERSION, self.fingerprint, self.dtype, self.records_hash, self.num_rows, self.shard_size]
        identity += [self.augment.to_dict()] if self.augment else []
        identity += [self.condition] if self.condition else []
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, the job's identity and the columns included."""
        shapes = {name: {"shape": list(shape)} for name, shape in self.shapes.items()}
        columns = [
            {"name": name, "type": kind, "description": text, **shapes.get(name, {})}
            for name, (kind, text) in COLUMNS.items()
        ]
        values = {"format_version": FORMAT_VERSION, "job": self.job, **dataclasses.asdict(self), "columns": columns}
        values["extractor"] = self.extractor.to_dict()
        return json.loads(json.dumps(values))  # type: ignore[no-any-return]

    def to_json(self) -> str:
        """Return the text of ``store.json``."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from `to_dict` output.

        Raises:
            StoreError: If another version wrote it, a key is missing, or the parts contradict each other.
        """
        version = values.get("format_version")
        if version != FORMAT_VERSION:
            raise StoreError(
                f"this cinemae reads store format_version {FORMAT_VERSION}, the store says {version!r}: "
                "upgrade cinemae, or extract again."
            )
        kept = {f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values}
        try:
            kept["extractor"] = ExtractorConfig.from_dict(kept["extractor"])
            kept["backbone"] = BackboneInfo.from_dict(kept["backbone"])
            kept["augment"] = AugmentConfig.from_dict(kept["augment"]) if kept.get("augment") else None
            header = cls(**kept)
        except KeyError as error:
            raise StoreError(f"{HEADER_NAME} has no {error.args[0]}: restore it, or extract again.") from error
        except (ConfigError, TypeError, AttributeError) as error:
            raise StoreError(f"{HEADER_NAME} holds what this cinemae cannot read: {error}") from error
        header._check_stated(values)
        return header

    @classmethod
    def read(cls, values: Mapping[str, Any], folder: str) -> Self:
        """Build from the content of the ``store.json`` in `folder`.

        Raises:
            StoreError: If the store cannot be used.
        """
        try:
            return cls.from_dict(values)
        except StoreError as error:
            raise StoreError(f"{folder} is not a store that can be used: {error}") from error

    def _check_stated(self, values: Mapping[str, Any]) -> None:
        derived = {"fingerprint": self.extractor.fingerprint(self.backbone.content_hash), "job": self.job}
        for name, value in derived.items():
            if values.get(name) != value:
                raise StoreError(
                    f"{HEADER_NAME} states {name} {values.get(name)} but its settings give {value}: "
                    "it was edited by hand; restore it, or extract again."
                )

    def check_resumes(self, values: Mapping[str, Any], folder: str) -> None:
        """Check that this job may go on where the one that `values`, in `folder`, describe has stopped.

        Raises:
            FingerprintMismatchError: If backbone or extractor settings differ.
            StoreError: If the images, the shard size or the precision differ, or the store cannot be used.
        """
        found = self.read(values, folder)
        if found.fingerprint != self.fingerprint:
            raise FingerprintMismatchError(
                f"{folder} holds features of fingerprint {found.fingerprint}, this backbone and these settings have "
                f"{self.fingerprint}: {REMEDY}"
            )
        if found.records_hash != self.records_hash:
            raise StoreError(
                f"{folder} was begun with another list of images: {found.num_rows} images, list "
                f"{found.records_hash[:12]}; now {self.num_rows} images, list {self.records_hash[:12]}: {REMEDY}"
            )
        self.check_same(found, folder, ("num_rows", "shard_size", "dtype", "augment", "condition"))


def check_row(row: StoreRow, header: StoreHeader) -> None:
    """Refuse a row whose features are not those of the store.

    Raises:
        StoreError: If a feature of a readable image has another shape, or an unreadable one has features.
    """
    for name, shape in header.shapes.items():
        value = getattr(row, name)
        found = None if value is None else value.shape
        if found != (shape if row.status == "ok" else None):
            raise StoreError(f"a row with status {row.status} and {name} of shape {found} came, for {row.path}.")


def stored_value(row: StoreRow, name: str) -> Any:  # noqa: ANN401 - whatever the column holds
    """Return one value of a row as Parquet holds it: features flat in float32, text in Unicode."""
    value = getattr(row, name)
    if isinstance(value, np.ndarray):
        return value.astype(np.float32, copy=False).ravel()
    if isinstance(value, str):
        return to_unicode(value)
    return [to_unicode(text) for text in value] if isinstance(value, tuple) else value


def to_unicode(text: str) -> str:
    """Spell out the bytes of a file name that is not valid in the file system's encoding: Parquet cannot hold it."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
