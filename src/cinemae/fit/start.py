"""What a fit begins with: the frozen half and the settings of a model, or a bare backbone; or the paper's settings."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from cinemae.config import AugmentConfig, HeadConfig, LcasConfig, ModelConfig, TrainConfig
from cinemae.core.features import FeatureExtractor
from cinemae.detect.extract_job import ExtractorSource
from cinemae.fit.config import FitRecipe
from cinemae.models.directory import BACKBONE_DIR, read_model_config, resolve_model
from cinemae.preset import PAPER

COPIES = AugmentConfig(seed=1)
"""One altered copy of each training image is trained on as well, as for the bundled model; the same for every seed."""


@dataclass(frozen=True)
class Start:
    """What a fit begins with.

    Attributes:
        extractor: The frozen half, on the device to use.
        backbone: Where its weights lie, as `cinemae.training.build_model.ModelRecipe` takes them.
        head: Architecture to train.
        lcas: Weight and reduction of Eq. 4's terms.
        train: Optimiser and rates, seed and target of the recipe included.
        origin: What the model card says of it.
        licence: What is known of the backbone's licence.
        copies: How the altered copies are made that are trained on as well; None for none.
    """

    extractor: FeatureExtractor
    backbone: Path
    head: HeadConfig
    lcas: LcasConfig
    train: TrainConfig
    origin: str
    licence: str
    copies: AugmentConfig | None = COPIES


def begin(recipe: FitRecipe) -> Start:
    """Load the frozen half that a recipe names.

    Raises:
        ModelDirError: If there is no such model.
        CheckpointError: If there is no such backbone.
    """
    if recipe.backbone is not None:
        backbone, head, lcas, train = Path(recipe.backbone), HeadConfig(), LcasConfig(), TrainConfig()
        origin, licence = f"backbone {backbone.name}, settings at their defaults", "not stated"
    else:
        directory = resolve_model(recipe.model)
        config = read_model_config(directory)
        backbone, head, lcas, train = directory / BACKBONE_DIR, config.head, config.lcas, _trained_with(config)
        origin = f"backbone and settings of {config.name}"
        licence = str(config.provenance.get("licence", "not stated"))
    if recipe.paper:
        head, lcas, train = PAPER.head, PAPER.lcas, PAPER.train
        origin = f"{origin}; the settings replaced by those of the preset paper"
    source = ExtractorSource(recipe.model, recipe.backbone, device=recipe.device, paper=recipe.paper)
    return Start(
        extractor=source.build(),
        backbone=backbone,
        head=head,
        lcas=lcas,
        train=replace(train, seed=recipe.seed, target_fpr=recipe.target_fpr),
        origin=origin,
        licence=licence,
        copies=None if recipe.paper else COPIES,
    )


def _trained_with(config: ModelConfig) -> TrainConfig:
    """Return the settings that a model says it was trained with; what it does not say is the default."""
    known = {each.name for each in fields(TrainConfig)}
    stated = config.provenance.get("train", {})
    return TrainConfig.from_dict({name: value for name, value in stated.items() if name in known})
