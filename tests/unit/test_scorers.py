from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from cinemae.core.mahalanobis import MahalanobisDistance
from cinemae.core.masking import complementary_noise, mask_noise
from cinemae.errors import ConfigError, FingerprintMismatchError, ModelDirError
from cinemae.models.directory import read_model_config
from cinemae.models.distance import distance_bytes
from cinemae.models.scorers import OnnxScorer, Scorer, TorchScorer, make_scorer

PIXELS = np.random.default_rng(0).normal(size=(5, 1, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module", params=["onnx", "torch"])
def scorer(request: pytest.FixtureRequest, tiny_model: Path) -> Scorer:
    return OnnxScorer(tiny_model) if request.param == "onnx" else TorchScorer(tiny_model, device="cpu")


@pytest.fixture
def copied_model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def _reference(model: Path, pixel_values: np.ndarray, noise: np.ndarray) -> dict[str, np.ndarray]:
    """The graph by itself, all images in one call."""
    session = onnxruntime.InferenceSession(str(model / "model.onnx"), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"pixel_values": pixel_values, "noise": noise}), strict=True))


def test_scores_are_those_of_the_graph(scorer: Scorer, tiny_model: Path):
    scores = scorer.score(PIXELS)
    expected = _reference(tiny_model, PIXELS[:, 0], mask_noise(0, 2, 16))
    np.testing.assert_allclose(scores.logit, expected["logit"], atol=1e-5)
    np.testing.assert_allclose(scores.stats, expected["stats"], atol=1e-5)
    np.testing.assert_allclose(scores.lcas, expected["lcas"], atol=1e-5)
    assert scores.lcas.shape == (5, 2, 16)
    assert np.isnan(scores.lcas).sum() == 5 * 2 * 4  # a quarter is visible


def test_probability_is_the_calibrated_logit(scorer: Scorer):
    scores = scorer.score(PIXELS)
    expected = [1 / (1 + math.exp(-(1.5 * logit - 0.1))) for logit in scores.logit]
    np.testing.assert_allclose(scores.prob_fake, expected, rtol=1e-12)


def test_a_score_depends_on_nothing_but_its_image(scorer: Scorer):
    together = scorer.score(PIXELS)
    order = np.array([3, 0, 4, 1, 2])
    shuffled = scorer.score(PIXELS[order])
    for field in ("logit", "prob_fake", "stats", "lcas", "ood_distance"):
        alone = np.concatenate([getattr(scorer.score(PIXELS[i : i + 1]), field) for i in range(5)])
        np.testing.assert_array_equal(getattr(together, field), alone)
        np.testing.assert_array_equal(getattr(shuffled, field), alone[order])


def test_torch_chunks_of_one_size_agree_too(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    scorer = TorchScorer(tiny_model, device="cpu")
    monkeypatch.setattr(scorer, "_chunk", 3)  # as on an accelerator: 5 images make a full chunk and a filled-up one
    together = scorer.score(PIXELS)
    alone = np.concatenate([scorer.score(PIXELS[i : i + 1]).prob_fake for i in range(5)])
    np.testing.assert_allclose(together.prob_fake, alone, atol=1e-6)
    np.testing.assert_allclose(together.prob_fake, OnnxScorer(tiny_model).score(PIXELS).prob_fake, atol=1e-6)


def test_views_are_averaged_before_calibration(tiny_model_tiles: Path, tiny_model: Path):
    pixels = np.random.default_rng(1).normal(size=(3, 4, 3, 32, 32)).astype(np.float32)
    parts = [_reference(tiny_model_tiles, image, mask_noise(0, 2, 16)) for image in pixels]
    for scorer in (OnnxScorer(tiny_model_tiles), TorchScorer(tiny_model_tiles, device="cpu")):
        scores = scorer.score(pixels)
        logit = np.array([_reference(tiny_model, image, mask_noise(0, 2, 16))["logit"].mean() for image in pixels])
        np.testing.assert_allclose(scores.logit, logit, atol=1e-5)
        np.testing.assert_allclose(scores.logit, [part["logit"][0] for part in parts], atol=1e-5)
        np.testing.assert_allclose(scores.prob_fake, 1 / (1 + np.exp(-(1.5 * logit - 0.1))), atol=1e-5)
        np.testing.assert_allclose(scores.stats, [part["stats"][0] for part in parts], atol=1e-5)
        np.testing.assert_allclose(scores.lcas, [part["lcas"][0] for part in parts], atol=1e-5)


def test_joined_views_are_scored_by_both_engines_alike(tiny_model_pooled: Path):
    pixels = np.random.default_rng(1).normal(size=(3, 4, 3, 32, 32)).astype(np.float32)
    of_onnx, of_torch = (kind(tiny_model_pooled).score(pixels) for kind in (OnnxScorer, TorchScorer))
    for field in ("logit", "prob_fake", "stats", "lcas"):
        np.testing.assert_allclose(getattr(of_onnx, field), getattr(of_torch, field), atol=1e-5)
    shuffled = OnnxScorer(tiny_model_pooled).score(pixels[:, [2, 0, 3, 1]])
    np.testing.assert_allclose(shuffled.logit, of_onnx.logit, atol=1e-5)  # tiles in another order, the same image


def test_map_covers_every_patch(scorer: Scorer, tiny_model: Path):
    lcas_map = scorer.lcas_map(PIXELS[2])
    passes = _reference(tiny_model, PIXELS[2], complementary_noise(0, 4, 16))["lcas"][0]
    assert np.isnan(passes).sum(0).tolist() == [1] * 16
    np.testing.assert_allclose(lcas_map, np.nanmean(passes, 0).reshape(4, 4), atol=1e-5)


def test_maps_of_tiles_are_put_together(tiny_model_tiles: Path, tiny_model: Path):
    tiles = np.random.default_rng(1).normal(size=(4, 3, 32, 32)).astype(np.float32)
    whole = OnnxScorer(tiny_model_tiles).lcas_map(tiles)
    one_by_one = [OnnxScorer(tiny_model).lcas_map(tile[None]) for tile in tiles]
    np.testing.assert_array_equal(whole, np.block([one_by_one[:2], one_by_one[2:]]))


def test_the_map_of_five_views_is_that_of_the_centre(tiny_model_five: Path, tiny_model: Path):
    views = np.random.default_rng(1).normal(size=(5, 3, 32, 32)).astype(np.float32)
    found, expected = (TorchScorer(model, device="cpu") for model in (tiny_model_five, tiny_model))
    np.testing.assert_allclose(found.lcas_map(views), expected.lcas_map(views[:1]), rtol=1e-5)


def test_threads_may_share_a_scorer(scorer: Scorer):
    expected = scorer.score(PIXELS).prob_fake
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda i: scorer.score(PIXELS[i % 5 : i % 5 + 1]).prob_fake[0], range(40)):
            assert result in expected


@pytest.mark.parametrize("shape", [(0, 1, 3, 32, 32), (2, 3, 32, 32), (1, 5, 3, 32, 32), (1, 1, 3, 224, 224)])
def test_other_shapes_are_refused(scorer: Scorer, shape: tuple[int, ...]):
    with pytest.raises(ConfigError, match=r"must be N images of shape \(1, 3, 32, 32\), got an array of shape"):
        scorer.score(np.zeros(shape, np.float32))


def test_the_distance_comes_from_either_engine_alike(tiny_model_pooled: Path, tmp_path: Path):
    directory = Path(shutil.copytree(tiny_model_pooled, tmp_path / "copy"))
    pixels = np.random.default_rng(1).normal(size=(3, 4, 3, 32, 32)).astype(np.float32)
    assert np.isnan(OnnxScorer(directory).score(pixels).ood_distance).all()
    assert np.isnan(TorchScorer(directory, device="cpu").score(pixels).ood_distance).all()
    distance = MahalanobisDistance(np.full(32, 0.1, np.float32), 2 * np.eye(32, dtype=np.float32))
    (directory / "ood.safetensors").write_bytes(distance_bytes(distance))  # the graph stays as it is
    of_onnx, of_torch = (kind(directory).score(pixels) for kind in (OnnxScorer, TorchScorer))
    np.testing.assert_allclose(of_onnx.ood_distance, of_torch.ood_distance, rtol=1e-5)
    features = _reference(directory, pixels.reshape(-1, 3, 32, 32), mask_noise(0, 2, 16))["global_feature"]
    views = features.reshape(3, 4, 16).astype(np.float64)
    summary = np.concatenate([views.mean(1), np.log(views.std(1, ddof=1) + 1e-3)], axis=1)
    np.testing.assert_allclose(of_onnx.ood_distance, 2 * np.linalg.norm(summary - 0.1, axis=1), rtol=1e-5)


def _with_old_outputs(model: Path, distance: float) -> None:
    """Give a graph the outputs that graphs had when calibration was part of them."""
    graph = onnx.load(model / "model.onnx")
    for name in ("prob_fake", "ood_distance"):
        value = numpy_helper.from_array(np.array([distance], np.float32), f"{name}.value")
        graph.graph.initializer.append(value)
        graph.graph.node.append(helper.make_node("Identity", [f"{name}.value"], [name]))
        graph.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]))
    onnx.save(graph, model / "model.onnx")


def test_a_graph_that_calibrates_itself_still_scores_and_its_calibration_does_not_count(copied_model: Path):
    expected = OnnxScorer(copied_model).score(PIXELS)
    _with_old_outputs(copied_model, 7.0)
    scores = OnnxScorer(copied_model).score(PIXELS)
    for name in ("logit", "prob_fake", "stats", "lcas"):
        np.testing.assert_array_equal(getattr(scores, name), getattr(expected, name))
    assert scores.ood_distance.tolist() == [7.0] * 5, "nothing else lies there to tell it by"
    distance = MahalanobisDistance(np.zeros(16, np.float32), np.eye(16, dtype=np.float32))
    (copied_model / "ood.safetensors").write_bytes(distance_bytes(distance))
    assert (OnnxScorer(copied_model).score(PIXELS).ood_distance != 7).all()


def test_a_missing_file_of_distances_is_named(copied_model: Path):
    config = json.loads((copied_model / "config.json").read_text())
    config["ood"] = {"levels": [0.0, 1.0], "values": [1.0, 2.0], "limit": 0.99}
    (copied_model / "config.json").write_text(json.dumps(config))
    for kind in (OnnxScorer, TorchScorer):
        with pytest.raises(ModelDirError, match=r"ood\.safetensors cannot be used .*run cinemae calibrate"):
            kind(copied_model)
    _with_old_outputs(copied_model, 7.0)
    assert OnnxScorer(copied_model).score(PIXELS).ood_distance.tolist() == [7.0] * 5


def test_a_missing_graph_is_named(copied_model: Path):
    (copied_model / "model.onnx").unlink()
    with pytest.raises(ModelDirError, match=r"scores with model\.onnx, .*copy holds none: run cinemae export"):
        OnnxScorer(copied_model)


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x0a" * 1000])
def test_a_damaged_graph_is_named(copied_model: Path, content: bytes):
    (copied_model / "model.onnx").write_bytes(content)
    with pytest.raises(ModelDirError, match=r"model\.onnx (cannot be used|has no)"):
        OnnxScorer(copied_model)


def test_a_truncated_graph_is_named(copied_model: Path):
    path = copied_model / "model.onnx"
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ModelDirError, match=r"model\.onnx cannot be used"):
        OnnxScorer(copied_model)


def test_a_foreign_graph_is_named(copied_model: Path):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("pixel_values", "logit")]
    graph = helper.make_graph([helper.make_node("Identity", ["pixel_values"], ["logit"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, copied_model / "model.onnx")
    with pytest.raises(ModelDirError, match="has no global_feature, lcas, noise, stats: it is not a cinemae graph"):
        OnnxScorer(copied_model)


def test_a_graph_of_another_head_or_setting_is_refused(copied_model: Path):
    head = copied_model / "head.safetensors"
    weights = head.read_bytes()
    head.write_bytes(weights[:-4] + b"\x00\x00\x20A")  # its last value is 10 now
    with pytest.raises(ModelDirError, match="exported from another backbone, head or extractor setting"):
        OnnxScorer(copied_model)
    head.write_bytes(weights)
    OnnxScorer(copied_model)
    config = json.loads((copied_model / "config.json").read_text())
    config["extractor"]["mask"]["seed"] = 5
    del config["fingerprint"]
    (copied_model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelDirError, match="run cinemae export again"):
        OnnxScorer(copied_model)


def test_another_backbone_is_refused(copied_model: Path):
    config = json.loads((copied_model / "config.json").read_text())
    config["backbone"]["content_hash"] = "0" * 64
    stated = config.pop("fingerprint")
    (copied_model / "config.json").write_text(json.dumps(config))
    with pytest.raises(FingerprintMismatchError, match="do not belong together") as caught:
        TorchScorer(copied_model)
    assert stated in str(caught.value)
    assert read_model_config(copied_model).fingerprint in str(caught.value)


def test_a_missing_backbone_is_named(copied_model: Path):
    shutil.rmtree(copied_model / "backbone")
    with pytest.raises(ModelDirError, match="holds no folder backbone"):
        TorchScorer(copied_model)


@pytest.mark.parametrize("damage", ["missing", "garbage", "other widths"])
def test_a_bad_head_is_named(copied_model: Path, damage: str):
    path = copied_model / "head.safetensors"
    if damage == "missing":
        path.unlink()
    elif damage == "garbage":
        path.write_bytes(b"\xff" * 100)
    else:
        config = json.loads((copied_model / "config.json").read_text())
        config["head"]["agg_hidden"] = 9
        (copied_model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelDirError, match=r"head\.safetensors cannot be used"):
        TorchScorer(copied_model)


def test_the_light_engine_is_chosen_where_it_can_be(copied_model: Path):
    assert isinstance(make_scorer(copied_model), OnnxScorer)
    assert isinstance(make_scorer(copied_model, "cpu"), OnnxScorer)
    (copied_model / "model.onnx").unlink()
    assert isinstance(make_scorer(copied_model, "cpu"), TorchScorer)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system holds no process to some cores")
@pytest.mark.skipif(len(getattr(os, "sched_getaffinity", lambda _: ())(0)) < 2, reason="there is but one core")
def test_the_light_engine_keeps_to_the_cores_it_was_given(tiny_model: Path):
    code = (
        "import os, sys, pathlib\ncores = sorted(os.sched_getaffinity(0))[:-1]\nos.sched_setaffinity(0, cores)\n"
        "from cinemae.models.scorers import OnnxScorer\nscorer = OnnxScorer(sys.argv[1])\n"
        "found = {core for task in os.listdir('/proc/self/task') for core in os.sched_getaffinity(int(task))}\n"
        "print(*found - {*cores})"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tiny_model)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_devices_that_are_not_there_are_refused(tiny_model: Path):
    with pytest.raises(ConfigError, match="device must be auto, cpu, cuda or mps, got 'tpu'"):
        make_scorer(tiny_model, "tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="torch sees no device cuda"):
            make_scorer(tiny_model, "cuda")


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_without_torch_the_install_line_is_given(tiny_model: Path, package: str):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from cinemae.errors import MissingDependencyError\nfrom cinemae.models.scorers import make_scorer\n"
        f"try: make_scorer({str(tiny_model)!r}, 'cuda')\nexcept MissingDependencyError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"{package} is not installed: pip install 'cinemae[torch]'" in result.stdout


def test_scores_are_frozen(scorer: Scorer):
    with pytest.raises(dataclasses.FrozenInstanceError):
        scorer.score(PIXELS).logit = None
