"""A model's graph opened in ONNX Runtime, after checking that it belongs to the files that lie beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cinemae.errors import ModelDirError, first_line
from cinemae.models.directory import (
    BACKBONE_FILE,
    BACKBONE_KEY,
    FINGERPRINT_KEY,
    HEAD_FILE,
    HEAD_KEY,
    INT8_FILE,
    ONNX_FILE,
    PRECISION_KEY,
    file_checksum,
    file_hash,
)
from cinemae.settings import usable_cores

GRAPHS = {"fp32": ONNX_FILE, "int8": INT8_FILE}
"""The graph of each precision."""

OUTPUTS = ("logit", "stats", "lcas", "global_feature")
"""What every graph gives."""

_INPUTS = ("pixel_values", "noise")


def open_session(directory: Path, precision: str, fingerprint: str, num_threads: int | None) -> Any:  # noqa: ANN401
    """Return an `onnxruntime.InferenceSession` of a model's graph.

    Args:
        directory: The model directory.
        precision: One of `GRAPHS`.
        fingerprint: The model's; the graph must state the same.
        num_threads: How many compute one image; None for one a core.

    Raises:
        ModelDirError: If the graph is missing, cannot be used, or was made from other files than lie beside it.
    """
    path = directory / GRAPHS[precision]
    again = "cinemae export" if precision == "fp32" else f"cinemae export --precision {precision}"
    if not path.is_file():
        what = "the light install" if precision == "fp32" else precision
        raise ModelDirError(f"{what} scores with {path.name}, {directory} holds none: run {again}.")
    # ONNX Runtime 1.29 and later sends usage data and leaves files behind unless this is set before its import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = num_threads or usable_cores()  # left to itself it takes cores not meant for us
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave the cores to the decoders
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a family of its own without a common root
        raise ModelDirError(
            f"{path} cannot be used ({first_line(error)}): fetch the model again, or run {again}."
        ) from error
    given = {node.name for node in (*session.get_inputs(), *session.get_overridable_initializers())}
    given |= {node.name for node in session.get_outputs()}
    missing = sorted({*_INPUTS, *OUTPUTS} - given)
    if missing:
        raise ModelDirError(f"{path} has no {', '.join(missing)}: it is not a cinemae graph; run {again}.")
    stated = session.get_modelmeta().custom_metadata_map
    if stated.get(FINGERPRINT_KEY) != fingerprint or _is_of_other_files(stated, directory):
        raise ModelDirError(
            f"{path} was exported from another backbone, head or extractor setting than lie beside it: run {again} "
            "again."
        )
    if stated.get(PRECISION_KEY, "fp32") != precision:
        raise ModelDirError(f"{path} computes in {stated.get(PRECISION_KEY, 'fp32')}, not {precision}: run {again}.")
    return session


def _is_of_other_files(stated: dict[str, str], directory: Path) -> bool:
    """Compare what a graph says of head and backbone with the files; a graph that holds the weights needs neither."""
    head, backbone = directory / HEAD_FILE, directory / BACKBONE_FILE
    if head.is_file() and stated.get(HEAD_KEY) != file_hash(head):
        return True
    return BACKBONE_KEY in stated and stated[BACKBONE_KEY] != file_checksum(backbone)
