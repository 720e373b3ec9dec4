"""Matrices in 8-bit integers: how a large encoder is stored in a quarter of its size (decision 0026).

A matrix W (out, in) is kept as integers q from -64 to 64 and a scale for each row: W = q * scale. Seven bits, not
eight, because the very same integers serve ONNX Runtime's int8 products (decision 0018). Beside ``NAME`` in int8 lies
``NAME.scale`` in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

WEIGHTS_FILE = "model.safetensors"
SCALE = ".scale"
STEPS = 64


def round_matrix(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest integers (out, in), int8, and scales (out,), float32, of a matrix.

    Example:
        >>> integers, scale = round_matrix(torch.tensor([[0.5, -1.0], [0.0, 0.0]]))
        >>> integers.tolist(), scale.tolist()
        ([[32, -64], [0, 0]], [0.015625, 1.0])
    """
    largest = weight.abs().amax(dim=1)
    scale = torch.where(largest > 0, largest / STEPS, 1.0)
    return (weight / scale[:, None]).round().clamp(-STEPS, STEPS).to(torch.int8), scale


def widen_matrix(integers: Tensor, scale: Tensor) -> Tensor:
    """Return the matrix that integers and scales stand for, in float32."""
    return integers.float() * scale[:, None]


def round_layers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round an encoder's weights by name: the matrices of its layers to integers, all else to float16."""
    rounded: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if _is_matrix_of_layer(name, weight):
            rounded[name], rounded[name + SCALE] = round_matrix(weight)
        else:
            rounded[name] = weight.half()
    return rounded


def narrowed(name: str, weight: Tensor) -> dict[str, Tensor]:
    """Return what a weight is stored as, its values unchanged: in float16 or integers where these hold it exactly."""
    if torch.equal(weight.half().float(), weight):
        return {name: weight.half()}
    if _is_matrix_of_layer(name, weight):
        integers, scale = round_matrix(weight)
        if torch.equal(widen_matrix(integers, scale), weight):
            return {name: integers, name + SCALE: scale}
    return {name: weight}


def _is_matrix_of_layer(name: str, weight: Tensor) -> bool:
    return ".layers." in name and weight.ndim == 2


def read_rounded(path: Path) -> dict[str, Tensor] | None:
    """Return the weights of a file with matrices in integers, all in float32; None if it has none or is not there."""
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        if not any(name.endswith(SCALE) for name in names):
            return None
        stored = {name: file.get_tensor(name) for name in names}
    return {
        name: widen_matrix(weight, stored[name + SCALE]) if name + SCALE in stored else weight.float()
        for name, weight in stored.items()
        if not name.endswith(SCALE)
    }
