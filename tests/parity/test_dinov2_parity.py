"""A converted DINOv2 against transformers' own, with random weights: whole, after each layer, from folder and ONNX."""

import json
import warnings

import numpy as np
import onnx
import pytest
import torch
from benchmarks import starter_features
from onnx import numpy_helper
from safetensors.torch import load_file
from torch import nn
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel, ViTMAEModel

from cinemae.backbones.convert import convert_encoder, load_dinov2, to_vit_mae
from cinemae.backbones.dinov2_onnx import load_dinov2_onnx
from cinemae.config import ExtractorConfig, GlobalFeatureConfig, ImageConfig
from cinemae.core.backbone import FrozenMAE
from cinemae.core.checkpoint import load_pretrained_folder, mae_around, save_pretrained_folder
from cinemae.core.features import FeatureExtractor
from cinemae.core.masking import mask_noise, plan_masks
from cinemae.errors import CheckpointError, ConfigError
from cinemae.pretrain_config import PretrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"hidden_size": 128, "num_attention_heads": 2, "num_hidden_layers": 3, "mlp_ratio": 4}
SIZES = {
    "small": SMALL,
    "base": {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12},
}
DECODER = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
TOLERANCE = {"rtol": 0, "atol": 1e-4}


def random_dinov2(image_size=70, **sizes):
    """Weights far from their start, so that each of them shows; LayerScale other than 1 above all."""
    torch.manual_seed(0)
    model = Dinov2Model(Dinov2Config(**(sizes or SMALL), image_size=image_size, patch_size=14)).eval()
    for name, weight in model.named_parameters():
        nn.init.normal_(weight, mean=0.5 if "lambda" in name or name.endswith("norm.weight") else 0.0, std=0.05)
    return model


def pixels(size, n=2):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def tokens_after_each_layer(folder, pixel_values):
    """[CLS] and patches in their order, by transformers' own ViTMAE."""
    model = ViTMAEModel.from_pretrained(folder, mask_ratio=0.0).eval()
    length = model.embeddings.patch_embeddings.num_patches
    with torch.inference_mode():
        in_order = torch.arange(length).float().expand(len(pixel_values), -1)
        found = model(pixel_values, noise=in_order, output_hidden_states=True)
    return found.hidden_states, found.last_hidden_state


def export(model, path, size, *, dynamo, dynamic=False, opset=20):
    class Tokens(nn.Module):
        """Prefixes the names, as a network around an encoder does, and puts something behind it."""

        def __init__(self):
            super().__init__()
            self.backbone, self.head = model, nn.Linear(model.config.hidden_size, 3)

        def forward(self, pixel_values):
            return self.head(self.backbone(pixel_values).last_hidden_state)

    axes = {"pixel_values": {0: "n", 2: "h", 3: "w"}} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Tokens().eval(),
            (pixels(size),),
            path,
            dynamo=dynamo,
            input_names=["pixel_values"],
            dynamic_axes=axes,
            opset_version=opset,
        )
    return path


@pytest.mark.parametrize(
    ("size", "trained_at", "image_size"),
    [
        ("small", 70, 70),
        ("small", 70, 56),
        ("small", 518, 224),
        ("small", 518, 252),
        pytest.param("base", 518, 224, marks=pytest.mark.slow),
    ],
)
def test_tokens_after_every_layer_are_those_of_dinov2(tmp_path, size, trained_at, image_size):
    model = random_dinov2(trained_at, **SIZES[size])
    model.save_pretrained(tmp_path / "dinov2")
    convert_encoder(str(tmp_path / "dinov2"), tmp_path / "backbone", image_size=image_size)
    pixel_values = pixels(image_size)
    with torch.inference_mode():
        expected = model(pixel_values, output_hidden_states=True)
    layers, last = tokens_after_each_layer(tmp_path / "backbone", pixel_values)
    torch.testing.assert_close(last, expected.last_hidden_state, **TOLERANCE)
    assert len(layers) == len(expected.hidden_states)
    for found, wanted in zip(layers, expected.hidden_states, strict=True):
        torch.testing.assert_close(found, wanted, **TOLERANCE)


def test_a_quarter_of_the_patches_is_encoded_and_the_rest_redrawn_as_transformers_does(tmp_path):
    """16x16 patches of 14: FrozenMAE's packed pass, K masks, several layers' [CLS], against separate calls."""
    dinov2 = random_dinov2(518)
    mae = mae_around(to_vit_mae(dinov2, 224), PretrainConfig(image_size=224, patch_size=14, **DECODER)).eval()
    save_pretrained_folder(mae, tmp_path)
    pixel_values, noise = pixels(224), torch.from_numpy(mask_noise(0, 2, 256))
    with torch.no_grad():
        separate = [mae(pixel_values, noise=row.expand(2, -1)) for row in noise]
        expected = dinov2(pixel_values, output_hidden_states=True)
        backbone = FrozenMAE.from_pretrained(tmp_path)
        global_feature, pred, mask = backbone.encode_and_reconstruct(pixel_values, noise)
        joined, hidden = backbone.encode_and_redraw(pixel_values, plan_masks(noise, 0.75), cls_layers=(1, 2))
    assert (backbone.patch_size, backbone.num_patches, backbone.patch_dim) == (14, 256, 588)
    assert mask.sum(-1).unique().tolist() == [192]
    torch.testing.assert_close(global_feature, expected.pooler_output, **TOLERANCE)
    torch.testing.assert_close(pred, torch.stack([found.logits for found in separate], 1), **TOLERANCE)
    of_layers = [dinov2.layernorm(expected.hidden_states[number][:, 0]) for number in (1, 2)]
    torch.testing.assert_close(joined, torch.cat(of_layers, -1), **TOLERANCE)
    assert hidden.shape == (2, 2, 192, 588)


def test_every_choice_of_layers_is_joined_after_the_last_norm(tmp_path):
    """As DINOv2's get_intermediate_layers(norm=True): the norm of the end, whichever layer."""
    dinov2 = random_dinov2()
    mae = mae_around(to_vit_mae(dinov2, 70), PretrainConfig(image_size=70, patch_size=14, **DECODER))
    pixel_values = pixels(70)
    with torch.no_grad():
        states = dinov2(pixel_values, output_hidden_states=True).hidden_states
        backbone = FrozenMAE(mae)
        plain = FeatureExtractor(backbone, ExtractorConfig(image=ImageConfig(size=70)))(pixel_values)
        for layers in [(1,), (2,), (3,), (1, 3), (1, 2), (1, 2, 3)]:
            config = ExtractorConfig(image=ImageConfig(size=70), global_feature=GlobalFeatureConfig(layers))
            extractor = FeatureExtractor(backbone, config)
            found = extractor(pixel_values)
            wanted = torch.cat([dinov2.layernorm(states[number][:, 0]) for number in layers], -1)
            torch.testing.assert_close(found.global_feature, wanted, **TOLERANCE)
            torch.testing.assert_close(backbone.global_feature(pixel_values, cls_layers=layers), wanted, **TOLERANCE)
            torch.testing.assert_close(found.deviation, plain.deviation, equal_nan=True)  # masked passes go to the end
            assert extractor.global_dim == found.global_feature.shape[-1]


@pytest.mark.parametrize("names", [("cls", "mean", "std"), ("std",), ("mean", "cls")])
@pytest.mark.parametrize("layers", [(), (1, 3), (2,)])
def test_statistics_of_tokens_are_joined_layer_by_layer_as_they_leave_it(names, layers):
    """As `benchmarks.starter_features`, which the design was chosen with, takes them: no norm behind."""
    dinov2 = random_dinov2()
    backbone = FrozenMAE(mae_around(to_vit_mae(dinov2, 224), PretrainConfig(image_size=224, patch_size=14, **DECODER)))
    pixel_values = pixels(224)
    with torch.no_grad():
        states = dinov2(pixel_values, output_hidden_states=True).hidden_states
        wanted = [
            starter_features.token_statistics(states[number])[:, ("cls", "mean", "std").index(name)]
            for number in layers or (3,)
            for name in names
        ]
        plain = FeatureExtractor(backbone, ExtractorConfig())(pixel_values)
        extractor = FeatureExtractor(backbone, ExtractorConfig(global_feature=GlobalFeatureConfig(layers, names)))
        found = extractor(pixel_values)
        alone = backbone.global_feature(pixel_values, cls_layers=layers, token_statistics=names)
    assert extractor.global_dim == found.global_feature.shape[-1]
    torch.testing.assert_close(found.global_feature, torch.cat(wanted, -1), **TOLERANCE)
    torch.testing.assert_close(alone, found.global_feature, **TOLERANCE)
    torch.testing.assert_close(found.deviation, plain.deviation, equal_nan=True)
    torch.testing.assert_close(found.fidelity, plain.fidelity, equal_nan=True)


def test_later_layers_are_left_out_and_the_earlier_compute_as_before(tmp_path):
    dinov2 = random_dinov2()
    dinov2.save_pretrained(tmp_path / "dinov2")
    convert_encoder(str(tmp_path / "dinov2"), tmp_path / "backbone", image_size=70, layers=2)
    assert json.loads((tmp_path / "backbone" / "origin.json").read_text())["layers"] == 2
    assert not any("layers.2" in name for name in load_file(tmp_path / "backbone" / "model.safetensors"))
    pixel_values = pixels(70)
    with torch.no_grad():
        expected = dinov2(pixel_values, output_hidden_states=True).hidden_states
        layers, last = tokens_after_each_layer(tmp_path / "backbone", pixel_values)
    assert len(layers) == 3
    for found, wanted in zip(layers, expected[:3], strict=True):
        torch.testing.assert_close(found, wanted, **TOLERANCE)
    torch.testing.assert_close(last, dinov2.layernorm(expected[2]), **TOLERANCE)


@pytest.mark.parametrize("layers", [0, 4])
def test_layers_that_are_not_there_to_keep_are_refused(layers):
    with pytest.raises(ConfigError, match=f"has 3 layers to keep, at least 1 of them, got {layers}"):
        to_vit_mae(random_dinov2(), 70, layers)


def test_a_layer_that_is_not_there_is_refused():
    mae = mae_around(to_vit_mae(random_dinov2(), 70), PretrainConfig(image_size=70, patch_size=14, **DECODER))
    config = ExtractorConfig(image=ImageConfig(size=70), global_feature=GlobalFeatureConfig((2, 4)))
    with pytest.raises(ConfigError, match="encoder has 3 layers, cls_layers names layer 4"):
        FeatureExtractor(FrozenMAE(mae), config)


@pytest.mark.parametrize(
    ("dynamo", "dynamic", "opset"), [(False, False, 20), (False, True, 14), (False, True, 20), (True, False, 20)]
)
def test_an_onnx_file_gives_the_same_encoder(tmp_path, dynamo, dynamic, opset):
    """Whose matrices are transposed and nameless, and whose position embedding may be folded into constants."""
    model = random_dinov2()
    path = export(model, tmp_path / "model.onnx", 70, dynamo=dynamo, dynamic=dynamic, opset=opset)
    names = {tensor.name for tensor in onnx.load(path).graph.initializer}
    assert "backbone.encoder.layer.0.mlp.fc1.weight" not in names  # the test would show nothing
    found = load_dinov2_onnx(path).state_dict()
    for name, weight in found.items():
        torch.testing.assert_close(weight, model.state_dict()[name], msg=name)
    convert_encoder(str(path), tmp_path / "backbone", image_size=56)
    with torch.inference_mode():
        expected = model(pixels(56)).last_hidden_state
    torch.testing.assert_close(tokens_after_each_layer(tmp_path / "backbone", pixels(56))[1], expected, **TOLERANCE)


class TestOnnxFilesThatAreRefused:
    @pytest.fixture
    def graph(self, tmp_path):
        return onnx.load(export(random_dinov2(), tmp_path / "model.onnx", 70, dynamo=False))

    @staticmethod
    def _refused(graph, tmp_path, sentence):
        onnx.save(graph, tmp_path / "changed.onnx")
        with pytest.raises(CheckpointError, match=sentence):
            convert_encoder(str(tmp_path / "changed.onnx"), tmp_path / "backbone", image_size=70)
        assert not (tmp_path / "backbone").exists()

    def test_no_onnx(self, tmp_path):
        (tmp_path / "text.onnx").write_text("no graph")
        with pytest.raises(CheckpointError, match="could not be read as an ONNX file"):
            convert_encoder(str(tmp_path / "text.onnx"), tmp_path / "backbone")
        with pytest.raises(CheckpointError, match="could not be read as an ONNX file"):
            convert_encoder(str(tmp_path / "absent.onnx"), tmp_path / "backbone")

    def test_another_network(self, tiny_model, tmp_path):
        with pytest.raises(
            CheckpointError,
            match="is not: .* tensors are called embeddings.patch_embeddings.projection.weight|is not: its",
        ):
            convert_encoder(str(tiny_model / "model.onnx"), tmp_path / "backbone")

    def test_a_graph_that_computes_something_else(self, graph, tmp_path):
        """All tensors are there, and what is done with one of them is not what DINOv2 does."""
        node = next(node for node in graph.graph.node if node.op_type == "Gelu")
        node.op_type = "Relu"
        del node.attribute[:]
        self._refused(graph, tmp_path, "computes other tokens than the file")

    def test_a_missing_bias(self, graph, tmp_path):
        name = "backbone.encoder.layer.1.mlp.fc2.bias"
        for tensor in graph.graph.initializer:
            tensor.name = "nameless" if tensor.name == name else tensor.name
        for node in graph.graph.node:
            node.input[:] = ["nameless" if given == name else given for given in node.input]
        self._refused(graph, tmp_path, "2 tensors could not be told, encoder.layer.1.mlp.fc2.bias first")

    def test_registers(self, graph, tmp_path):
        registers = numpy_helper.from_array(np.zeros((1, 4, 128), np.float32), "backbone.embeddings.register_tokens")
        graph.graph.initializer.append(registers)
        self._refused(graph, tmp_path, "has register tokens")


class TestFoldersThatAreRefused:
    def test_registers(self, tmp_path):
        Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SMALL, image_size=70)).save_pretrained(tmp_path)
        with pytest.raises(CheckpointError, match="has register tokens beside them, which would be lost"):
            load_dinov2(str(tmp_path))

    def test_another_model(self, tmp_path):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit_mae"}))
        with pytest.raises(CheckpointError, match="has model_type 'vit_mae'"):
            load_dinov2(str(tmp_path))

    def test_nothing(self, tmp_path):
        with pytest.raises(CheckpointError, match="could not be loaded as one"):
            load_dinov2(str(tmp_path))

    def test_the_giant(self):
        with pytest.raises(CheckpointError, match="use small, base or large"):
            to_vit_mae(random_dinov2(**SMALL, use_swiglu_ffn=True), 70)

    def test_a_size_between(self):
        with pytest.raises(ConfigError, match="image_size must be a multiple of the patch size, 14, got 100"):
            to_vit_mae(random_dinov2(), 100)


def test_a_converted_encoder_alone_is_no_backbone(tmp_path):
    random_dinov2().save_pretrained(tmp_path / "dinov2")
    convert_encoder(str(tmp_path / "dinov2"), tmp_path / "backbone", image_size=70)
    with pytest.raises(CheckpointError, match="holds the encoder only .* cinemae pretrain --encoder"):
        FrozenMAE.from_pretrained(tmp_path / "backbone")
    assert json.loads((tmp_path / "backbone" / "origin.json").read_text())["source"] == "dinov2"


def test_float16_is_what_float16_holds(tmp_path):
    random_dinov2().save_pretrained(tmp_path / "dinov2")
    convert_encoder(str(tmp_path / "dinov2"), tmp_path / "backbone", image_size=70, float16=True)
    exact = to_vit_mae(load_dinov2(str(tmp_path / "dinov2")), 70).vit.state_dict()
    rounded = load_pretrained_folder(str(tmp_path / "backbone"), encoder_only=True).vit.state_dict()
    assert all(torch.equal(rounded[name], weight.half().float()) for name, weight in exact.items())
