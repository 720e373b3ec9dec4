"""A converted CLIP against transformers' own, with random weights: from folder and ONNX, and with matrices in int8."""

import dataclasses
import math
import warnings

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from PIL import Image
from safetensors.torch import load_file
from tests.conftest import write_tiny_model
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from cinemae.backbones.clip import clip_to_vit_mae, load_clip_onnx
from cinemae.backbones.convert import convert_encoder
from cinemae.backbones.pretrain import Budget, pretrain
from cinemae.backbones.pretrain_start import Start
from cinemae.config import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, GlobalFeatureConfig, ImageConfig
from cinemae.core.backbone import FrozenMAE
from cinemae.core.checkpoint import load_pretrained_folder, mae_around, save_pretrained_folder
from cinemae.core.masking import mask_noise
from cinemae.core.rounded import round_matrix, widen_matrix
from cinemae.errors import CheckpointError, ConfigError
from cinemae.evaluation.precision import export_int8
from cinemae.models.export import export_onnx
from cinemae.models.scorers import OnnxScorer, TorchScorer
from cinemae.pretrain_config import PretrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "image_size": 64,
    "patch_size": 16,
}
DECODER = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
TOLERANCE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture
def clip():
    """Weights far from their start, so that each of them shows."""
    torch.manual_seed(0)
    model = CLIPVisionModel(CLIPVisionConfig(**SMALL)).eval()
    for name, weight in model.named_parameters():
        nn.init.normal_(weight, mean=0.5 if "norm.weight" in name or "norm1.weight" in name else 0.0, std=0.1)
    return model


@pytest.fixture
def photographs():
    """Two images of values from 0 to 1."""
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def normalised(images, mean, std):
    return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def tokens_of(folder, images, layer):
    """[CLS] after a layer, and mean and deviation of the patches, of images normalised as for every backbone."""
    encoder = load_pretrained_folder(str(folder), encoder_only=True)
    pixel_values = normalised(images, IMAGENET_MEAN, IMAGENET_STD)
    statistics = ("cls", "mean", "std")
    return FrozenMAE(encoder).global_feature(pixel_values, cls_layers=(layer,), token_statistics=statistics)


def expected_tokens(clip, images, layer):
    with torch.inference_mode():
        states = clip(normalised(images, CLIP_MEAN, CLIP_STD), output_hidden_states=True).hidden_states
    tokens = states[layer]
    return torch.cat([tokens[:, 0], tokens[:, 1:].mean(1), tokens[:, 1:].std(1)], 1)


def export(clip, path):
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.vision_model = clip

        def forward(self, pixel_values):
            return self.vision_model(pixel_values).pooler_output

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sample = torch.zeros(1, 3, 64, 64)
        torch.onnx.export(Encoder().eval(), (sample,), path, dynamo=False, input_names=["pixel_values"])
    return path


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_tokens_after_every_layer_are_those_of_clip(tmp_path, clip, photographs, layer):
    clip.save_pretrained(tmp_path / "clip")
    model = convert_encoder(str(tmp_path / "clip"), tmp_path / "backbone", image_size=64)
    assert model.config.num_hidden_layers == 3
    found = tokens_of(tmp_path / "backbone", photographs, layer)
    torch.testing.assert_close(found, expected_tokens(clip, photographs, layer), **TOLERANCE)


def test_a_quarter_of_the_patches_is_encoded_as_transformers_own_forward_does(tmp_path, clip, photographs):
    """Masked passes of FrozenMAE against Hugging Face's forward of the same model."""
    mae = mae_around(clip_to_vit_mae(clip, 64), PretrainConfig(image_size=64, patch_size=16, **DECODER)).eval()
    save_pretrained_folder(mae, tmp_path)
    noise, pixel_values = torch.from_numpy(mask_noise(0, 2, 16)), normalised(photographs, IMAGENET_MEAN, IMAGENET_STD)
    with torch.inference_mode():
        expected = torch.stack([mae(pixel_values, noise=row.expand(2, -1)).logits for row in noise], 1)
        found, _ = FrozenMAE.from_pretrained(tmp_path).reconstruct(pixel_values, noise)
    torch.testing.assert_close(found, expected, **TOLERANCE)


def test_other_sizes_interpolate_the_position_embedding_as_clip_does(tmp_path, clip):
    clip.save_pretrained(tmp_path / "clip")
    convert_encoder(str(tmp_path / "clip"), tmp_path / "backbone", image_size=96, layers=2)
    images = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        pixel_values = normalised(images, CLIP_MEAN, CLIP_STD)
        states = clip(pixel_values, output_hidden_states=True, interpolate_pos_encoding=True).hidden_states
    found = tokens_of(tmp_path / "backbone", images, 2)
    torch.testing.assert_close(found[:, :128], states[2][:, 0], **TOLERANCE)


def test_an_onnx_file_gives_the_same_weights(tmp_path, clip, photographs):
    found = load_clip_onnx(export(clip, tmp_path / "clip.onnx")).state_dict()
    for name, weight in clip.state_dict().items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-6)
    convert_encoder(str(tmp_path / "clip.onnx"), tmp_path / "backbone", image_size=64)
    found = tokens_of(tmp_path / "backbone", photographs, 3)
    torch.testing.assert_close(found, expected_tokens(clip, photographs, 3), **TOLERANCE)


def test_matrices_in_integers_of_an_onnx_file_are_widened(tmp_path, clip):
    """As ONNX Runtime's dynamic quantisation writes them, one scale a column."""
    export(clip, tmp_path / "clip.onnx")
    quantized = tmp_path / "clip.int8.onnx"
    quantize_dynamic(
        tmp_path / "clip.onnx",
        quantized,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    found = load_clip_onnx(quantized).state_dict()
    for name, weight in clip.state_dict().items():
        step = weight.abs().amax(-1, keepdim=True) / 127 if weight.ndim == 2 else torch.tensor(1e-6)
        assert ((found[name] - weight).abs() <= 0.51 * step + 1e-6).all(), name


def test_an_onnx_file_that_computes_otherwise_is_refused(tmp_path, clip):
    """Of a CLIP with another activation, which no tensor tells."""
    clip.save_pretrained(tmp_path / "clip")
    other = CLIPVisionModel.from_pretrained(tmp_path / "clip", hidden_act="relu").eval()
    with pytest.raises(CheckpointError, match="computes another feature than the file"):
        load_clip_onnx(export(other, tmp_path / "clip.onnx"))


def test_int8_stores_a_quarter_and_computes_with_the_rounded_values(tmp_path, clip, photographs):
    clip.save_pretrained(tmp_path / "clip")
    for name, int8 in (("whole", False), ("int8", True)):
        convert_encoder(str(tmp_path / "clip"), tmp_path / name, image_size=64, int8=int8)
    sizes = {name: (tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "int8")}
    assert sizes["int8"] < 0.4 * sizes["whole"]  # of so small a model much is not matrices
    stored = load_file(tmp_path / "int8" / "model.safetensors")
    integers = stored["vit.encoder.layer.0.intermediate.dense.weight"]
    assert (integers.dtype, int(integers.abs().max())) == (torch.int8, 64)
    matrix = "vit.layers.0.mlp.fc1.weight"
    weights = load_pretrained_folder(str(tmp_path / "int8"), encoder_only=True).state_dict()
    original = clip.state_dict()["encoder.layers.0.mlp.fc1.weight"]
    torch.testing.assert_close(weights[matrix], widen_matrix(*round_matrix(original)), rtol=0, atol=0)
    assert ((weights[matrix] - original).abs() <= 0.501 * original.abs().amax(1, keepdim=True) / 64).all()
    found = tokens_of(tmp_path / "int8", photographs, 3)
    expected = expected_tokens(clip, photographs, 3)
    assert torch.cosine_similarity(found, expected).min() > 0.99


@pytest.fixture
def in_integers(tmp_path, clip):
    """Folders of the encoder in integers, and of the backbone that it is with a decoder trained for a step."""
    clip.save_pretrained(tmp_path / "clip")
    convert_encoder(str(tmp_path / "clip"), tmp_path / "encoder", image_size=64, int8=True)
    pictures = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(pictures):
        noise = np.random.default_rng(number).integers(0, 256, (80, 80, 3))
        Image.fromarray(noise.astype(np.uint8)).save(path)
    start = Start(encoder=str(tmp_path / "encoder"), freeze_encoder=True)
    config = PretrainConfig(**DECODER, batch_size=2)
    pretrain(pictures, tmp_path / "backbone", config, Budget(steps=1), start=start)
    return tmp_path / "encoder", tmp_path / "backbone"


def test_a_frozen_encoder_in_integers_stays_so_beside_its_decoder(in_integers):
    before, after = (load_file(folder / "model.safetensors") for folder in in_integers)
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert before.keys() == {name for name in after if name.startswith("vit.")}


def test_both_graphs_of_a_model_read_the_integers_of_its_backbone(in_integers, tmp_path):
    names = ("hidden_size", "num_attention_heads", "image_size", "patch_size")
    sizes = PretrainConfig(**DECODER, **{name: SMALL[name] for name in names}, num_hidden_layers=3)
    model = write_tiny_model(
        tmp_path / "model",
        image=dataclasses.replace(ImageConfig.of_size(64), views="whole_native"),
        view_pooling="concat",
        backbone=sizes,
        backbone_folder=in_integers[1],
        global_feature=GlobalFeatureConfig(cls_layers=(2,), token_statistics=("cls", "mean", "std")),
    )
    export_onnx(model)
    pictures = [str(tmp_path / "*.png")]
    export_int8(model, pictures, pictures)  # as both classes, so that the AUC is 0.5 before and after
    for name in ("model.onnx", "model.int8.onnx"):
        held = onnx.load(model / name, load_external_data=False).graph.initializer
        matrices = [weight for weight in held if weight.data_type == onnx.TensorProto.INT8 and len(weight.dims) == 2]
        elsewhere = [weight for weight in matrices if weight.data_location == onnx.TensorProto.EXTERNAL]
        assert len(elsewhere) == 3 * 6, "query, key, value, output and both of the MLP, of each layer"
        inside, pointed_to = (
            sum(math.prod(weight.dims) for weight in matrices if (weight in elsewhere) == there)
            for there in (False, True)
        )
        assert inside < pointed_to / 10, "the decoder's, which is small"
    images = np.random.default_rng(0).normal(size=(3, 2, 3, 64, 64)).astype(np.float32)
    exact, graph, int8 = (
        scorer.score(images)
        for scorer in (TorchScorer(model, device="cpu"), OnnxScorer(model), OnnxScorer(model, precision="int8"))
    )
    np.testing.assert_allclose(graph.prob_fake, exact.prob_fake, atol=1e-4)
    np.testing.assert_allclose(int8.prob_fake, exact.prob_fake, atol=0.05)
    assert abs(int8.prob_fake - exact.prob_fake).max() > 0


def test_both_roundings_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="float16 or to int8: give one of the two"):
        convert_encoder("clip", tmp_path, float16=True, int8=True)


def test_more_layers_than_there_are_and_a_size_that_does_not_fit_are_refused(tmp_path, clip):
    clip.save_pretrained(tmp_path / "clip")
    with pytest.raises(ConfigError, match="3 layers to keep"):
        convert_encoder(str(tmp_path / "clip"), tmp_path / "backbone", layers=4)
    with pytest.raises(ConfigError, match="multiple of the patch size, 16"):
        convert_encoder(str(tmp_path / "clip"), tmp_path / "backbone", image_size=70)
