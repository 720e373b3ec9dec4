"""What pretraining begins with: fresh weights, those of a backbone, or an encoder that gets a fresh decoder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from cinemae.backbones.convert import ORIGIN_FILE
from cinemae.core.checkpoint import load_pretrained_folder, mae_around, new_mae, save_pretrained_folder
from cinemae.core.linear import use_onednn
from cinemae.core.rounded import narrowed
from cinemae.errors import ConfigError
from cinemae.pretrain_config import PretrainConfig

if TYPE_CHECKING:
    from transformers import ViTMAEForPreTraining

_OF_ENCODER = ("image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
_ARCHITECTURE = (
    *_OF_ENCODER,
    "intermediate_size",
    "decoder_hidden_size",
    "decoder_num_hidden_layers",
    "decoder_num_attention_heads",
    "decoder_intermediate_size",
)


@dataclass(frozen=True)
class Start:
    """What training begins with, in place of fresh weights.

    Attributes:
        init_from: Backbone folder with encoder and decoder, of the architecture to be trained.
        encoder: Backbone folder or Hub id whose encoder alone is taken, such as one that `convert_encoder` wrote; sizes
            of the encoder and the image are its own.
        freeze_encoder: Train the decoder alone; the encoder's weights stay as they are, bit for bit.
    """

    init_from: Path | None = None
    encoder: str | None = None
    freeze_encoder: bool = False

    def __post_init__(self) -> None:
        if self.init_from is not None and self.encoder is not None:
            raise ConfigError("training begins with a whole backbone or with an encoder: give one of the two.")
        if self.freeze_encoder and self.init_from is None and self.encoder is None:
            raise ConfigError("an encoder to freeze needs weights: give a backbone to take it from.")

    @property
    def identity(self) -> dict[str, str]:
        """What a checkpoint says of it."""
        values = {"init_from": str(self.init_from or "")}
        if self.encoder is not None:
            values["encoder"] = self.encoder
        if self.freeze_encoder:
            values["freeze"] = "encoder"
        return values


def first_model(config: PretrainConfig, start: Start) -> tuple[PretrainConfig, ViTMAEForPreTraining]:
    """Build the model that `config` describes, with fresh weights or those of `start`; an encoder brings its sizes.

    Args:
        config: Architecture, mask ratio and seed.
        start: What to begin with.

    Returns:
        `config` with the sizes of the model, and the model.

    Raises:
        ConfigError: If the weights to begin with have another architecture.
        CheckpointError: If they cannot be loaded.
    """
    if start.encoder is not None:
        given = load_pretrained_folder(start.encoder, encoder_only=True)
        config = _with_encoder(config, given)
        model = mae_around(given, config)
    else:
        model = new_mae(config)
        if start.init_from is not None:
            _load_whole(model, start.init_from)
    if start.freeze_encoder:
        model.vit.requires_grad_(False)
        use_onednn(model.vit)  # which computes where no gradient is due
    return config, model


def _with_encoder(config: PretrainConfig, given: ViTMAEForPreTraining) -> PretrainConfig:
    """Return the settings with the encoder's sizes, which must be those of `config` or their defaults there."""
    default = PretrainConfig()
    sizes = {name: getattr(given.config, name) for name in _OF_ENCODER}
    differing = [name for name in sizes if getattr(config, name) not in (sizes[name], getattr(default, name))]
    if differing:
        here = ", ".join(f"{name} {getattr(config, name)}" for name in differing)
        there = ", ".join(f"{name} {sizes[name]}" for name in differing)
        raise ConfigError(f"an encoder brings its own sizes: it has {there}, the settings say {here}. Leave them out.")
    return replace(config, **sizes)


def _load_whole(model: ViTMAEForPreTraining, init_from: Path) -> None:
    """Load the weights of a backbone of the same architecture."""
    given = load_pretrained_folder(str(init_from))
    differing = [name for name in _ARCHITECTURE if getattr(given.config, name) != getattr(model.config, name)]
    if differing:
        there = ", ".join(f"{name} {getattr(given.config, name)}" for name in differing)
        here = ", ".join(f"{name} {getattr(model.config, name)}" for name in differing)
        raise ConfigError(
            f"the backbone to begin with must have the architecture to be trained: {init_from} has {there}, the "
            f"settings say {here}. Give its sizes, or begin without it."
        )
    model.load_state_dict(given.state_dict())


def save_model(model: ViTMAEForPreTraining, start: Start, out: Path) -> None:
    """Write the weights in float16, which halves them; those of a frozen encoder as narrow as none of them changes.

    Args:
        model: The trained model.
        start: What training began with.
        out: Folder to write.
    """
    weights: dict[str, Tensor] = {}
    for name, weight in model.state_dict().items():
        frozen = start.freeze_encoder and name.startswith("vit.")
        weights |= narrowed(name, weight) if frozen else {name: weight.half()}
    save_pretrained_folder(model, out, weights=weights)
    for folder in (start.encoder, start.init_from):
        if folder is not None and (origin := Path(folder) / ORIGIN_FILE).is_file():
            shutil.copyfile(origin, out / ORIGIN_FILE)
