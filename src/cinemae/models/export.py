"""Write a model's ONNX graph: the whole method from `pixel_values` to logit in one file, for the light install.

Large weights that float16 holds exactly are stored as float16 and widened when the graph is loaded; all others stay
float32. So torch and ONNX compute with the same numbers, and a backbone that was saved in float16, as
`backbones.pretrain` does, takes half the space (decision 0007).

The weights of a large model lie in a file beside the graph, which the runtime maps into memory instead of copying.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data
from torch import Tensor

from cinemae.core.model import CinemaeModel
from cinemae.errors import ModelDirError
from cinemae.models.bundle import ModelBundle
from cinemae.models.directory import (
    FINGERPRINT_KEY,
    HEAD_FILE,
    HEAD_KEY,
    ONNX_FILE,
)
from cinemae.models.weights import load_model

OUTPUTS = ("logit", "stats", "lcas", "global_feature")
LARGE = 100_000_000
"""Bytes of weights from which they lie in a file of their own: a graph that holds them is copied when it is loaded."""

_SMALLEST_NARROWED = 1024  # values; smaller tensors stay float32


def export_onnx(directory: Path) -> Path:
    """Write ``model.onnx`` of a model directory from its weights and config.json.

    Args:
        directory: A model directory with config.json, backbone and head.

    Returns:
        The path written.

    Raises:
        ModelDirError: If the directory is incomplete.
        FingerprintMismatchError: If backbone and head do not belong together.
    """
    bundle = ModelBundle.read(directory)
    model, head = load_model(directory, bundle.config), (directory / HEAD_FILE).read_bytes()
    bundle.changed(without=(ONNX_FILE,)).write(directory, add=lambda folder: write_graph(model, head, folder))
    return directory / ONNX_FILE


def write_graph(model: CinemaeModel, head: bytes, folder: Path) -> Path:
    """Write ``model.onnx`` into a folder.

    The graph takes `pixel_values` (N * V, 3, S, S), the V views of an image one after the other, and `noise` (K, L),
    both float32 with N and K free; `noise` has the configured masks as its default. Of its outputs (`OUTPUTS`) lcas and
    global_feature have a row a view, the others a row an image. The paper's V is 1. Calibration, thresholds and doubt
    are no part of it, so a change of theirs needs no other graph.

    Args:
        model: Both halves, on the processor.
        head: Content of the head's file; the graph names its hash.
        folder: Where to write.

    Returns:
        The path.
    """
    graph = _trace(model)
    head_hash = hashlib.sha256(head).hexdigest()
    helper.set_model_props(graph, {FINGERPRINT_KEY: model.extractor.fingerprint, HEAD_KEY: head_hash})
    return save_graph(graph, folder / ONNX_FILE)


def save_graph(graph: onnx.ModelProto, path: Path) -> Path:
    """Check a graph and write it, large weights (`LARGE`) in ``STEM.HASH.data`` beside it.

    That file is named by its content, so a graph is never read with the weights of another.

    Args:
        graph: The graph; its large weights are taken out of it.
        path: Where to write it, ending in ``.onnx``.

    Returns:
        The path.
    """
    narrow_weights(graph)
    _drop_traces(graph)
    weights = [weight for weight in graph.graph.initializer if weight.HasField("raw_data")]
    large = sum(len(weight.raw_data) for weight in weights) >= LARGE
    if large:
        digest = hashlib.sha256()
        for weight in weights:
            digest.update(weight.raw_data)
        name = f"{path.stem}.{digest.hexdigest()[:12]}.data"
        (path.parent / name).unlink(missing_ok=True)  # onnx would write behind what is there
        convert_model_to_external_data(graph, all_tensors_to_one_file=True, location=name)
    onnx.save(graph, path)
    onnx.checker.check_model(str(path))
    if large:
        shutil.copymode(path, path.parent / name)  # onnx writes it for its owner alone
    return path


def _trace(model: CinemaeModel) -> onnx.ModelProto:
    backbone = model.extractor.backbone
    size = backbone.image_size
    views = model.extractor.config.image.num_views
    sample = (torch.zeros(2 * views, 3, size, size), torch.rand(3, backbone.num_patches))
    images, passes = torch.export.Dim("images", min=1, max=4096), torch.export.Dim("K", min=1, max=64)
    batch = images if views == 1 else views * images
    with _quiet(), torch.inference_mode():
        program = torch.onnx.export(
            model,
            sample,
            input_names=["pixel_values", "noise"],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: batch}, {0: passes}),
            dynamo=True,
            external_data=False,
        )
    if program is None:
        raise ModelDirError("the graph of this model could not be exported.")
    graph = program.model_proto
    _add_default_noise(graph, model.extractor.noise)
    return graph


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress lines and deprecation warnings out of the user's terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _add_default_noise(model: onnx.ModelProto, noise: Tensor) -> None:
    """Give the input `noise` the configured masks as default value; feeding the input overrides it."""
    model.graph.initializer.append(numpy_helper.from_array(noise.numpy(), "noise"))


def _drop_traces(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes on where in the source each node came from: they hold paths of the machine."""
    for part in (model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


def narrow_weights(model: onnx.ModelProto) -> None:
    """Store every large weight that float16 holds exactly as float16, and cast it back where it is used."""
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or weight.name == "noise":
            continue
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):  # too large for float16: not equal, so it stays
            narrow = values.astype(np.float16)
        if values.size < _SMALLEST_NARROWED or not np.array_equal(narrow.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(narrow, f"{name}.float16"))
        casts.append(helper.make_node("Cast", [f"{name}.float16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]


def widen_weights(model: onnx.ModelProto) -> None:
    """Undo `narrow_weights`."""
    narrowed = {weight.name: weight for weight in model.graph.initializer if weight.data_type == TensorProto.FLOAT16}
    casts = [node for node in model.graph.node if node.op_type == "Cast" and node.input[0] in narrowed]
    for cast in casts:
        weight = narrowed[cast.input[0]]
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float32), cast.output[0]))
        model.graph.node.remove(cast)
