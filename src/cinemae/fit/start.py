"""What a head is trained on: the frozen half of a model or a bare backbone, and the settings that go with it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from cinemae.config import HeadConfig, LcasConfig, ModelConfig, TrainConfig
from cinemae.core.features import FeatureExtractor
from cinemae.detect.extract_job import ExtractorSource
from cinemae.models.directory import BACKBONE_DIR, read_model_config, resolve_model
from cinemae.preset import PAPER


@dataclass(frozen=True)
class Start:
    """A frozen half, and the settings that a head on it is trained with.

    Attributes:
        source: Where the frozen half comes from.
        extractor: The frozen half, on its device.
        backbone: Where its weights lie, as `FrozenMAE.from_pretrained` takes it.
        model: Of the model that it is of; None for a bare backbone.
        head: Architecture of the head.
        lcas: Weight and reduction of Eq. 4's terms.
        train: Training of the head.
    """

    source: ExtractorSource
    extractor: FeatureExtractor
    backbone: str
    model: ModelConfig | None = None
    head: HeadConfig = field(default_factory=HeadConfig)
    lcas: LcasConfig = field(default_factory=LcasConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    @classmethod
    def of(cls, source: ExtractorSource) -> Start:
        """Load a frozen half, with its model's settings, a bare backbone with our defaults, either with the paper's.

        Raises:
            ModelDirError: If there is no such model.
            CheckpointError: If there is no such backbone.
        """
        extractor, model, backbone = source.build(), None, source.backbone
        head, lcas, train = HeadConfig(), LcasConfig(), TrainConfig()
        if backbone is None:
            directory = resolve_model(source.model)
            model, backbone = read_model_config(directory), str(directory / BACKBONE_DIR)
            head, lcas, train = model.head, model.lcas, _trained_with(model)
        if source.paper:
            head, lcas, train = PAPER.head, PAPER.lcas, PAPER.train
        return cls(source, extractor, backbone, model, head, lcas, train)

    @property
    def device(self) -> str:
        """Where the backbone lies, as torch names it."""
        return str(next(self.extractor.backbone.parameters()).device)

    @property
    def name(self) -> str:
        """What it is, for a report."""
        given = Path(self.backbone).name if Path(self.backbone).exists() else self.backbone
        dtype = "" if self.source.dtype == "float32" else f" in {self.source.dtype}"
        paper = ", by the preset paper" if self.source.paper else ""
        if self.model is not None:
            return f"{self.model.model_id}{dtype}{paper}"
        return f"{given}{dtype}, settings at their defaults{paper}"

    @property
    def origin(self) -> str:
        """What it is, for a model card."""
        paper = "; the settings replaced by those of the preset paper" if self.source.paper else ""
        if self.model is not None:
            return f"backbone and settings of {self.model.name}{paper}"
        return f"backbone {Path(self.backbone).name}, settings at their defaults{paper}"

    @property
    def licence(self) -> str:
        """What is known of the backbone's licence."""
        return str("not stated" if self.model is None else self.model.provenance.get("licence", "not stated"))


def _trained_with(config: ModelConfig) -> TrainConfig:
    """Return the settings that a model says it was trained with; what it does not say is the default."""
    known = {each.name for each in fields(TrainConfig)}
    stated = config.provenance.get("train", {})
    return TrainConfig.from_dict({name: value for name, value in stated.items() if name in known})
