"""A part of a model run in integers gives what it gives in float32, but for the rounding, for any number of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.starter_int8 import in_int8
from torch import Tensor, nn

pytestmark = pytest.mark.usefixtures("one_thread")


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 64), nn.Linear(64, 5)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.first(images.flatten(1)).relu()
        return hidden, self.second(hidden)


def test_integers_give_nearly_what_float32_gives_for_any_number_of_images() -> None:
    torch.manual_seed(0)
    module = TwoOutputs().eval()
    run = in_int8(module, (3, 2, 2))
    images = torch.rand(5, 3, 2, 2)
    with torch.inference_mode():
        expected = [values.numpy() for values in module(images)]
    found = run(images)
    assert [values.shape for values in found] == [(5, 64), (5, 5)]
    for values, exact in zip(found, expected, strict=True):
        np.testing.assert_allclose(values, exact, atol=0.05)
        assert not np.allclose(values, exact, atol=1e-6), "it is rounded"
    np.testing.assert_array_equal(run(images[:2])[1], found[1][:2])  # two at a time, whatever comes along
