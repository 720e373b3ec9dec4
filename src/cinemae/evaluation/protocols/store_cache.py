"""The feature stores that protocols share: each made once, found again by name, and gone on with after a stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from cinemae.config import DeviationConfig, ExtractorConfig, HeadConfig, LcasConfig, MaskConfig, TrainConfig
from cinemae.core.backbone import FrozenMAE, MaskedAutoencoder
from cinemae.core.features import FeatureExtractor
from cinemae.features.extract import extract
from cinemae.features.extract_job import DEFAULT_BATCH_SIZE
from cinemae.models.directory import BACKBONE_DIR, read_model_config, resolve_model
from cinemae.models.scorers import find_device
from cinemae.models.weights import load_extractor
from cinemae.preset import PAPER
from cinemae.sources.records import ImageRecord
from cinemae.stores.features import FeatureStore


@dataclass(frozen=True)
class FrozenHalf:
    """A backbone, and the settings that a head on it is trained with.

    Attributes:
        name: For people.
        backbone: The masked autoencoder, frozen.
        extractor: Image, mask and deviation settings.
        head: Architecture of the head.
        lcas: Weight and reduction of Eq. 4's terms.
        train: Training of the head.
        backbone_source: What the backbone was loaded from, as `FrozenMAE.from_pretrained` takes it.
    """

    name: str
    backbone: MaskedAutoencoder
    extractor: ExtractorConfig
    head: HeadConfig = field(default_factory=HeadConfig)
    lcas: LcasConfig = field(default_factory=LcasConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    backbone_source: str = ""

    @classmethod
    def of_model(cls, model: str | None, device: str = "auto", dtype: str = "float32") -> FrozenHalf:
        """Take a model's frozen half, and the settings its head was trained with.

        Args:
            model: Model directory or Hub id; None for the bundled one.
            device: Where it runs.
            dtype: What it computes in, "float32" or "bfloat16".
        """
        directory = resolve_model(model)
        config = read_model_config(directory)
        loaded = load_extractor(directory, config, device=find_device(device), dtype=getattr(torch, dtype))
        train = TrainConfig.from_dict(config.provenance.get("train", {}))
        source = str(directory / BACKBONE_DIR)
        name = config.model_id + _in(dtype)
        return cls(name, loaded.backbone, config.extractor, config.head, config.lcas, train, source)

    @classmethod
    def of_backbone(cls, backbone: str, device: str = "auto", dtype: str = "float32") -> FrozenHalf:
        """Take a bare backbone with the defaults of every setting.

        Args:
            backbone: As `FrozenMAE.from_pretrained` takes it.
            device: Where it runs.
            dtype: What it computes in, "float32" or "bfloat16".
        """
        frozen = FrozenMAE.from_pretrained(backbone, device=find_device(device), dtype=getattr(torch, dtype))
        config = PAPER.extractor(frozen.image_size)
        name = Path(backbone).name if Path(backbone).exists() else backbone
        return cls(f"{name}{_in(dtype)}, settings at their defaults", frozen, config, backbone_source=backbone)

    @property
    def device(self) -> str:
        """Where the backbone lies, as torch names it."""
        return str(next(self.backbone.parameters()).device)

    def by_paper(self) -> FrozenHalf:
        """Return the same backbone with all settings at the paper's (`cinemae.preset.PAPER`)."""
        return replace(
            self,
            name=f"{self.name}, by the preset paper",
            extractor=PAPER.extractor(self.backbone.image_size),
            head=PAPER.head,
            lcas=PAPER.lcas,
            train=PAPER.train,
        )


def _in(dtype: str) -> str:
    return "" if dtype == "float32" else f" in {dtype}"


class StoreCache:
    """Stores in one folder, made with one frozen half.

    Args:
        folder: Where they lie.
        frozen: What makes them.
        tell: Called with (store, images done, images in all).
        batch_size: Images handed to the backbone together.
    """

    def __init__(
        self,
        folder: Path,
        frozen: FrozenHalf,
        tell: Callable[[str, int, int], None] = lambda name, done, total: None,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> None:
        self.folder, self.frozen, self._tell, self._batch_size = folder, frozen, tell, batch_size

    def get(
        self,
        name: str,
        records: Sequence[ImageRecord],
        *,
        condition: str = "raw",
        mask: MaskConfig | None = None,
        deviation: DeviationConfig | None = None,
    ) -> FeatureStore:
        """Return a store of some records, making what of it is missing.

        Args:
            name: Of the set of images, such as "train".
            records: The images.
            condition: What is done to them first.
            mask: Other masks than the model's.
            deviation: Other settings of Eq. 5 than the model's.

        Raises:
            StoreError: If the folder of that name holds another set of images.
            FingerprintMismatchError: If it was made with another backbone or other settings.
        """
        own = self.frozen.extractor
        mask, deviation = mask or own.mask, deviation or own.deviation
        stem = f"{name}.{condition.replace('=', '-')}.{mask.scheme}-{mask.num_passes}.seed-{mask.seed}"
        if deviation != own.deviation:
            stem += f".{deviation.pixel_space}-{deviation.unbiased}-{deviation.sigma_floor}"
        backbone = self.frozen.backbone
        extractor = FeatureExtractor(backbone, replace(own, mask=mask, deviation=deviation))
        extract(
            records,
            self.folder / stem,
            extractor.to(self.frozen.device),
            batch_size=self._batch_size,
            condition=None if condition == "raw" else condition,
            progress=lambda done, total: self._tell(stem, done, total),
        )
        return FeatureStore.open(self.folder / stem)
