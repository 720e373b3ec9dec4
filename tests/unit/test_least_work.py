"""Only what the answer needs is computed: rows of every matrix product, counted, in torch and in the exported graph."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cinemae.config import ExtractorConfig, ImageConfig, MaskConfig
from cinemae.core import linear
from cinemae.core.backbone import FrozenMAE, MaskedAutoencoder, hash_weights
from cinemae.core.checkpoint import new_mae
from cinemae.core.features import FeatureExtractor
from cinemae.core.masking import mask_noise, plan_masks
from cinemae.errors import CheckpointError
from cinemae.models.graph_weights import load_graph
from cinemae.models.scorers import TorchScorer
from cinemae.pretrain_config import PretrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")

N, K, L, V = 3, 2, 16, 4
WHOLE, MASKED, DECODED = N * (1 + L), N * K * (1 + V), N * K * (1 + L)
ENCODER_ROWS = [WHOLE + MASKED] * 6 + [N + MASKED, *[WHOLE + MASKED] * 2, *[N + MASKED] * 3]
DECODER_ROWS = [MASKED, *[DECODED] * 6, N * K * (L - V), *[DECODED] * 2, *[N * K * (L - V)] * 4]
"""Of q, k, v, output, fc1, fc2 in each layer: the last needs keys and values of all tokens, the rest of those asked."""


class Recorder(TorchDispatchMode):
    """Keeps the name of each operator that torch runs, and the rows of each matrix product."""

    def __init__(self):
        super().__init__()
        self.names, self.rows = [], []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.names.append(name)
        if name == "linear":
            self.rows.append(args[0].shape[:-1].numel())
        return function(*args, **(kwargs or {}))


@pytest.fixture
def backbone(monkeypatch):
    monkeypatch.setattr(linear, "_available", lambda: False)  # torch's own products, which can be recorded
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "decoder_hidden_size": 8, "decoder_num_attention_heads": 2}
    layers = {"num_hidden_layers": 2, "decoder_num_hidden_layers": 2}
    return FrozenMAE(new_mae(PretrainConfig(image_size=32, patch_size=8, **sizes, **layers)))


@pytest.fixture
def extractor(backbone):
    return FeatureExtractor(backbone, ExtractorConfig(image=ImageConfig(size=32, resize_to=40), mask=MaskConfig()))


@pytest.fixture
def pixel_values():
    return torch.randn(N, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def record(run, *args):
    with torch.inference_mode(), Recorder() as recorder:
        run(*args)
    return recorder


def test_patches_are_embedded_once_and_the_last_layers_compute_what_is_read(extractor, pixel_values):
    recorder = record(extractor, pixel_values)
    assert recorder.names.count("conv2d") == 1
    assert recorder.rows == ENCODER_ROWS + DECODER_ROWS


def test_every_patch_is_redrawn_only_for_those_who_ask_for_all(backbone, pixel_values):
    asked = record(backbone.encode_and_redraw, pixel_values, plan_masks(torch.from_numpy(mask_noise(0, K, L)), 0.75))
    everything = record(backbone.encode_and_reconstruct, pixel_values, mask_noise(0, K, L))
    assert asked.rows[-1] == N * K * (L - V)
    assert everything.rows[-1] == N * K * L


def test_a_global_feature_costs_one_row_an_image_in_the_last_layer(backbone, pixel_values):
    assert record(backbone.global_feature, pixel_values).rows == [WHOLE] * 6 + [N, WHOLE, WHOLE, N, N, N]


def test_layers_beyond_the_last_whose_cls_is_read_see_the_masked_passes_alone(backbone, pixel_values):
    plan = plan_masks(torch.from_numpy(mask_noise(0, K, L)), 0.75)
    asked = record(lambda: backbone.encode_and_redraw(pixel_values, plan, cls_layers=(1,)))
    assert asked.rows[:12] == [N + MASKED, *[WHOLE + MASKED] * 2, *[N + MASKED] * 3] + [MASKED] * 6
    alone = record(lambda: backbone.global_feature(pixel_values, cls_layers=(1,)))
    assert alone.rows == [N, WHOLE, WHOLE, N, N, N]


def test_redrawn_patches_are_those_of_the_whole_reconstruction(backbone, pixel_values):
    noise = mask_noise(5, K, L)
    plan = plan_masks(torch.from_numpy(noise), 0.75)
    with torch.inference_mode():
        global_feature, pred, mask = backbone.encode_and_reconstruct(pixel_values, noise)
        alone = backbone.encode_and_redraw(pixel_values, plan)
    assert torch.equal(plan.mask.expand_as(mask), mask)
    for row, (hidden, visible) in enumerate(zip(plan.hidden, plan.visible, strict=True)):
        assert mask[0, row, hidden].eq(1).all()
        assert mask[0, row, visible].eq(0).all()
        torch.testing.assert_close(alone[1][:, row], pred[:, row, hidden], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(alone[0], global_feature, rtol=1e-5, atol=1e-5)


def test_the_masks_of_the_configuration_are_sorted_once(extractor, pixel_values):
    assert "argsort" not in record(extractor, pixel_values).names
    given = record(extractor, pixel_values, torch.from_numpy(mask_noise(1, K, L)))
    assert "argsort" in given.names


def test_a_scorer_uses_the_sorted_masks(tiny_model):
    scorer = TorchScorer(tiny_model, device="cpu")
    images = np.zeros((2, 1, 3, 32, 32), np.float32)
    assert "argsort" not in record(scorer.score, images).names
    assert "argsort" in record(lambda: scorer.score(images, mask_seed=5)).names


def test_the_plan_follows_the_extractor_but_is_no_weight(extractor):
    assert not {"visible", "hidden", "restore"} & set(extractor.state_dict())
    assert extractor.to("meta").hidden.device.type == "meta"


def test_the_exported_graph_computes_no_more(tiny_model):
    """The tiny model has two layers in its encoder and one in its decoder; the head's products follow."""
    graph = load_graph(tiny_model / "model.onnx")
    weights = {weight.name for weight in graph.graph.initializer}
    nodes = [node for node in graph.graph.node if node.op_type in ("Gemm", "MatMul")]
    products = [node.output[0] for node in nodes if weights & set(node.input)]
    assert sum(node.op_type == "Conv" for node in graph.graph.node) == 1
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in products)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = session.run(products, {"pixel_values": np.zeros((N, 3, 32, 32), np.float32)})
    rows = [output.size // output.shape[-1] for output in outputs]
    expected = [*ENCODER_ROWS, MASKED, *DECODER_ROWS[-7:]]
    assert rows[: len(expected)] == expected


def test_the_callers_model_stays_as_it_was():
    def describe():
        weights = [(name, weight.dtype, weight.requires_grad) for name, weight in model.named_parameters()]
        return hash_weights(model), weights, [(type(part), part.training) for part in model.modules()]

    model = new_mae(PretrainConfig(image_size=32, patch_size=8, hidden_size=16, num_attention_heads=2)).train()
    before = describe()
    frozen = FrozenMAE(model).to(torch.bfloat16)
    assert describe() == before
    with torch.no_grad():
        model.decoder.mask_token.add_(1)
    assert frozen.content_hash == before[0]
    assert not any(weight.requires_grad for weight in frozen.parameters())


def test_the_hash_of_weights_that_are_trained_follows_them():
    model = new_mae(PretrainConfig(image_size=32, patch_size=8, hidden_size=16, num_attention_heads=2))
    trained, frozen = MaskedAutoencoder(model), FrozenMAE(model)
    assert trained.content_hash == frozen.content_hash
    with torch.no_grad():
        trained.model.decoder.mask_token.add_(1)
    assert trained.content_hash == hash_weights(trained.model) != frozen.content_hash


def test_another_activation_is_refused():
    model = new_mae(PretrainConfig(image_size=32, patch_size=8, hidden_size=16, num_attention_heads=2))
    model.config.hidden_act = "relu"
    with pytest.raises(CheckpointError, match='has hidden_act "gelu", or CLIP.s "quick_gelu", this one .relu.'):
        FrozenMAE(model)
