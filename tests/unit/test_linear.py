import copy

import pytest
import torch
from torch import nn

from cinemae.core import linear as module
from cinemae.core.backbone import FrozenMAE
from cinemae.core.linear import OneDnnLinear, use_onednn

CALLS = "mkldnn::_linear_pointwise"


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return nn.Linear(24, 10)


def operators(run):
    """Names of the operators that torch ran."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    return {event.key for event in profile.key_averages()}


@pytest.mark.parametrize("shape", [(24,), (1, 24), (7, 24), (2, 5, 24), (2, 3, 4, 24), (0, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_gives_what_torch_gives(shape, bias):
    plain, inputs = nn.Linear(24, 10, bias=bias), torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(OneDnnLinear.around(plain)(inputs), plain(inputs), rtol=1e-5, atol=1e-5)


def test_inputs_that_are_not_contiguous(plain):
    inputs = torch.randn(3, 24, 6).transpose(1, 2)
    with torch.inference_mode():
        torch.testing.assert_close(OneDnnLinear.around(plain)(inputs), plain(inputs), rtol=1e-5, atol=1e-5)


def test_uses_onednn_where_no_gradient_is_due(plain):
    layer, inputs = OneDnnLinear.around(plain.requires_grad_(False)), torch.randn(7, 24)
    assert CALLS in operators(lambda: layer(inputs))
    assert CALLS not in operators(lambda: plain(inputs))


def test_gradients_are_those_of_torch(plain):
    frozen = OneDnnLinear.around(copy.deepcopy(plain).requires_grad_(False))
    gradients = []
    for layer in (plain, frozen, OneDnnLinear.around(plain)):
        inputs = torch.ones(7, 24, requires_grad=True)
        layer(inputs).square().sum().backward()
        gradients.append(inputs.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_torchs(plain, dtype):
    plain = plain.to(dtype).requires_grad_(False)
    inputs = torch.randn(7, 24, dtype=dtype)
    assert torch.equal(OneDnnLinear.around(plain)(inputs), plain(inputs))


def test_a_torch_without_the_operator_computes_by_itself(plain, monkeypatch):
    monkeypatch.setattr(module, "_available", lambda: False)
    inputs = torch.randn(7, 24)
    assert torch.equal(OneDnnLinear.around(plain)(inputs), plain(inputs))


def test_weights_are_shared_and_keep_their_names():
    model = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.GELU(), nn.Linear(8, 2, bias=False)))
    before = {name: weight.data_ptr() for name, weight in model.state_dict().items()}
    use_onednn(model)
    assert type(model[0]) is type(model[1][1]) is OneDnnLinear
    assert {name: weight.data_ptr() for name, weight in model.state_dict().items()} == before


def test_every_linear_layer_of_a_frozen_backbone_is_replaced(tiny_backbone):
    frozen = FrozenMAE.from_pretrained(tiny_backbone)
    linear = [layer for layer in frozen.modules() if isinstance(layer, nn.Linear)]
    assert len(linear) > 10
    assert {type(layer) for layer in linear} == {OneDnnLinear}


def test_weights_moved_to_another_precision_and_back_are_used(plain):
    layer, inputs = OneDnnLinear.around(plain.requires_grad_(False)), torch.randn(7, 24)
    layer = layer.to(torch.bfloat16).to(torch.float32)
    torch.testing.assert_close(layer(inputs), nn.functional.linear(inputs, layer.weight, layer.bias))


@pytest.mark.parametrize("available", [True, False])
def test_gelu_and_sum_are_those_of_torch(plain, monkeypatch, available):
    monkeypatch.setattr(module, "_available", lambda: available)
    layer, inputs, other = (
        OneDnnLinear.around(plain.requires_grad_(False)),
        torch.randn(2, 7, 24),
        torch.randn(2, 7, 10),
    )
    before = other.clone()
    torch.testing.assert_close(layer.gelu(inputs), nn.functional.gelu(plain(inputs)), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer.plus(inputs, other), plain(inputs) + other, rtol=1e-5, atol=1e-5)
    assert torch.equal(other, before)
    found = operators(lambda: (layer.gelu(inputs), layer.plus(inputs, other)))
    assert bool(found & {"mkldnn::_linear_pointwise.binary", CALLS}) == available


def test_gradients_pass_gelu_and_sum(plain):
    layer = OneDnnLinear.around(plain)
    inputs, other = torch.randn(7, 24, requires_grad=True), torch.randn(7, 10, requires_grad=True)
    layer.plus(inputs, other).square().sum().backward()
    expected = 2 * (plain(inputs) + other).detach()
    torch.testing.assert_close(other.grad, expected)
    layer.gelu(inputs).sum().backward()
    assert inputs.grad.isfinite().all()
