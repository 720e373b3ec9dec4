"""CLIP's image encoder as the encoder of a masked autoencoder (decision 0026).

It is a pre-norm vision transformer like ViTMAE, but for a LayerNorm after the embeddings, which `NormedViTMAE` has, a
GELU of its own kind, and pixels normalised by its own mean and deviation, which are folded into the patch embedding:
images come as for every other backbone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from onnx import ModelProto
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from cinemae.backbones.onnx_weights import constants, named_matrices, read_graph, run_to
from cinemae.backbones.vit_layout import vit_mae_settings
from cinemae.config import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from cinemae.core.checkpoint import quiet_loading
from cinemae.core.vit_mae import NormedViTMAE, NormedViTMAEConfig
from cinemae.errors import CheckpointError, first_line

SAME_DIRECTION = 0.95
"""Least cosine of a feature computed with integers and in float32: 0.975 was measured."""
_PATCHES = "embeddings.patch_embedding.weight"
_HEAD_DIM = 64  # in every CLIP
_LAYER_NAMES = (
    ("layer_norm1", "layernorm_before"),
    ("layer_norm2", "layernorm_after"),
    ("self_attn.q_proj", "attention.q_proj"),
    ("self_attn.k_proj", "attention.k_proj"),
    ("self_attn.v_proj", "attention.v_proj"),
    ("self_attn.out_proj", "attention.o_proj"),
    ("mlp.fc1", "mlp.fc1"),
    ("mlp.fc2", "mlp.fc2"),
)


def load_clip(path_or_id: str) -> CLIPVisionModel:
    """Load the image half of CLIP from a Hub id or a local folder in the Hub's layout, in float32.

    Raises:
        CheckpointError: If it cannot be read or lacks weights.
    """
    try:
        with quiet_loading():
            model, found = CLIPVisionModel.from_pretrained(
                path_or_id, output_loading_info=True, dtype=torch.float32, use_safetensors=True
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path_or_id} could not be loaded as a CLIP: {first_line(error)}") from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise CheckpointError(f"{path_or_id} lacks {len(missing)} weights, {missing[0]} first: download it again.")
    return model.eval()


def load_clip_onnx(path: Path) -> CLIPVisionModel:
    """Read the image encoder of an ONNX file, in float32 or with matrices in 8-bit integers.

    What was read is run beside the file: its pooled token must be the file's, within 1e-4 of the largest value, or with
    a cosine of at least `SAME_DIRECTION` where the file computes with integers.

    Raises:
        CheckpointError: If it cannot be read, holds no such encoder, or one that computes otherwise.
    """
    graph = read_graph(path)
    tensors = constants(graph.graph)
    prefixes = [name.removesuffix(_PATCHES) for name in tensors if name.endswith(_PATCHES)]
    if len(prefixes) != 1:
        raise _refuse(path, f"{len(prefixes)} of its tensors are called {_PATCHES}")
    prefix = prefixes[0]
    named = tensors | named_matrices(graph.graph, tensors)
    weights = {
        name.removeprefix(prefix): torch.from_numpy(value.astype("float32"))
        for name, value in named.items()
        if name.startswith(prefix) and name.endswith((".weight", ".bias", "class_embedding"))
    }
    model = _build(weights, path)
    last = [node for node in graph.graph.node if f"{prefix}post_layernorm.bias" in node.input]
    inputs = [given.name for given in graph.graph.input if given.name not in tensors]
    if len(last) != 1 or len(inputs) != 1:
        raise _refuse(path, "its last norm or its input could not be told")
    side = model.config.image_size
    pixel_values = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    expected = run_to(graph, last[0], {inputs[0]: pixel_values}, path).flatten()
    with torch.inference_mode():
        found = model(pixel_values).pooler_output.flatten()
    if found.shape != expected.shape or not _is_same(found, expected, graph):
        raise _refuse(path, "what was read of it computes another feature than the file")
    return model


def _is_same(found: Tensor, expected: Tensor, graph: ModelProto) -> bool:
    if any(node.op_type == "MatMulInteger" for node in graph.graph.node):
        return float(torch.cosine_similarity(found, expected, dim=0)) >= SAME_DIRECTION
    return bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())


def is_clip_onnx(path: Path) -> bool:
    """Tell whether an ONNX file holds tensors under the names of CLIP's image encoder."""
    return any(tensor.name.endswith(_PATCHES) for tensor in read_graph(path).graph.initializer)


def _build(weights: dict[str, Tensor], path: Path) -> CLIPVisionModel:
    try:
        hidden, channels, patch, _ = weights[_PATCHES].shape
        grid = round((weights["embeddings.position_embedding.weight"].shape[0] - 1) ** 0.5)
        config = CLIPVisionConfig(
            hidden_size=hidden,
            intermediate_size=weights["encoder.layers.0.mlp.fc1.bias"].shape[0],
            num_hidden_layers=len({name.split(".")[2] for name in weights if name.startswith("encoder.layers.")}),
            num_attention_heads=max(1, hidden // _HEAD_DIM),
            num_channels=channels,
            patch_size=patch,
            image_size=grid * patch,
        )
        model = CLIPVisionModel(config)
        found = model.load_state_dict(weights, strict=False)
    except (KeyError, ValueError, RuntimeError) as error:
        raise _refuse(path, f"its tensors do not fit together ({first_line(error)})") from error
    if found.missing_keys:
        raise _refuse(path, f"{len(found.missing_keys)} tensors could not be told, {found.missing_keys[0]} first")
    return model.eval()


def clip_to_vit_mae(encoder: CLIPVisionModel, image_size: int, layers: int | None = None) -> NormedViTMAE:
    """Build a masked autoencoder whose encoder computes what CLIP's does on images of `image_size` pixels.

    CLIP's last norm, which it applies to [CLS] alone, follows the last layer kept.

    Args:
        encoder: The image half of CLIP.
        image_size: Height and width, a multiple of the patch's.
        layers: How many layers to keep, the first; None for all.

    Raises:
        ConfigError: If `image_size` is no multiple of the patch size, or there are not so many layers.
    """
    settings = vit_mae_settings(encoder.config, image_size, layers)
    model = NormedViTMAE(NormedViTMAEConfig(**settings, intermediate_size=encoder.config.intermediate_size))
    model.vit.load_state_dict(dict(_encoder_weights(encoder, image_size, settings["num_hidden_layers"])))
    model.eval()
    return model


@torch.no_grad()
def _encoder_weights(encoder: CLIPVisionModel, image_size: int, layers: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights under ViTMAE's names."""
    weights, embeddings = encoder.state_dict(), encoder.embeddings
    grid = image_size // encoder.config.patch_size
    tokens = embeddings.class_embedding.expand(1, 1 + grid**2, -1)  # only its shape is asked for
    yield "embeddings.cls_token", embeddings.class_embedding[None, None]
    yield "embeddings.position_embeddings", embeddings.interpolate_pos_encoding(tokens, image_size, image_size)
    projection = "embeddings.patch_embeddings.projection"
    yield from zip((f"{projection}.weight", f"{projection}.bias"), _for_imagenet(weights[_PATCHES]), strict=True)
    renamed = [("pre_layrnorm", "embeddings.norm"), ("post_layernorm", "layernorm")]
    for index in range(layers):
        renamed += [(f"encoder.layers.{index}.{theirs}", f"layers.{index}.{ours}") for theirs, ours in _LAYER_NAMES]
    for theirs, ours in renamed:
        for kind in ("weight", "bias"):
            yield f"{ours}.{kind}", weights[f"{theirs}.{kind}"]


def _for_imagenet(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Fold the normalisation into a patch embedding (D, 3, P, P): weight and bias for pixels normalised by ImageNet's.

    With x = s z + m of ImageNet's, (x - mean) / std = z s / std + (m - mean) / std.
    """
    mean, std, m, s = (
        weight.new_tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD)
    )
    return weight * (s / std), (weight * ((m - mean) / std)).sum((1, 2, 3))


def _refuse(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"an ONNX file to convert holds Hugging Face's Dinov2Model or CLIP's image encoder; {path} does not: {reason}."
    )
