"""Write a model's graph with products of 8-bit integers, for processors (decisions 0014 and 0018).

Only the linear layers of the backbone change: each column of their weights is rounded to 127 steps of its own, and
what comes in is rounded to 256 steps between its lowest and highest value, found anew for each image. Attention,
LayerNorm, the arithmetic of Eqs. 4-6, the head and the calibration stay float32. Where the backbone's own file holds
such integers (`cinemae.core.rounded`), the graph takes them from there.

Seven bits for the weights, not eight: a processor without VNNI adds two products of 8 bits in 16, which overflow where
both are large, and the graph would score otherwise there than where it was checked.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.onnx_model import ONNXModel

from cinemae.errors import ModelDirError
from cinemae.models.directory import BACKBONE_KEY, INT8_FILE, ONNX_FILE, PRECISION_KEY
from cinemae.models.export import save_graph
from cinemae.models.graph_weights import load_graph, share_weights

_BACKBONE_OUTPUTS = ("global_feature", "lcas")


def quantize_graph(directory: Path, target: Path) -> Path:
    """Write ``model.int8.onnx`` from ``model.onnx``; inputs, outputs and what it says of its origin are the same.

    Args:
        directory: A model directory with model.onnx.
        target: The folder to write into.

    Returns:
        The path written.

    Raises:
        ModelDirError: If there is no graph, or it has no linear layer.
    """
    source = directory / ONNX_FILE
    if not source.is_file():
        raise ModelDirError(f"an int8 graph is made from {ONNX_FILE}, {directory} holds none: run cinemae export.")
    graph = load_graph(source)
    origin = {item.key: item.value for item in graph.metadata_props}
    ONNXModel(graph).replace_gemm_with_matmul()  # as the quantiser does, but here the names can be read
    layers = linear_layers(graph)
    if not layers:
        raise ModelDirError(f"{source} has no linear layer in its backbone: it is not a cinemae graph.")
    target.mkdir(parents=True, exist_ok=True)
    path = target / INT8_FILE
    with quiet_quantiser():
        quantize_dynamic(
            graph,
            path,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=layers,
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=True,
        )
    quantized = onnx.load(path)
    if not share_weights(quantized, directory, integers_alone=True):
        origin.pop(BACKBONE_KEY, None)  # it holds all that it needs
    helper.set_model_props(quantized, {**origin, PRECISION_KEY: "int8"})
    return save_graph(quantized, path)


def linear_layers(graph: onnx.ModelProto) -> list[str]:
    """Return the names of the products with weights that `global_feature` and `lcas` are computed from.

    The head comes after those outputs, so its layers are not among them.
    """
    maker = {name: node for node in graph.graph.node for name in node.output}
    matrices = {weight.name for weight in graph.graph.initializer if len(weight.dims) == 2}
    waiting, seen = [maker[name] for name in _BACKBONE_OUTPUTS if name in maker], set[str]()
    while waiting:
        node = waiting.pop()
        if node.name in seen:
            continue
        seen.add(node.name)
        waiting += [maker[name] for name in node.input if name in maker]
    return [
        node.name
        for node in graph.graph.node
        if node.name in seen and node.op_type == "MatMul" and node.input[1] in matrices
    ]


@contextlib.contextmanager
def quiet_quantiser() -> Iterator[None]:
    """Keep the quantiser's advice, meant for whoever calls it by hand, out of the user's terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
