"""What an ONNX file of a vision transformer holds: its constants, its matrices by name, and what a node of it gives.

Exporters keep the names of most parameters but not those of matrices, which are transposed and called
``onnx::MatMul_123``; one takes its name from the bias that is added to its product. Matrices in 8-bit integers, as ONNX
Runtime's dynamic quantisation leaves them, are widened.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor

from cinemae.errors import CheckpointError, first_line

Constants = dict[str, NDArray[Any]]


def read_graph(path: Path) -> ModelProto:
    """Read an ONNX file.

    Raises:
        CheckpointError: If it cannot be read.
    """
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf's errors have no common root
        raise CheckpointError(f"{path} could not be read as an ONNX file ({type(error).__name__}).") from error


def constants(graph: GraphProto) -> Constants:
    """Return every stored tensor by name, also as turned round or repeated by a node."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Identity", "Transpose", "Expand") and node.input[0] in tensors:
            value = tensors[node.input[0]]
            axes = next((tuple(given.ints) for given in node.attribute if given.name == "perm"), None)
            tensors[node.output[0]] = value.transpose(axes) if node.op_type == "Transpose" else value
    return tensors


def named_matrices(graph: GraphProto, tensors: Constants) -> Constants:
    """Name the matrix of each product after the bias added to it, as rows of outputs."""
    added: dict[str, str] = {}  # product -> bias
    for node in graph.node:
        biases = [name for name in node.input if name in tensors and name.endswith(".bias")]
        if node.op_type == "Add" and biases:
            added.update({name: biases[0] for name in node.input if name not in tensors})
    matrices: Constants = {}
    for node in graph.node:
        matrix = tensors.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        bias = node.input[2] if len(node.input) > 2 else added.get(node.output[0], "")
        if matrix is not None and bias.endswith(".bias"):
            rows_are_outputs = any(given.name == "transB" and given.i for given in node.attribute)
            matrices[f"{bias.removesuffix('bias')}weight"] = matrix if rows_are_outputs else matrix.T
    for product, matrix in _of_integers(graph, tensors):
        if product in added:
            matrices[f"{added[product].removesuffix('bias')}weight"] = matrix.T
    return matrices


def _of_integers(graph: GraphProto, tensors: Constants) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the name of each product of integers, scaled back, and its matrix: (integers - zero point) * scale."""
    makers = {name: node for node in graph.node for name in node.output}
    users = {name: node for node in graph.node for name in node.input}
    for node in graph.node:
        if node.op_type != "MatMulInteger" or node.input[1] not in tensors:
            continue
        cast = users[node.output[0]]
        product = users[cast.output[0]]
        (scales,) = (makers[name] for name in product.input if name != cast.output[0])
        (scale,) = (tensors[name] for name in scales.input if name in tensors)
        zero_point = tensors[node.input[3]] if len(node.input) > 3 else np.int8(0)
        yield product.output[0], (tensors[node.input[1]].astype(np.float32) - zero_point) * scale


def run_to(graph: ModelProto, node: NodeProto, inputs: dict[str, Tensor], path: Path) -> Tensor:
    """Return the first output of one node of the graph.

    Raises:
        CheckpointError: If ONNX Runtime cannot run it.
    """
    tapped = onnx.ModelProto()
    tapped.CopyFrom(graph)
    tapped.graph.output.append(helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Without VNNI, sums of 8-bit products overflow unless asked for exactly.
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        session = onnxruntime.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
        (values,) = session.run([node.output[0]], {name: value.numpy() for name, value in inputs.items()})
    except Exception as error:  # ONNX Runtime raises a family of its own without a common root
        raise CheckpointError(
            f"{path} cannot be run ({first_line(error)}), so what is read of it cannot be checked."
        ) from error
    return torch.from_numpy(np.asarray(values))
