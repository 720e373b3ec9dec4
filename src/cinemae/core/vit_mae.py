"""Hugging Face's ViTMAE, and one with what CLIP's encoder has beside: a LayerNorm of the embeddings (decision 0026)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import ViTMAEConfig, ViTMAEForPreTraining


class NormedViTMAEConfig(ViTMAEConfig):  # type: ignore[misc]
    """Settings of `NormedViTMAE`; a name of its own keeps others from loading it without the norm, unnoticed."""

    model_type = "vit_mae_normed"


class NormedViTMAE(ViTMAEForPreTraining):  # type: ignore[misc]
    """A ViTMAE whose tokens pass a LayerNorm, ``vit.embeddings.norm``, before the first layer.

    It works token by token, so it is the same before masking as after.
    """

    config_class = NormedViTMAEConfig

    def __init__(self, config: NormedViTMAEConfig) -> None:
        super().__init__(config)
        embeddings = self.vit.embeddings
        embeddings.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        embeddings.register_forward_hook(_normed)


def _normed(module: nn.Module, _: Any, output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:  # noqa: ANN401 - torch's
    tokens, *masking = output
    return module.norm(tokens), *masking  # type: ignore[operator]


def vit_mae_type(config: ViTMAEConfig) -> type[ViTMAEForPreTraining]:
    """Return the class that is built from such settings."""
    return NormedViTMAE if isinstance(config, NormedViTMAEConfig) else ViTMAEForPreTraining
