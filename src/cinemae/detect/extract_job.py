"""``cinemae extract`` as a bulk job: where the frozen half comes from, for every process that works."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cinemae.errors import FingerprintMismatchError
from cinemae.features.extract_job import DEFAULT_BATCH_SIZE, ExtractJob, FrozenIdentity
from cinemae.models.directory import read_model_config, resolve_model
from cinemae.preset import PAPER
from cinemae.stores.store_format import StoreHeader

if TYPE_CHECKING:
    from cinemae.core.features import FeatureExtractor
    from cinemae.stores.bulk import ScoreFunction


@dataclass(frozen=True)
class ExtractorSource:
    """Where a frozen half comes from: enough to build it again in another process.

    Attributes:
        model: A model directory or Hub id; None for the bundled starter.
        backbone: A bare backbone in place of a model: folder in Hub layout, original .pth, or Hub id.
        changes: Settings in place of the model's (with `backbone`, of the paper's): ``{"image": {"views": "five"}}``.
        device: "auto", "cpu", "cuda" or "mps".
        dtype: "float32" or "bfloat16".
        paper: Whether the paper's settings (`cinemae.preset.PAPER`) stand in place of the model's, before the changes.
    """

    model: str | None = None
    backbone: str | None = None
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device: str = "auto"
    dtype: str = "float32"
    paper: bool = False

    def describe(self) -> FrozenIdentity:
        """Say what the features depend on; a model as it is says so itself, anything else is built to see.

        Raises:
            ModelDirError: If the model is missing or cannot be used.
            CheckpointError: If the backbone is.
            ConfigError: If a change is none.
        """
        if self.backbone is None and not self.paper and not any(self.changes.values()):
            model = read_model_config(resolve_model(self.model))
            return FrozenIdentity(model.extractor, model.backbone, self.dtype)
        from cinemae.features.extract import describe

        return describe(dataclasses.replace(self, device="cpu").build())

    def build(self) -> FeatureExtractor:
        """Build the frozen half, on its device.

        Raises:
            ModelDirError: If the model is missing or cannot be used.
            CheckpointError: If the backbone is.
            ConfigError: If a change or the device is none.
        """
        # Here, since a process that only waits for another one needs none of these.
        import torch

        from cinemae.core.backbone import FrozenMAE
        from cinemae.core.features import FeatureExtractor
        from cinemae.models.scorers import find_device
        from cinemae.models.weights import load_extractor

        where, precision = find_device(self.device), getattr(torch, self.dtype)
        if self.backbone is None:
            directory = resolve_model(self.model)
            trained = load_extractor(directory, read_model_config(directory), device=where, dtype=precision)
            frozen, config = trained.backbone, trained.config
        else:
            frozen = FrozenMAE.from_pretrained(self.backbone, device=where, dtype=precision)
            config = PAPER.extractor(frozen.image_size)
        if self.paper:
            config = PAPER.extractor(frozen.image_size)
        for part, settings in self.changes.items():
            merged = {**getattr(config, part).to_dict(), **settings}
            config = dataclasses.replace(config, **{part: type(getattr(config, part)).from_dict(merged)})
        return FeatureExtractor(frozen, config).to(where)

    def load(self, job: ExtractJob, num_threads: int) -> ScoreFunction:
        """Build the frozen half and return what makes the rows of a job.

        Raises:
            FingerprintMismatchError: If it is not the one that the job was described with.
        """
        import torch

        from cinemae.features.extract import LoadedHalf
        from cinemae.sources.stream import NUM_WORKERS

        torch.set_num_threads(num_threads)
        extractor = self.build()
        if extractor.fingerprint != job.header.fingerprint:
            raise FingerprintMismatchError(
                f"the store {job.out} is of fingerprint {job.header.fingerprint}, the backbone here gives "
                f"{extractor.fingerprint}: give every machine the same model, and leave it alone while it is in use."
            )
        return LoadedHalf(extractor, min(num_threads, NUM_WORKERS)).load(job, num_threads)


def extract_job(
    source: ExtractorSource, out: str | os.PathLike[str], header: StoreHeader, *, batch_size: int | None = None
) -> ExtractJob:
    """Describe the job, its folder named so that every process on a machine finds it."""
    return ExtractJob(source, os.path.abspath(out), header, batch_size or DEFAULT_BATCH_SIZE)  # noqa: PTH100
