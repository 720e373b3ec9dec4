"""The exported graph against the torch modules it was exported from."""

import dataclasses
import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from onnx.external_data_helper import ExternalDataInfo
from safetensors.torch import load_file, save_file

from cinemae.config import (
    BackboneInfo,
    DecisionConfig,
    DeviationConfig,
    ExtractorConfig,
    HeadConfig,
    ImageConfig,
    LcasConfig,
    LcasReference,
    MaskConfig,
    ModelConfig,
    OodReference,
)
from cinemae.core.backbone import FrozenMAE
from cinemae.core.checkpoint import new_mae, save_pretrained_folder
from cinemae.core.head import CinemaeHead
from cinemae.core.mahalanobis import MahalanobisDistance
from cinemae.core.masking import complementary_noise, mask_noise, noise_from_config
from cinemae.errors import FingerprintMismatchError, ModelDirError
from cinemae.models.directory import CONFIG_FILE, OOD_FILE, read_model_config
from cinemae.models.distance import distance_bytes
from cinemae.models.export import OUTPUTS, export_onnx
from cinemae.models.scorers import OnnxScorer
from cinemae.models.weights import load_model
from cinemae.pretrain_config import PretrainConfig

SIZE, NUM_PATCHES = 32, 16


def _randomize_head(head):
    """Scaling that is not the identity, so that leaving it out would show."""
    generator = torch.Generator().manual_seed(1)
    for name, buffer in head.named_buffers():
        buffer.copy_(torch.rand(buffer.shape, generator=generator) + (0.5 if name.endswith("std") else 0))


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    """Every setting that shapes the graph differs from `tiny_model`'s; the backbone is stored in float16."""
    directory = tmp_path_factory.mktemp("models") / "other"
    sizes = PretrainConfig(
        image_size=SIZE,
        patch_size=8,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=3,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=2,
        seed=5,
    )
    save_pretrained_folder(new_mae(sizes).half(), directory / "backbone")
    backbone = FrozenMAE.from_pretrained(directory / "backbone")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        settings = {"fusion": "gate", "fusion_level": "late", "activation": "relu", "statistics": ("overall",)}
        head = CinemaeHead(HeadConfig(global_dim=24, agg_hidden=40, cls_hidden=(40, 40), **settings))
    _randomize_head(head)
    save_file(head.state_dict(), directory / "head.safetensors")
    config = ModelConfig(
        name="other",
        backbone=BackboneInfo(backbone.content_hash, 8, NUM_PATCHES, 24),
        extractor=ExtractorConfig(
            ImageConfig(size=SIZE, resize_to=40),
            MaskConfig(mask_ratio=0.5, num_passes=3, scheme="complementary", seed=9),
            DeviationConfig(pixel_space="unit", unbiased=True, sigma_floor=0.01),
        ),
        lcas=LcasConfig(fidelity_weight=0.7, reduction="literal"),
        head=head.config,
        decision=DecisionConfig(
            platt_scale=2.5, calibration="isotonic", knot_logits=(-0.1, 0.0, 0.05), knot_log_odds=(-2.0, -0.5, 0.3)
        ),
        reference=LcasReference(),
        provenance={},
        ood=OodReference(levels=(0.0, 1.0), values=(1.0, 9.0)),
    )
    generator = torch.Generator().manual_seed(4)
    mean, whitening = torch.randn(24, generator=generator), torch.randn(24, 24, generator=generator)
    (directory / OOD_FILE).write_bytes(distance_bytes(MahalanobisDistance(mean.numpy(), whitening.numpy())))
    (directory / CONFIG_FILE).write_text(json.dumps(config.to_dict()))
    export_onnx(directory)
    return directory


@pytest.fixture(params=["tiny", "other", "pooled"])
def model(request, tiny_model, other_model, tiny_model_pooled):
    return {"tiny": tiny_model, "other": other_model, "pooled": tiny_model_pooled}[request.param]


def _session(directory):
    return onnxruntime.InferenceSession(str(directory / "model.onnx"), providers=["CPUExecutionProvider"])


def _pixels(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3, SIZE, SIZE)).astype(np.float32)


def _images(directory, n, seed=0):
    """As many views as n images of the model have."""
    return _pixels(n * read_model_config(directory).extractor.image.num_views, seed)


def _run_onnx(directory, pixel_values, noise=None):
    feeds = {"pixel_values": pixel_values} | ({} if noise is None else {"noise": noise})
    return dict(zip(OUTPUTS, _session(directory).run(list(OUTPUTS), feeds), strict=True))


def _run_torch(directory, pixel_values, noise=None):
    graph = load_model(directory)
    noise = graph.extractor.noise if noise is None else torch.from_numpy(noise)
    with torch.inference_mode():
        outputs = graph(torch.from_numpy(pixel_values), noise)
    return {name: output.numpy() for name, output in zip(OUTPUTS, outputs, strict=True)}


def _assert_parity(found, expected):
    np.testing.assert_array_equal(np.isnan(found["lcas"]), np.isnan(expected["lcas"]))
    for name in OUTPUTS:
        assert found[name].shape == expected[name].shape
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-4, err_msg=name)


def test_many_random_images_score_alike(model):
    parts = (_images(model, 150), 3 * _images(model, 25, seed=1), 0.01 * _images(model, 25, seed=2))
    pixel_values = np.concatenate(parts)
    _assert_parity(_run_onnx(model, pixel_values), _run_torch(model, pixel_values))


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("passes", [1, 2, 4, 5])
def test_any_number_of_images_and_passes_scores_alike(model, n, passes):
    noise = mask_noise(passes, passes, NUM_PATCHES)
    pixel_values = _images(model, n)
    found = _run_onnx(model, pixel_values, noise)
    assert found["lcas"].shape == (len(pixel_values), passes, NUM_PATCHES)
    assert found["logit"].shape == (n,)
    assert found["stats"].shape == (n, 3)
    _assert_parity(found, _run_torch(model, pixel_values, noise))


def test_complementary_masks_leave_no_patch_unscored(model):
    noise = complementary_noise(0, 4, NUM_PATCHES)
    found = _run_onnx(model, _images(model, 2), noise)
    assert not np.isnan(found["lcas"]).all(axis=1).any()
    _assert_parity(found, _run_torch(model, _images(model, 2), noise))


def test_flat_images_score_alike(model):
    flat = np.stack([np.full((3, SIZE, SIZE), value, np.float32) for value in (-2.0, 0.0, 2.5)])
    pixel_values = flat.repeat(read_model_config(model).extractor.image.num_views, axis=0)
    found, expected = _run_onnx(model, pixel_values), _run_torch(model, pixel_values)
    np.testing.assert_allclose(found["logit"], expected["logit"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(found["lcas"], expected["lcas"], rtol=1e-3)


def test_the_default_noise_is_the_configured_masks(model):
    config = read_model_config(model)
    explicit = _run_onnx(model, _images(model, 3), noise_from_config(config.extractor.mask, NUM_PATCHES))
    default = _run_onnx(model, _images(model, 3))
    for name in OUTPUTS:
        np.testing.assert_array_equal(default[name], explicit[name])


def test_other_noise_overrides_the_default(model):
    pixel_values = _images(model, 3)
    default, other = _run_onnx(model, pixel_values), _run_onnx(model, pixel_values, mask_noise(99, 2, NUM_PATCHES))
    np.testing.assert_array_equal(default["global_feature"], other["global_feature"])
    assert not np.array_equal(default["stats"], other["stats"])


def test_the_mask_ratio_in_the_graph_is_the_configurations(model):
    ratio = read_model_config(model).extractor.mask.mask_ratio
    assert np.isnan(_run_onnx(model, _images(model, 1))["lcas"]).mean() == pytest.approx(1 - ratio)


class TestWeights:
    def test_are_float16_only_where_float16_holds_them_exactly(self, model):
        graph = onnx.load(model / "model.onnx").graph
        large = [weight for weight in graph.initializer if np.prod(weight.dims) >= 1024]
        for weight in large:
            values = numpy_helper.to_array(weight)
            if weight.data_type == TensorProto.FLOAT:
                assert not np.array_equal(values.astype(np.float16).astype(np.float32), values), weight.name
        narrowed = [weight.name for weight in large if weight.data_type == TensorProto.FLOAT16]
        stored_in_half = {tensor.dtype for tensor in load_file(model / "backbone" / "model.safetensors").values()}
        assert bool(narrowed) == (stored_in_half == {torch.float16})

    def test_are_those_of_the_model_to_the_last_bit(self, model):
        graph = onnx.load(model / "model.onnx").graph
        stored = {
            values.astype(np.float32).tobytes()
            for values in map(numpy_helper.to_array, graph.initializer)
            if values.dtype in (np.float16, np.float32)
        }
        stored |= {
            np.ascontiguousarray(values.astype(np.float32).T).tobytes()
            for values in map(numpy_helper.to_array, graph.initializer)
            if values.dtype in (np.float16, np.float32) and values.ndim == 2
        }
        torch_graph = load_model(model)
        weights = [weight for weight in torch_graph.parameters() if weight.ndim == 2]
        assert len(weights) > 10
        missing = [weight.shape for weight in weights if weight.detach().numpy().tobytes() not in stored]
        assert missing == []

    def test_lie_in_the_files_that_torch_reads(self, model):
        graph = onnx.load(model / "model.onnx", load_external_data=False).graph
        assert not [weight.name for weight in graph.initializer if len(weight.raw_data) >= 4 * 1024]
        files = {ExternalDataInfo(weight).location for weight in graph.initializer if weight.external_data}
        assert "backbone/model.safetensors" in files
        assert files <= {"backbone/model.safetensors", "head.safetensors"}
        onnx.checker.check_model(str(model / "model.onnx"))


@pytest.mark.slow
def test_exporting_again_gives_a_graph_that_scores_the_same(tiny_model, tmp_path, one_trace, monkeypatch):
    monkeypatch.setattr("cinemae.models.export._trace", one_trace)
    for name in ("config.json", "head.safetensors", "backbone/config.json", "backbone/model.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((tiny_model / name).read_bytes())
    path = export_onnx(tmp_path)
    assert path == tmp_path / "model.onnx"
    first, again = _run_onnx(tiny_model, _pixels(9)), _run_onnx(tmp_path, _pixels(9))
    for name in OUTPUTS:
        np.testing.assert_array_equal(first[name], again[name])
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "backbone",
        "config.json",
        "head.safetensors",
        "model.onnx",
    ]


class TestNothingWrongPassesSilently:
    def test_inputs_and_outputs_are_named_and_typed(self, model):
        session = _session(model)
        assert [node.name for node in session.get_outputs()] == list(OUTPUTS)
        assert [(node.name, node.type) for node in session.get_inputs()] == [("pixel_values", "tensor(float)")]
        assert [(node.name, node.type) for node in session.get_overridable_initializers()] == [
            ("noise", "tensor(float)")
        ]

    @pytest.mark.parametrize(
        ("pixel_values", "noise"),
        [
            (_pixels(4)[:, :, :16], None),
            (_pixels(4)[:, :1], None),
            (_pixels(4)[0], None),
            (_pixels(4).astype(np.float64), None),
            (_pixels(4), mask_noise(0, 2, NUM_PATCHES + 1)),
            (_pixels(4), mask_noise(0, 2, NUM_PATCHES)[0]),
        ],
        ids=["half an image", "one channel", "no batch", "float64", "a patch too many", "no passes"],
    )
    def test_wrong_inputs_are_refused(self, model, pixel_values, noise):
        session = _session(model)
        feeds = {"pixel_values": pixel_values} | ({} if noise is None else {"noise": noise})
        onnxruntime.set_default_logger_severity(4)
        try:
            with pytest.raises(Exception, match=r"INVALID_ARGUMENT|Unexpected input data type|Invalid"):
                session.run(None, feeds)
        finally:
            onnxruntime.set_default_logger_severity(2)

    def test_views_that_make_no_whole_image_are_refused(self, tiny_model_pooled):
        onnxruntime.set_default_logger_severity(4)
        try:
            with pytest.raises(Exception, match="cannot be reshaped"):
                _run_onnx(tiny_model_pooled, _pixels(6))
        finally:
            onnxruntime.set_default_logger_severity(2)

    def test_pixels_that_are_no_numbers_give_scores_that_are_none(self, model):
        pixel_values = _images(model, 2)
        pixel_values[0] = np.nan  # one view is enough
        found = _run_onnx(model, pixel_values)
        assert np.isnan(found["logit"]).tolist() == [True, False]

    def test_a_head_of_another_shape_is_refused(self, tiny_model, other_model, tmp_path):
        directory = tmp_path / "mixed"
        (directory / "backbone").mkdir(parents=True)
        for name in ("config.json", "backbone/config.json", "backbone/model.safetensors"):
            (directory / name).write_bytes((tiny_model / name).read_bytes())
        (directory / "head.safetensors").write_bytes((other_model / "head.safetensors").read_bytes())
        with pytest.raises(ModelDirError, match=r"head.safetensors cannot be used"):
            export_onnx(directory)

    def test_another_backbone_is_refused(self, tiny_model, other_model, tmp_path):
        directory = tmp_path / "mixed"
        (directory / "backbone").mkdir(parents=True)
        for name in ("config.json", "head.safetensors"):
            (directory / name).write_bytes((tiny_model / name).read_bytes())
        for name in ("backbone/config.json", "backbone/model.safetensors"):
            (directory / name).write_bytes((other_model / name).read_bytes())
        with pytest.raises(FingerprintMismatchError, match="do not belong together"):
            export_onnx(directory)

    def test_a_model_without_what_its_settings_speak_of_is_refused(self, other_model, tmp_path):
        directory = tmp_path / "incomplete"
        shutil.copytree(other_model, directory)
        (directory / "ood.safetensors").write_bytes(b"nothing")
        with pytest.raises(ModelDirError, match=r"ood\.safetensors cannot be used .* run cinemae calibrate"):
            OnnxScorer(directory)
        (directory / "ood.safetensors").write_bytes(distance_bytes(MahalanobisDistance(np.zeros(3), np.eye(3))))
        with pytest.raises(ModelDirError, match=r"an image has 24 values, the file's 3\): restore it or run"):
            OnnxScorer(directory)
        (directory / "ood.safetensors").unlink()
        with pytest.raises(ModelDirError, match=r"ood\.safetensors cannot be used"):
            OnnxScorer(directory)

    def test_a_directory_that_lacks_a_part_is_refused(self, tiny_model, tmp_path):
        with pytest.raises(ModelDirError, match=r"a model directory holds config.json"):
            export_onnx(tmp_path)
        (tmp_path / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
        (tmp_path / "backbone").mkdir()
        for name in ("backbone/config.json", "backbone/model.safetensors"):
            (tmp_path / name).write_bytes((tiny_model / name).read_bytes())
        with pytest.raises(ModelDirError, match=r"head.safetensors"):
            export_onnx(tmp_path)

    def test_a_failed_export_leaves_the_graph_that_was_there(self, tiny_model, tmp_path):
        values = json.loads((tiny_model / "config.json").read_text())
        values["head"]["agg_hidden"] += 1
        (tmp_path / "config.json").write_text(json.dumps(values))
        (tmp_path / "backbone").mkdir()
        for name in ("head.safetensors", "model.onnx", "backbone/config.json", "backbone/model.safetensors"):
            (tmp_path / name).write_bytes((tiny_model / name).read_bytes())
        with pytest.raises(ModelDirError):
            export_onnx(tmp_path)
        assert (tmp_path / "model.onnx").read_bytes() == (tiny_model / "model.onnx").read_bytes()


def test_the_other_model_differs_in_every_setting_that_shapes_the_graph(tiny_model, other_model):
    tiny, other = read_model_config(tiny_model), read_model_config(other_model)
    for part in (MaskConfig, DeviationConfig, LcasConfig):
        of_tiny, of_other = (
            {MaskConfig: c.extractor.mask, DeviationConfig: c.extractor.deviation, LcasConfig: c.lcas}[part]
            for c in (tiny, other)
        )
        for field in dataclasses.fields(part):
            assert getattr(of_tiny, field.name) != getattr(of_other, field.name), field.name


def test_the_graph_names_no_path_of_the_machine_that_exported_it(tiny_model):
    content = (tiny_model / "model.onnx").read_bytes()
    assert b"cinemae/core" not in content
    assert str(tiny_model.parent).encode() not in content
