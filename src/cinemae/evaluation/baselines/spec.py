"""Spec: a ResNet-34 on the log spectrum of each colour (Zhang et al. 2019, WIFS, arXiv 1907.06515).

Upsampling copies the spectrum of what it enlarges to higher frequencies; phases are thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cinemae.evaluation.baselines.network_detector import ResNetConfig, ResNetDetector
from cinemae.evaluation.baselines.networks import LogitResNet

_FLOOR = 1e-3  # the authors', on pixels in 0..255
_TAIL = 0.05


@dataclass(frozen=True)
class SpecConfig(ResNetConfig):
    """The authors' ResNet-34, batches of 16 and 10 epochs; they begin with ImageNet weights and use SGD at 0.01."""

    epochs: int = 10
    batch_size: int = 16
    depths: tuple[int, ...] = (3, 4, 6, 3)
    block: Literal["bottleneck", "basic"] = "basic"


def log_spectrum(pixels: Tensor) -> Tensor:
    """Return log(|DFT| + 0.001) of each channel, scaled so that its 5th and 95th percentile are -1 and 1, cut there.

    Args:
        pixels: (N, C, S, S) in [0, 1]; the transform is taken of 255 times them.

    Returns:
        (N, C, S, S); the constant is in the upper left corner, as in the authors' code.
    """
    logarithm = torch.log(torch.fft.fft2(255 * pixels).abs() + _FLOOR).flatten(2)
    low, high = torch.quantile(logarithm, torch.tensor([_TAIL, 1 - _TAIL]), dim=-1, keepdim=True)
    scaled = 2 * (logarithm - low) / (high - low).clamp(min=1e-6) - 1
    result: Tensor = scaled.clamp(-1, 1).view_as(pixels)
    return result


class SpecNetwork(LogitResNet):
    """A ResNet on the spectra."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, (N,), of pixels (N, 3, S, S) in [0, 1]."""
        return self.logits(log_spectrum(pixels))


class Spec(ResNetDetector[SpecConfig]):
    """The detector.

    Example:
        >>> Spec(SpecConfig(crop=128)).description
        'ResNet of 3+4+6+3 blocks on log spectra of 128x128 crops, from scratch'
    """

    name = "spec"
    what = "{c.network} on log spectra of {c.crops}, {c.origin}"
    config_type = SpecConfig
    network_type = SpecNetwork
