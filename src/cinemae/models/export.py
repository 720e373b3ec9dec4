"""Write a model's ONNX graph: the whole method from `pixel_values` to logit, for the light install.

Its weights are those of the files that torch reads, where they lie: `cinemae.models.graph_weights`.
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

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data, uses_external_data
from torch import Tensor

from cinemae.core.model import CinemaeModel
from cinemae.errors import ModelDirError
from cinemae.models.bundle import ModelBundle
from cinemae.models.directory import (
    BACKBONE_FILE,
    BACKBONE_KEY,
    FINGERPRINT_KEY,
    HEAD_FILE,
    HEAD_KEY,
    ONNX_FILE,
    file_checksum,
    file_hash,
)
from cinemae.models.graph_weights import narrow_weights, share_weights
from cinemae.models.onnx_session import OUTPUTS
from cinemae.models.weights import load_model

LARGE = 100_000_000
"""Bytes of weights from which they lie in a file of their own: a graph that holds them is copied when it is loaded."""


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
    model = load_model(directory, bundle.config)
    bundle.changed(without=(ONNX_FILE,)).write(directory, add=lambda folder: write_graph(model, directory, folder))
    return directory / ONNX_FILE


def write_graph(model: CinemaeModel, directory: Path, folder: Path) -> Path:
    """Write ``model.onnx`` into a folder; its weights stay in the files of backbone and head.

    The graph takes `pixel_values` (N * V, 3, S, S), the V views of an image one after the other, and `noise` (K, L),
    both float32 with N and K free; `noise` has the configured masks as its default. Of its outputs (`OUTPUTS`) lcas and
    global_feature have a row a view, the others a row an image. The paper's V is 1. Calibration, thresholds and doubt
    are no part of it, so a change of theirs needs no other graph.

    Args:
        model: Both halves, on the processor.
        directory: Where the files of backbone and head lie now; the graph says which they are.
        folder: Where to write; the graph is read with backbone and head beside it.

    Returns:
        The path.
    """
    graph = _trace(model)
    share_weights(graph, directory)
    origin = {
        FINGERPRINT_KEY: model.extractor.fingerprint,
        HEAD_KEY: file_hash(directory / HEAD_FILE),
        BACKBONE_KEY: file_checksum(directory / BACKBONE_FILE),
    }
    helper.set_model_props(graph, origin)
    return save_graph(graph, folder / ONNX_FILE)


def save_graph(graph: onnx.ModelProto, path: Path) -> Path:
    """Check a graph and write it, the weights that a large one holds (`LARGE`) in ``STEM.HASH.data`` beside it.

    That file is named by its content, so a graph is never read with the weights of another.

    Args:
        graph: The graph; what it holds of weights is narrowed, and if large taken out of it.
        path: Where to write it, ending in ``.onnx``.

    Returns:
        The path.
    """
    narrow_weights(graph)
    _drop_traces(graph)
    _check(graph)
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
    if large:
        shutil.copymode(path, path.parent / name)  # onnx writes it for its owner alone
    return path


def _check(graph: onnx.ModelProto) -> None:
    """Let onnx check a graph; shared weights, which may not lie beside it yet, are left out."""
    bare = onnx.ModelProto()
    bare.CopyFrom(graph)
    for weight in filter(uses_external_data, bare.graph.initializer):
        weight.CopyFrom(TensorProto(name=weight.name, data_type=weight.data_type, dims=[0]))
    onnx.checker.check_model(bare)


def _trace(model: CinemaeModel) -> onnx.ModelProto:
    backbone = model.extractor.backbone
    size = backbone.image_size
    views = model.extractor.config.image.num_views
    sample = (torch.zeros(2 * views, 3, size, size), torch.rand(3, backbone.num_patches))
    images, passes = torch.export.Dim("images", min=1, max=4096), torch.export.Dim("K", min=1, max=64)
    batch = images if views == 1 else views * images
    with quiet_exporter(), torch.inference_mode():
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
def quiet_exporter() -> Iterator[None]:
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
