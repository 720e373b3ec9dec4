"""DINOv2 or CLIP as the encoder of a masked autoencoder, in ViTMAE's layout, without a decoder (decisions 0019, 0026).

DINOv2 and ViTMAE are plain pre-norm vision transformers. DINOv2 also scales the output of each attention and MLP by a
learned vector (LayerScale), which is folded into the projection before it, and interpolates its position embedding for
the image at hand, which is done here once. For CLIP see `cinemae.backbones.clip`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model, PreTrainedConfig, ViTMAEConfig, ViTMAEForPreTraining

from cinemae.backbones.clip import clip_to_vit_mae, is_clip_onnx, load_clip, load_clip_onnx
from cinemae.backbones.dinov2_onnx import load_dinov2_onnx, register_sentence
from cinemae.backbones.vit_layout import vit_mae_settings
from cinemae.core.checkpoint import load_pretrained_folder, quiet_loading, save_pretrained_folder
from cinemae.core.rounded import WEIGHTS_FILE, round_layers
from cinemae.errors import CheckpointError, ConfigError, first_line
from cinemae.models.directory import file_hash

ORIGIN_FILE = "origin.json"
"""Beside a converted encoder, and beside each backbone that begins with it: where the weights come from."""


def convert_encoder(
    source: str,
    out: Path,
    *,
    image_size: int = 224,
    layers: int | None = None,
    float16: bool = False,
    int8: bool = False,
) -> ViTMAEForPreTraining:
    """Write DINOv2 or CLIP's image half as an encoder in ViTMAE's layout, to be given a decoder by `cinemae pretrain`.

    Args:
        source: Hub id such as ``facebook/dinov2-small`` or ``openai/clip-vit-base-patch16``, folder in the Hub's
            layout, or ONNX file.
        out: Folder to write config.json, model.safetensors and origin.json into.
        image_size: Height and width of the images to come, a multiple of the patch's.
        layers: Keep the first so many layers of the encoder; None for all.
        float16: Round the weights to float16, which halves every file that will hold them.
        int8: Round the matrices of the layers to 8-bit integers with a scale for each row (`cinemae.core.rounded`), all
            else to float16: a quarter of the size.

    Returns:
        The model, its weights rounded; its decoder has no weights of use.

    Raises:
        CheckpointError: If `source` is neither that fits.
        ConfigError: If `image_size` is no multiple of the patch size, there are not so many layers, or both roundings
            are asked for.
    """
    if float16 and int8:
        raise ConfigError("weights are rounded to float16 or to int8: give one of the two.")
    path = Path(source)
    model, revision = _read(source, image_size, layers)
    weights = {name: weight for name, weight in model.state_dict().items() if name.startswith("vit.")}
    if float16:
        weights = {name: weight.half() for name, weight in weights.items()}
    elif int8:
        weights = round_layers(weights)
    out.mkdir(parents=True, exist_ok=True)
    save_pretrained_folder(model, out, weights=weights)
    weight_file = path if path.suffix == ".onnx" else path / WEIGHTS_FILE
    origin = {
        "source": path.name if path.exists() else source,
        "sha256": file_hash(weight_file) if weight_file.is_file() else None,
        "revision": revision,
        "image_size": image_size,
        "float16": float16,
        "int8": int8,
        "layers": model.config.num_hidden_layers,
    }
    (out / ORIGIN_FILE).write_text(json.dumps(origin, indent=1) + "\n")
    return load_pretrained_folder(str(out), encoder_only=True)


def _read(source: str, image_size: int, layers: int | None) -> tuple[ViTMAEForPreTraining, str | None]:
    """Return the masked autoencoder around an encoder, and the revision of a Hub id."""
    path = Path(source)
    if path.suffix == ".onnx":
        if is_clip_onnx(path):
            return clip_to_vit_mae(load_clip_onnx(path), image_size, layers), None
        return to_vit_mae(load_dinov2_onnx(path), image_size, layers), None
    if _model_type(source) in ("clip", "clip_vision_model"):
        clip = load_clip(source)
        return clip_to_vit_mae(clip, image_size, layers), getattr(clip.config, "_commit_hash", None)
    dinov2 = load_dinov2(source)
    return to_vit_mae(dinov2, image_size, layers), getattr(dinov2.config, "_commit_hash", None)


def _model_type(path_or_id: str) -> str | None:
    """Return what config.json calls the model; None where it cannot be read, which `load_dinov2` explains."""
    try:
        values, _ = PreTrainedConfig.get_config_dict(path_or_id)
    except (OSError, ValueError):
        return None
    return str(values.get("model_type"))


def load_dinov2(path_or_id: str) -> Dinov2Model:
    """Load a Hub id or a local folder in the Hub's layout, in float32.

    Raises:
        CheckpointError: If it cannot be found or read, or is another model.
    """
    try:
        values, _ = PreTrainedConfig.get_config_dict(path_or_id)
        kind = values.get("model_type")
        if kind == "dinov2_with_registers":
            raise CheckpointError(register_sentence(path_or_id))
        if kind != "dinov2":
            raise CheckpointError(
                f"an encoder to convert is a DINOv2 checkpoint or its ONNX file; {path_or_id} has model_type {kind!r}."
            )
        config = Dinov2Config.from_dict(values)
        with quiet_loading():
            model, found = Dinov2Model.from_pretrained(
                path_or_id, config=config, output_loading_info=True, dtype=torch.float32, use_safetensors=True
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"an encoder to convert is a Hub id such as facebook/dinov2-small, a folder with config.json and "
            f"model.safetensors, or an ONNX file; {path_or_id} could not be loaded as one: {first_line(error)}"
        ) from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise CheckpointError(f"{path_or_id} lacks {len(missing)} weights, {missing[0]} first: download it again.")
    return model.eval()


def to_vit_mae(encoder: Dinov2Model, image_size: int, layers: int | None = None) -> ViTMAEForPreTraining:
    """Build a masked autoencoder whose encoder computes what a DINOv2 does on images of `image_size` pixels.

    The encoder's last norm follows the last layer kept.

    Args:
        encoder: The DINOv2.
        image_size: Height and width, a multiple of the patch's.
        layers: How many layers to keep, the first; None for all.

    Raises:
        CheckpointError: If its MLPs are not those of a ViT.
        ConfigError: If `image_size` is no multiple of the patch size, or there are not so many layers.
    """
    config = encoder.config
    if config.use_swiglu_ffn or config.hidden_act != "gelu":
        raise CheckpointError(
            "a masked autoencoder's MLPs have two layers and GELU, this DINOv2's have not (the giant's are SwiGLU): "
            "use small, base or large."
        )
    settings = vit_mae_settings(config, image_size, layers)
    inner = config.hidden_size * config.mlp_ratio
    model = ViTMAEForPreTraining(ViTMAEConfig(**settings, intermediate_size=inner, qkv_bias=config.qkv_bias))
    model.vit.load_state_dict(dict(_encoder_weights(encoder, image_size, settings["num_hidden_layers"])))
    return model.eval()


@torch.no_grad()
def _encoder_weights(encoder: Dinov2Model, image_size: int, layers: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights under ViTMAE's names."""
    embeddings = encoder.embeddings
    grid = image_size // encoder.config.patch_size
    tokens = embeddings.cls_token.expand(1, 1 + grid**2, -1)  # only its shape is asked for
    yield "embeddings.cls_token", embeddings.cls_token
    yield "embeddings.position_embeddings", embeddings.interpolate_pos_encoding(tokens, image_size, image_size)
    yield from _of_module("embeddings.patch_embeddings.projection", embeddings.patch_embeddings.projection)
    yield from _of_module("layernorm", encoder.layernorm)
    for index, layer in enumerate(encoder.encoder.layer[:layers]):
        name = f"layers.{index}"
        yield from _of_module(f"{name}.layernorm_before", layer.norm1)
        yield from _of_module(f"{name}.layernorm_after", layer.norm2)
        for part in ("q_proj", "k_proj", "v_proj"):
            yield from _of_module(f"{name}.attention.{part}", getattr(layer.attention, part))
        yield from _scaled(f"{name}.attention.o_proj", layer.attention.o_proj, layer.layer_scale1.lambda1)
        yield from _of_module(f"{name}.mlp.fc1", layer.mlp.fc1)
        yield from _scaled(f"{name}.mlp.fc2", layer.mlp.fc2, layer.layer_scale2.lambda1)


def _of_module(name: str, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for kind, weight in module.named_parameters():
        yield f"{name}.{kind}", weight


def _scaled(name: str, linear: nn.Linear, scale: Tensor) -> Iterator[tuple[str, Tensor]]:
    """LayerScale after a linear layer: scale * (W x + b) = (scale * W) x + scale * b."""
    yield f"{name}.weight", scale[:, None] * linear.weight
    yield f"{name}.bias", scale * linear.bias
