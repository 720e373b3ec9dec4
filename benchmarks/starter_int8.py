"""Run a part of a model as its int8 graph does: for processors on which that takes half the time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from cinemae.models.export import quiet_exporter
from cinemae.models.export_int8 import quiet_quantiser

Run = Callable[[Tensor], list[NDArray[np.float32]]]
BATCH = 2
"""Images a call, as a graph gets the two views of a picture: they share the steps that inputs are rounded to."""


def in_int8(module: nn.Module, shape: tuple[int, ...]) -> Run:
    """Export a module of one input (N, ...) with its matrix products in integers (decision 0018), for one thread.

    Args:
        module: Returns one tensor or several, of N rows each.
        shape: Of an image.
    """
    with quiet_exporter(), torch.inference_mode():
        program = torch.onnx.export(module, (torch.rand(BATCH, *shape),), dynamo=True)
    assert program is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        with quiet_quantiser():
            quantize_dynamic(
                program.model_proto,
                path,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                reduce_range=True,
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())

    def run(images: Tensor) -> list[NDArray[np.float32]]:
        filled = torch.cat([images, images[-1:]]) if len(images) % BATCH else images
        parts = [session.run(None, {name: part.numpy()}) for part in filled.split(BATCH)]
        return [np.concatenate(values)[: len(images)] for values in zip(*parts, strict=True)]

    return run
