"""What several networks of the baselines are made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw by torch's global random state from a seed, and leave that state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def convolution(channels: int, out: int, stride: int = 1, *, padding: int = 1) -> list[nn.Module]:
    """Return a 3x3 layer without bias, a batch norm and a ReLU."""
    return [nn.Conv2d(channels, out, 3, stride, padding, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
