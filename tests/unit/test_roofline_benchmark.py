"""The operations that the benchmark counts by hand, against those that torch counts while it runs."""

import importlib
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, CLIPVisionModel, ViTMAEConfig, ViTMAEForPreTraining

from cinemae.config import ExtractorConfig, HeadConfig
from cinemae.core import linear
from cinemae.core.head import CinemaeHead

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).resolve().parents[2]
WIDTH = 32


@pytest.fixture
def roofline(monkeypatch):
    """`benchmarks.roofline`, which is no part of the package."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.roofline")


@pytest.fixture
def work(monkeypatch):
    """`benchmarks.roofline_work`, likewise."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.roofline_work")


@pytest.fixture
def sizes(work):
    return work.Sizes(width=WIDTH, depth=3, decoder_width=16, decoder_depth=2)


@pytest.fixture
def ways(roofline, monkeypatch):
    monkeypatch.setattr(linear, "_available", lambda: False)  # torch's own products, which it can count
    widths = {"hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 128}
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 2, "decoder_num_attention_heads": 2}
    model = ViTMAEForPreTraining(ViTMAEConfig(**widths, **decoder, decoder_intermediate_size=64)).eval()
    return roofline.method_and_transcription(model, ExtractorConfig())


def count(run, *arguments):
    """Operations of all products; those of attention are counted where torch computes it step by step."""
    kernels = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with torch.no_grad(), kernels, FlopCounterMode(display=False) as counter:
        run(*arguments)
    return counter.get_total_flops()


@pytest.mark.parametrize("images", [1, 3])
def test_the_method_needs_what_it_is_said_to(ways, work, sizes, images):
    found = count(ways["method"], torch.zeros(images, 3, 224, 224))
    works = work.method(sizes, images)
    expected = sum((one.operations for name, one in works.items() if name != "scores"), 0.0)
    head = CinemaeHead(HeadConfig(global_dim=WIDTH)).eval()
    assert found == expected + count(head, torch.zeros(images, WIDTH), torch.zeros(images, 3))


@pytest.mark.parametrize("images", [1, 3])
def test_so_does_the_transcription(ways, work, sizes, images):
    found = count(ways["transcription"], torch.zeros(images, 3, 224, 224))
    assert found == work.transcription(sizes, images).operations


def test_and_clip(work):
    widths = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    model = CLIPVisionModel(CLIPVisionConfig(**widths, patch_size=14)).eval()
    assert count(model, torch.zeros(2, 3, 224, 224)) == work.encoder_alone(WIDTH, 2, 256, 588, 2).operations


def test_the_least_time_is_that_of_the_scarcer_resource(work):
    small = work.product(rows=2, inputs=3, outputs=5)
    assert (small.operations, small.bytes) == (60, 4 * (6 + 15 + 10))
    assert small.seconds(rate=60, bandwidth=1e9) == 1
    assert small.seconds(rate=1e9, bandwidth=62) == 2
    assert small + work.Work(1, 1) == work.Work(61, 125)
