"""Weights of a graph that lie in the model's safetensors files: found, read back, and refused where they are others."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, uses_external_data
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import load_file, save_file

from cinemae.core.rounded import round_matrix
from cinemae.errors import ModelDirError
from cinemae.models.directory import BACKBONE_FILE, HEAD_FILE, ONNX_FILE
from cinemae.models.export_int8 import quantize_graph
from cinemae.models.graph_weights import load_graph, narrow_weights, share_weights
from cinemae.models.scorers import OnnxScorer

PIXELS = np.random.default_rng(0).normal(size=(2, 1, 3, 32, 32)).astype(np.float32)
VALUES = np.random.default_rng(1).normal(size=(40, 30))


def _stored(folder: Path, dtype: type) -> np.ndarray:
    """Write a backbone of one matrix and an empty head; return the matrix in float32."""
    (folder / BACKBONE_FILE).parent.mkdir()
    save_file({"bias": np.zeros(3, np.float32)}, folder / HEAD_FILE)
    if dtype is np.int8:
        integers, scale = (part.numpy() for part in round_matrix(torch.from_numpy(VALUES.astype(np.float32))))
        save_file({"matrix": integers, "matrix.scale": scale}, folder / BACKBONE_FILE)
        return integers.astype(np.float32) * scale[:, None]
    matrix = VALUES.astype(dtype)
    save_file({"small": np.zeros(3, np.float32), "matrix": matrix}, folder / BACKBONE_FILE)
    return matrix.astype(np.float32)


def _product(weight: np.ndarray) -> onnx.ModelProto:
    """Return a graph that multiplies its input with a weight."""
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name, size in zip(("in", "out"), weight.shape, strict=True)
    )
    product = helper.make_node("MatMul", ["in", "weight"], ["out"], "product")
    graph = helper.make_graph([product], "g", [given], [made], [numpy_helper.from_array(weight, "weight")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize(
    ("dtype", "transposed", "nodes"),
    [
        (np.float32, False, ["MatMul"]),
        (np.float32, True, ["Transpose", "MatMul"]),
        (np.float16, False, ["Cast", "MatMul"]),
        (np.float16, True, ["Transpose", "Cast", "MatMul"]),
        (np.int8, False, ["Cast", "Mul", "MatMul"]),
        (np.int8, True, ["Transpose", "Cast", "Mul", "MatMul"]),
    ],
)
def test_a_weight_is_read_from_the_file_that_holds_its_values(tmp_path: Path, dtype, transposed: bool, nodes):
    matrix = _stored(tmp_path, dtype)
    weight = np.ascontiguousarray(matrix.T) if transposed else matrix
    model = _product(weight)
    before = model.SerializeToString()
    assert share_weights(model, tmp_path)
    assert [node.op_type for node in model.graph.node] == nodes
    path = tmp_path / ONNX_FILE
    onnx.save(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    assert path.stat().st_size < 1200
    rows = np.eye(len(weight), dtype=np.float32)
    (found,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"in": rows})
    np.testing.assert_array_equal(found, weight)
    assert load_graph(path).SerializeToString() == before


@pytest.mark.parametrize("transposed", [False, True])
def test_a_graph_of_integers_takes_them_from_the_file(tmp_path: Path, transposed: bool):
    """As the quantiser writes them, which rounds the scaled values to the very integers that they come from."""
    matrix = _stored(tmp_path, np.int8)
    weight = np.ascontiguousarray(matrix.T) if transposed else matrix
    quantized = tmp_path / "int8.onnx"
    quantize_dynamic(
        _product(weight), quantized, per_channel=True, weight_type=QuantType.QInt8, reduce_range=True,
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )  # fmt: skip
    rows = np.eye(len(weight), dtype=np.float32)
    (expected,) = onnxruntime.InferenceSession(quantized, providers=["CPUExecutionProvider"]).run(None, {"in": rows})
    model = onnx.load(quantized)
    assert share_weights(model, tmp_path, integers_alone=True) is transposed  # a scale for each row of the file
    onnx.save(model, tmp_path / ONNX_FILE)
    session = onnxruntime.InferenceSession(tmp_path / ONNX_FILE, providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"in": rows})[0], expected)
    if transposed:
        assert (tmp_path / ONNX_FILE).stat().st_size < quantized.stat().st_size - 1000  # of 1,200 integers


def test_a_weight_with_other_values_stays_in_the_graph(tmp_path: Path):
    weight = _stored(tmp_path, np.float32)
    weight[3, 4] = np.nextafter(weight[3, 4], np.float32(9))
    model = _product(weight)
    before = model.SerializeToString()
    assert not share_weights(model, tmp_path)
    assert model.SerializeToString() == before


def test_nodes_without_inputs_and_products_of_the_graphs_own_are_left_as_they_are(tmp_path: Path):
    """Constants, as older exporters write them, and a weight times another."""
    model = _product(_stored(tmp_path, np.float32))
    constant = helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.float32(2)))
    doubled = helper.make_node("Mul", ["weight", "two"], ["doubled"])
    model.graph.node[0].input[1] = "doubled"
    nodes = [constant, doubled, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, tmp_path / ONNX_FILE)
    assert load_graph(tmp_path / ONNX_FILE).SerializeToString() == model.SerializeToString()


def test_a_weight_that_float16_holds_is_stored_in_it(tmp_path: Path):
    model = _product((np.arange(4096, dtype=np.float32) % 1024).reshape(64, 64) / 64)
    before = model.SerializeToString()
    narrow_weights(model)
    assert [node.op_type for node in model.graph.node] == ["Cast", "MatMul"]
    assert model.graph.initializer[0].data_type == TensorProto.FLOAT16
    onnx.save(model, tmp_path / ONNX_FILE)
    assert load_graph(tmp_path / ONNX_FILE).SerializeToString() == before


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "copy")


@pytest.mark.skipif(sys.platform == "win32", reason="making a link takes rights there")
@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["the Hub's cache", "uv"])
def test_files_that_are_links_are_read(copy: Path, tmp_path: Path, link):
    expected = OnnxScorer(copy).score(PIXELS).logit
    (tmp_path / "blobs").mkdir()
    for number, path in enumerate([path for path in sorted(copy.rglob("*")) if path.is_file()]):
        path.rename(tmp_path / "blobs" / str(number))
        link(tmp_path / "blobs" / str(number), path)
    np.testing.assert_array_equal(OnnxScorer(copy).score(PIXELS).logit, expected)
    quantize_graph(copy, copy)
    assert OnnxScorer(copy, precision="int8").score(PIXELS).logit == pytest.approx(expected, abs=0.05)


def test_a_backbone_of_other_values_is_refused(copy: Path):
    """Its shapes and its size are the same, so only the values tell; settings and graph were left as they are."""
    weights = load_file(copy / BACKBONE_FILE)
    weights["decoder.decoder_pred.weight"] = weights["decoder.decoder_pred.weight"] + np.float32(1e-3)
    size = (copy / BACKBONE_FILE).stat().st_size
    save_file(weights, copy / BACKBONE_FILE, metadata={"format": "pt"})
    assert (copy / BACKBONE_FILE).stat().st_size == size
    with pytest.raises(
        ModelDirError, match="exported from another backbone, head or extractor setting than lie beside"
    ):
        OnnxScorer(copy)


def test_a_graph_without_its_backbone_is_refused_and_one_in_int8_needs_none(copy: Path):
    quantize_graph(copy, copy)
    expected = OnnxScorer(copy, precision="int8").score(PIXELS).logit
    shutil.rmtree(copy / "backbone")
    with pytest.raises(ModelDirError, match=r"model\.onnx cannot be used .*backbone.*: fetch the model again, or run"):
        OnnxScorer(copy)
    with pytest.raises(ModelDirError, match="points to weights that cannot be read .*: restore them"):
        load_graph(copy / ONNX_FILE)
    np.testing.assert_array_equal(OnnxScorer(copy, precision="int8").score(PIXELS).logit, expected)


def test_a_graph_that_holds_its_weights_still_scores(copy: Path):
    """As all did before."""
    expected = OnnxScorer(copy).score(PIXELS).logit
    graph = load_graph(copy / ONNX_FILE)
    del graph.metadata_props[[item.key for item in graph.metadata_props].index("cinemae.backbone_crc32")]
    narrow_weights(graph)
    onnx.save(graph, copy / ONNX_FILE)
    shutil.rmtree(copy / "backbone")
    np.testing.assert_allclose(OnnxScorer(copy).score(PIXELS).logit, expected, rtol=1e-5)


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname"])
def test_weights_outside_the_directory_are_not_read(copy: Path, location: str):
    graph = onnx.load(copy / ONNX_FILE, load_external_data=False)
    weight = next(filter(uses_external_data, graph.graph.initializer))
    assert ExternalDataInfo(weight).location == BACKBONE_FILE
    weight.external_data[0].value = location
    onnx.save(graph, copy / ONNX_FILE)
    with pytest.raises(ModelDirError, match="points to weights outside its directory"):
        load_graph(copy / ONNX_FILE)
