"""Where a graph's weights lie: in the safetensors files of its model, so that a model holds them once.

ONNX calls them external data: file, offset and length. What a safetensors file holds in float16 or in integers with a
scale for each row is widened when the graph is loaded, and what the graph needs transposed is transposed then. A weight
is taken from a file only where its values are the very same, so torch and ONNX compute with the same numbers; a graph
that computes with integers takes those of the file as they are.

What lies in no such file stays in the graph, in float16 where that holds it exactly (decision 0007).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from cinemae.core.rounded import SCALE
from cinemae.errors import ModelDirError
from cinemae.models.directory import BACKBONE_FILE, HEAD_FILE

_SMALLEST = 1024  # values; smaller weights stay in the graph as they are
_TYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "I8": np.dtype("i1")}  # safetensors
_ONNX_TYPES = {"F16": TensorProto.FLOAT16, "F32": TensorProto.FLOAT, "I8": TensorProto.INT8}
_ATTRIBUTES: dict[str, dict[str, Any]] = {"Cast": {"to": TensorProto.FLOAT}, "Transpose": {"perm": [1, 0]}}
_Key = tuple[tuple[int, ...], bytes]


@dataclass(frozen=True)
class _Stored:
    """A tensor of a safetensors file."""

    location: str
    offset: int
    shape: tuple[int, ...]
    dtype: str
    transposed: bool = False
    scale: NDArray[np.float32] | None = None
    """What integers are to be multiplied with: (rows, 1), or (1, rows) of a transposed matrix."""

    @property
    def length(self) -> int:
        return math.prod(self.shape) * int(_TYPES[self.dtype].itemsize)


def share_weights(model: onnx.ModelProto, directory: Path, *, integers_alone: bool = False) -> bool:
    """Point the graph's weights to the same values in backbone and head of a model directory.

    Args:
        model: The graph, changed in place; it is to lie in such a directory.
        directory: Where backbone and head lie now.
        integers_alone: Leave float32 weights in the graph.

    Returns:
        Whether any weight was found there.
    """
    found = {key: stored for name in (BACKBONE_FILE, HEAD_FILE) for key, stored in _stored_in(directory, name)}
    nodes, shared = [], False
    for weight in _large_weights(model):
        stored = found.get(_key(numpy_helper.to_array(weight)))
        if stored is None or (integers_alone and weight.data_type != TensorProto.INT8):
            continue
        shared, scaled = True, stored.scale is not None
        widened = stored.dtype == "F16" or scaled
        steps = ["Transpose"] * stored.transposed + ["Cast"] * widened + ["Mul"] * scaled
        names = [f"{weight.name}.{number}" for number in range(len(steps))] + [weight.name]
        for step, given, made in zip(steps, names, names[1:], strict=False):
            inputs = [given, weight.name + SCALE] if step == "Mul" else [given]
            nodes.append(helper.make_node(step, inputs, [made], **_ATTRIBUTES.get(step, {})))
        if stored.scale is not None:
            model.graph.initializer.append(numpy_helper.from_array(stored.scale, weight.name + SCALE))
        weight.CopyFrom(_point_to(stored, names[0]))
    _put_first(model, nodes)
    return shared


def narrow_weights(model: onnx.ModelProto) -> None:
    """Store every large weight that float16 holds exactly as float16, and cast it back where it is used."""
    nodes = []
    for weight in _large_weights(model):
        if weight.data_type == TensorProto.INT8:
            continue
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):  # too large for float16: not equal, so it stays
            narrow = values.astype(np.float16)
        if not np.array_equal(narrow.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(narrow, f"{name}.float16"))
        nodes.append(helper.make_node("Cast", [f"{name}.float16"], [name], to=TensorProto.FLOAT))
    _put_first(model, nodes)


def load_graph(path: Path) -> onnx.ModelProto:
    """Read a graph with every weight in it and in float32: undo `share_weights` and `narrow_weights`.

    `onnx.load` itself refuses files that are links, as those of the Hub's cache are and those that uv installs.

    Raises:
        ModelDirError: If it points to a file that is not there, or that lies outside its directory.
    """
    model = onnx.load(path, load_external_data=False)
    weights = {weight.name: weight for weight in model.graph.initializer if weight.name != "noise"}
    for weight in filter(uses_external_data, weights.values()):
        weight.raw_data = _read_external(path, weight)
        weight.ClearField("data_location")
        del weight.external_data[:]
    for node in list(model.graph.node):
        weight = weights.get(node.input[0]) if node.op_type in ("Cast", "Mul", "Transpose") else None
        if weight is None or not _is_undone(node, weight, weights):
            continue
        values = numpy_helper.to_array(weight)
        if node.op_type == "Cast":
            values = values.astype(np.float32)
        elif node.op_type == "Mul":
            scale = weights[node.input[1]]
            values = values * numpy_helper.to_array(scale)
            model.graph.initializer.remove(scale)
        else:
            values = np.ascontiguousarray(values.T)
        weight.CopyFrom(numpy_helper.from_array(values, node.output[0]))
        weights[weight.name] = weight
        model.graph.node.remove(node)
    return model


def _is_undone(node: onnx.NodeProto, weight: TensorProto, weights: Mapping[str, TensorProto]) -> bool:
    """Tell whether a node that takes a stored weight is one of `share_weights`: it widens, scales or turns it."""
    if node.op_type == "Cast":
        return bool(weight.data_type in (TensorProto.FLOAT16, TensorProto.INT8))
    if node.op_type == "Mul":
        return node.input[1] in weights and str(node.input[1]).endswith(SCALE)
    return True


def _large_weights(model: onnx.ModelProto) -> list[TensorProto]:
    """Return the weights worth storing otherwise, in float32 or integers, among them no default of an input."""
    return [
        weight
        for weight in model.graph.initializer
        if weight.data_type in (TensorProto.FLOAT, TensorProto.INT8)
        and weight.name != "noise"
        and math.prod(weight.dims) >= _SMALLEST
        if not uses_external_data(weight)
    ]


def _stored_in(directory: Path, location: str) -> Iterator[tuple[_Key, _Stored]]:
    """Yield the large tensors of a safetensors file by their float32 values, and integers as such, both ways round."""
    path = directory / location
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in _TYPES or math.prod(entry["shape"]) < _SMALLEST:
            continue
        stored = _Stored(location, 8 + size + entry["data_offsets"][0], tuple(entry["shape"]), entry["dtype"])
        values = _values_of(path, stored)
        if entry["dtype"] == "I8":
            yield from _both_ways(values, stored)
            of_scale = header[name + SCALE]
            place = _Stored(location, 8 + size + of_scale["data_offsets"][0], (stored.shape[0], 1), of_scale["dtype"])
            scale = _values_of(path, place)
            stored, values = replace(stored, scale=scale), values.astype(np.float32) * scale
        yield from _both_ways(values.astype(np.float32), stored)


def _values_of(path: Path, stored: _Stored) -> NDArray[Any]:
    count = math.prod(stored.shape)
    return np.fromfile(path, _TYPES[stored.dtype], count, offset=stored.offset).reshape(stored.shape)


def _both_ways(values: NDArray[Any], stored: _Stored) -> Iterator[tuple[_Key, _Stored]]:
    yield _key(values), stored
    if values.ndim == 2:
        scale = None if stored.scale is None else np.ascontiguousarray(stored.scale.T)
        yield _key(values.T), replace(stored, transposed=True, scale=scale)


def _key(values: NDArray[Any]) -> _Key:
    return (*values.shape, values.itemsize), hashlib.sha256(np.ascontiguousarray(values).data).digest()


def _point_to(stored: _Stored, name: str) -> TensorProto:
    """Return a weight whose values lie in a safetensors file."""
    weight = TensorProto(name=name, data_type=_ONNX_TYPES[stored.dtype], dims=stored.shape)
    weight.data_location = TensorProto.EXTERNAL
    place = {"location": stored.location, "offset": stored.offset, "length": stored.length}
    for key, value in place.items():
        weight.external_data.add(key=key, value=str(value))
    return weight


def _put_first(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    nodes = [*nodes, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]


def _read_external(graph: Path, weight: TensorProto) -> bytes:
    place = ExternalDataInfo(weight)
    if Path(place.location).is_absolute() or ".." in Path(place.location).parts:
        raise ModelDirError(f"{graph} points to weights outside its directory ({place.location}): export it again.")
    try:
        with (graph.parent / place.location).open("rb") as file:
            file.seek(place.offset or 0)
            values: bytes = file.read(place.length or -1)
    except OSError as error:
        raise ModelDirError(f"{graph} points to weights that cannot be read ({error}): restore them.") from error
    return values
