"""The low-level branch of AIDE: noise of a picture's smoothest and busiest patches (Yan et al. 2025, ICLR, 2406.19435).

AIDE lays semantic features of a frozen OpenCLIP ConvNeXt-XXL beside it; those weights are not here, so this row is the
branch alone, with a classifier of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, unfold

from cinemae.config import IMAGENET_MEAN, IMAGENET_STD
from cinemae.evaluation.baselines.dct_bands import band_means, dct_matrix
from cinemae.evaluation.baselines.layers import seeded
from cinemae.evaluation.baselines.network_detector import NetworkDetector
from cinemae.evaluation.baselines.network_training import NetworkConfig
from cinemae.evaluation.baselines.networks import LogitResNet, bottleneck_shape, normalise
from cinemae.evaluation.baselines.srm import SrmResidual
from cinemae.settings import require

_PATCH, _STEP, _BANDS = 32, 16, 6
_HIDDEN = 1024


@dataclass(frozen=True)
class AideLowConfig(NetworkConfig):
    """Patches of 32 pixels, 16 apart, each scaled to `resized` pixels for a ResNet-50, as published.

    The authors look for patches in the whole picture, and begin with ImageNet weights but for the first layer.
    """

    crop: int = 256
    epochs: int = 15
    decay: float = 0.1
    resized: int = 256
    depths: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.crop >= 2 * _PATCH, f"crop must be at least {2 * _PATCH} pixels, got {self.crop}.")
        require(self.resized >= _PATCH, f"resized must be at least {_PATCH} pixels, got {self.resized}.")
        bottleneck_shape(self.depths, self.width, channels=30)


class PatchGrade(nn.Module):
    """How much high frequency a patch holds: the mean log(1 + |DCT|) of six bands, each weighed twice the last."""

    def __init__(self) -> None:
        super().__init__()
        matrix = dct_matrix(_PATCH)
        weights = (band_means(_PATCH, _BANDS) * (2 ** torch.arange(_BANDS))[:, None, None]).sum(0)
        self.register_buffer("matrix", matrix, persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        """Return grades, (...), of patches (..., C, 32, 32)."""
        matrix = self.get_buffer("matrix")
        coefficients = matrix @ patches @ matrix.T
        return (coefficients.abs().log1p() * self.get_buffer("weights")).sum((-3, -2, -1))


class AideLowNetwork(nn.Module):
    """One ResNet for the two patches of lowest grade, another for the two of highest; the mean of their features."""

    def __init__(self, config: AideLowConfig, *, seed: int) -> None:
        super().__init__()
        self.resized = config.resized
        self.grade, self.residual = PatchGrade(), SrmResidual(joint=True)
        shape = bottleneck_shape(config.depths, config.width, channels=30)
        self.of_lowest, self.of_highest = LogitResNet(shape, seed=seed), LogitResNet(shape, seed=seed + 1)
        for trunk in (self.of_lowest, self.of_highest):
            trunk.resnet.classifier = nn.Identity()
        with seeded(seed):
            self.classifier = nn.Sequential(nn.Linear(shape.widths[-1], _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, (N,), of pixels (N, 3, crop, crop) in [0, 1]."""
        lowest, highest = self.extremes(pixels)
        features = self._features(self.of_lowest, lowest) + self._features(self.of_highest, highest)
        result: Tensor = self.classifier(features / 2)[:, 0]
        return result

    def extremes(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return two patches of lowest and two of highest grade, (N, 2, C, 32, 32) each, the extreme one first."""
        count, channels = pixels.shape[:2]
        columns = unfold(pixels, _PATCH, stride=_STEP)
        patches = columns.transpose(1, 2).reshape(count, -1, channels, _PATCH, _PATCH)
        order = self.grade(patches).argsort(dim=1)
        rows = torch.arange(count)[:, None]
        return patches[rows, order[:, :2]], patches[rows, order.flip(1)[:, :2]]

    def _features(self, trunk: LogitResNet, patches: Tensor) -> Tensor:
        """Return the mean of the features of each picture's patches, (N, D)."""
        size = (self.resized, self.resized)
        scaled = interpolate(patches.flatten(0, 1), size=size, mode="bilinear")
        noise = self.residual(normalise(scaled, IMAGENET_MEAN, IMAGENET_STD))
        return trunk.feature_map(noise).mean((2, 3)).view(len(patches), 2, -1).mean(1)


class AideLow(NetworkDetector[AideLowConfig]):
    """The detector.

    Example:
        >>> AideLow(AideLowConfig(crop=128)).description
        'two ResNets on SRM noise of the smoothest and busiest 32x32 patches of 128x128 crops, from scratch'
    """

    name = "aide-low"
    what = "two ResNets on SRM noise of the smoothest and busiest 32x32 patches of {c.crops}, {c.origin}"
    config_type = AideLowConfig

    def new_network(self, seed: int) -> AideLowNetwork:
        """Return a fresh network."""
        return AideLowNetwork(self.config, seed=seed)
