"""What the encoders that are converted have in common: the settings of the ViTMAE that each becomes."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from cinemae.errors import ConfigError


def vit_mae_settings(config: PreTrainedConfig, image_size: int, layers: int | None) -> dict[str, Any]:
    """Return the settings that follow from an encoder's own.

    Args:
        config: Of a vision transformer.
        image_size: Height and width of the images to come.
        layers: How many layers to keep, the first; None for all.

    Raises:
        ConfigError: If `image_size` is no multiple of the patch size, or there are not so many layers.
    """
    kept = config.num_hidden_layers if layers is None else layers
    if not 1 <= kept <= config.num_hidden_layers:
        raise ConfigError(
            f"this encoder has {config.num_hidden_layers} layers to keep, at least 1 of them, got {kept}."
        )
    if image_size <= 0 or image_size % config.patch_size:
        raise ConfigError(f"image_size must be a multiple of the patch size, {config.patch_size}, got {image_size}.")
    same = ("hidden_size", "num_attention_heads", "layer_norm_eps", "num_channels", "patch_size", "hidden_act")
    return {name: getattr(config, name) for name in same} | {
        "num_hidden_layers": kept,
        "image_size": image_size,
        "norm_pix_loss": False,
        "attn_implementation": "sdpa",
    }
