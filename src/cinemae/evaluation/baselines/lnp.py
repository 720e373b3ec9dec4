"""LNP: a ResNet-50 on the noise that a denoiser takes away and on its spectrum (Liu et al. 2022, ECCV).

The authors' denoiser is CycleISP; no package carries its weights, so a Wiener filter (Lim 1990) stands in for it. That
is a weaker picture of the camera's noise, and the description says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from cinemae.evaluation.baselines.network_detector import ResNetConfig, ResNetDetector
from cinemae.evaluation.baselines.networks import LogitResNet, ResNetShape

_AMPLITUDE_POWER = 0.8
_GREY = (0.3, 0.59, 0.11)
_WINDOW = 5
_TINY = 1e-8


@dataclass(frozen=True)
class LnpConfig(ResNetConfig):
    """Trained as CNNSpot is, from whose code the authors' comes, without its alterations."""

    epochs: int = 15
    batch_size: int = 64
    decay: float = 0.1


def wiener_residual(pixels: Tensor, window: int = _WINDOW) -> Tensor:
    """Return what a Wiener filter takes away from each channel, its noise the mean of the local variances.

    The same as ``x - scipy.signal.wiener(x, window)``, channel by channel.

    Args:
        pixels: (N, C, H, W).
        window: Side of the local square, odd; beyond the edge there are zeros.
    """
    mean = avg_pool2d(pixels, window, 1, window // 2)
    variance = avg_pool2d(pixels**2, window, 1, window // 2) - mean**2
    noise = variance.mean((2, 3), keepdim=True)
    kept = torch.where(variance < noise, 0.0, 1 - noise / variance.clamp(min=1e-12))
    return (1 - kept) * (pixels - mean)


def noise_channels(noise: Tensor) -> Tensor:
    """Return noise (N, 3, S, S) with amplitude to the power 0.8 and phase of its spectrum behind, (N, 5, S, S)."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(noise, norm="ortho"), dim=(2, 3))
    grey = noise.new_tensor(_GREY).view(1, 3, 1, 1)
    amplitude = ((spectrum.abs() + _TINY) ** _AMPLITUDE_POWER * grey).sum(1, keepdim=True)
    phase = (torch.atan2(spectrum.imag + _TINY, spectrum.real + _TINY) * grey).sum(1, keepdim=True)
    return torch.cat([noise, amplitude, phase], dim=1)


class LnpNetwork(LogitResNet):
    """A ResNet with five channels; how strong the noise is, its first batch norm evens out."""

    def __init__(self, shape: ResNetShape, *, seed: int) -> None:
        super().__init__(replace(shape, channels=5), seed=seed)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, (N,), of pixels (N, 3, S, S) in [0, 1]."""
        return self.logits(noise_channels(wiener_residual(pixels)))


class Lnp(ResNetDetector[LnpConfig]):
    """The detector.

    Example:
        >>> Lnp(LnpConfig(crop=128)).description
        'ResNet of 3+4+6+3 blocks on what a 5x5 Wiener filter takes from 128x128 crops (LNP: CycleISP), from scratch'
    """

    name = "lnp"
    what = "{c.network} on what a 5x5 Wiener filter takes from {c.crops} (LNP: CycleISP), {c.origin}"
    config_type = LnpConfig
    network_type = LnpNetwork
