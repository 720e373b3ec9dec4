"""The encoder in an ONNX file of Hugging Face's DINOv2, whatever lies behind it in the graph.

Position embedding and [CLS] are folded into constants: [CLS] is what the embedded patches are joined to, the position
embedding is told by its shape; for matrices see `cinemae.backbones.onnx_weights`. What was read is then run beside the
file: if the tokens after the last norm differ, it is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model

from cinemae.backbones.onnx_weights import constants, named_matrices, read_graph, run_to
from cinemae.core.checkpoint import quiet_loading
from cinemae.errors import CheckpointError

_PATCHES = "embeddings.patch_embeddings.projection.weight"
_CLS = "embeddings.cls_token"
_POSITIONS = "embeddings.position_embeddings"
_REARRANGED = ("Reshape", "Transpose", "Cast", "Flatten")
_HEAD_DIM = 64  # in every DINOv2
_RIGHT_GRAPH = "a float32 graph with Hugging Face's Dinov2Model in it, as torch.onnx.export writes it"
_TOLERANCE = 1e-4  # of the largest value


def load_dinov2_onnx(path: Path) -> Dinov2Model:
    """Read the encoder of a graph, in float32.

    Args:
        path: The ONNX file.

    Raises:
        CheckpointError: If it cannot be read, holds no such encoder, or one that computes otherwise.
    """
    graph = read_graph(path)
    weights, prefix = _named_weights(graph.graph, path)
    model = _build(weights, path)
    _compare(model, graph, f"{prefix}layernorm.bias", path)
    return model


def _named_weights(graph: GraphProto, path: Path) -> tuple[dict[str, Tensor], str]:
    """Return the encoder's parameters under Hugging Face's names, and what stood before these names in the graph."""
    tensors = constants(graph)
    prefixes = [name.removesuffix(_PATCHES) for name in tensors if name.endswith(_PATCHES)]
    if len(prefixes) != 1:
        raise _refuse(path, f"{len(prefixes)} of its tensors are called {_PATCHES}")
    prefix = prefixes[0]
    named = tensors | named_matrices(graph, tensors)
    parts = ("embeddings.", "encoder.", "layernorm.")
    weights = {
        name.removeprefix(prefix): torch.from_numpy(value.astype(np.float32))
        for name, value in named.items()
        if name.removeprefix(prefix).startswith(parts)
    }
    if any("register_tokens" in name for name in weights):
        raise CheckpointError(register_sentence(path))
    weights[_CLS] = _cls_token(graph, tensors, prefix + _PATCHES, path)
    if _POSITIONS not in weights:
        weights[_POSITIONS] = _folded_positions(weights[_CLS], tensors, path)
    return weights, prefix


def _cls_token(graph: GraphProto, tensors: dict[str, NDArray[Any]], patches: str, path: Path) -> Tensor:
    """Follow the embedded patches to where they are joined to [CLS], (1, 1, D)."""
    reached: set[str] = set()
    for node in graph.node:
        if patches in node.input or (node.op_type in _REARRANGED and node.input[0] in reached):
            reached.add(node.output[0])
        if node.op_type == "Concat" and reached.intersection(node.input) and node.input[0] in tensors:
            return torch.from_numpy(tensors[node.input[0]].astype(np.float32))[:1]
    raise _refuse(path, "its patches are not joined to a [CLS]")


def _folded_positions(cls_token: Tensor, tensors: dict[str, NDArray[Any]], path: Path) -> Tensor:
    """Find the position embedding among the constants: (1, 1 + grid^2, D), or (1, 1, D) and (1, grid^2, D)."""
    tables = {
        value.shape[1]: torch.from_numpy(value.astype(np.float32))
        for value in tensors.values()
        if value.ndim == 3 and value.shape[::2] == cls_token.shape[::2] and not np.array_equal(value, cls_token)
    }
    for length, table in tables.items():
        if length > 1 and round((length - 1) ** 0.5) ** 2 == length - 1:
            return table
        if 1 in tables and length > 1 and round(length**0.5) ** 2 == length:
            return torch.cat([tables[1], table], dim=1)
    raise _refuse(path, "no tensor of it has the shape of a position embedding")


def _build(weights: dict[str, Tensor], path: Path) -> Dinov2Model:
    """Build the model that the tensors' shapes describe."""
    try:
        hidden, channels, patch, _ = weights[_PATCHES].shape
        inner = weights["encoder.layer.0.mlp.fc1.bias"].shape[0]
        grid = round((weights[_POSITIONS].shape[1] - 1) ** 0.5)
        config = Dinov2Config(
            hidden_size=hidden,
            num_channels=channels,
            patch_size=patch,
            image_size=grid * patch,
            num_hidden_layers=len({name.split(".")[2] for name in weights if name.startswith("encoder.layer.")}),
            num_attention_heads=max(1, hidden // _HEAD_DIM),
            mlp_ratio=inner // hidden,
            use_mask_token=False,
        )
        with quiet_loading():
            model, found = Dinov2Model.from_pretrained(
                None, config=config, state_dict=weights, output_loading_info=True, dtype=torch.float32
            )
    except (KeyError, ValueError, RuntimeError) as error:
        raise _refuse(path, f"its tensors do not fit together ({str(error).strip().splitlines()[0]})") from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise _refuse(path, f"{len(missing)} tensors could not be told, {missing[0]} first")
    return model.eval()


@torch.inference_mode()
def _compare(model: Dinov2Model, graph: ModelProto, last_bias: str, path: Path) -> None:
    """Refuse the file unless its tokens after the last norm are the model's."""
    last = [node for node in graph.graph.node if last_bias in node.input]
    stored = {tensor.name for tensor in graph.graph.initializer}
    inputs = [given for given in graph.graph.input if given.name not in stored]
    if len(last) != 1 or len(inputs) != 1:
        raise _refuse(path, "its last norm or its input could not be told")
    free = (1, model.config.num_channels, model.config.image_size, model.config.image_size)
    stated = [axis.dim_value for axis in inputs[0].type.tensor_type.shape.dim]
    shape = [size or default for size, default in zip(stated, free, strict=False)]
    pixel_values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = run_to(graph, last[0], {inputs[0].name: pixel_values}, path)
    found = model(pixel_values).last_hidden_state
    worst = float((found - expected).abs().max()) if found.shape == expected.shape else float("inf")
    if not worst <= _TOLERANCE * float(expected.abs().max()):
        raise _refuse(path, f"what was read of it computes other tokens than the file (by up to {worst:.2g})")


def register_sentence(source: object) -> str:
    """Say why register tokens are refused."""
    return (
        f"a masked autoencoder has [CLS] and patches, {source} has register tokens beside them, which would be lost: "
        "use a DINOv2 without registers, such as facebook/dinov2-small."
    )


def _refuse(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"an ONNX file to convert is {_RIGHT_GRAPH}; {path} is not: {reason}.")
