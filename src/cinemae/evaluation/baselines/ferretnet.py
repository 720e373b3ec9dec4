"""FerretNet: a small network on pixels less their neighbours' median (Liang et al. 2025, NeurIPS, arXiv 2509.20890)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from cinemae.config import CLIP_MEAN, CLIP_STD
from cinemae.evaluation.baselines.layers import convolution, seeded
from cinemae.evaluation.baselines.network_detector import NetworkDetector
from cinemae.evaluation.baselines.network_training import NetworkConfig
from cinemae.evaluation.baselines.networks import normalise
from cinemae.settings import require

_WINDOW = 3


@dataclass(frozen=True)
class FerretNetConfig(NetworkConfig):
    """The authors' values: Adam 2e-4 with an L2 penalty of 5e-4, batches of 32, crops of 224.

    `width` 96 is FerretNet-B (1.1 million parameters), 32 FerretNet-S. How many epochs is not stated, and their first
    moment of Adam, 0.937, is 0.9 here.
    """

    epochs: int = 20
    learning_rate: float = 2e-4
    weight_decay: float = 5e-4
    width: int = 96
    depths: tuple[int, ...] = (2, 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.width >= 2 and self.width % 2 == 0, f"width must be even, got {self.width}.")
        require(min(self.depths, default=0) >= 1, f"depths must be at least 1 each, got {self.depths}.")


def local_pixel_dependency(pixels: Tensor) -> Tensor:
    """Return each pixel less the median of its 3x3 square, in which it counts as 0 itself; so does all beyond the edge.

    Args:
        pixels: (N, C, H, W), normalised.

    Example:
        >>> square = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 9.0, 6.0], [7.0, 8.0, 5.0]]]])
        >>> local_pixel_dependency(square)[0, 0, 1, 1].item()  # of 0 1 2 3 4 5 6 7 8 the median is 4
        5.0
    """
    height, width = pixels.shape[-2:]
    padded = pad(pixels, (1, 1, 1, 1))
    shifted = [padded[..., y : y + height, x : x + width] for y in range(_WINDOW) for x in range(_WINDOW)]
    shifted[_WINDOW**2 // 2] = torch.zeros_like(pixels)
    return pixels - torch.stack(shifted).median(0).values


class FerretBlock(nn.Module):
    """Plain and dilated layers within groups, a separable layer, beside a 1x1 layer or nothing."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(channels, out, 3, stride, padding=1, groups=channels, bias=False)
        self.far = nn.Conv2d(channels, out, 3, stride, padding=2, dilation=2, groups=channels, bias=False)
        self.layers = nn.Sequential(
            nn.Conv2d(out, out, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1, groups=out, bias=False),
            nn.Conv2d(out, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        same = stride == 1 and channels == out
        beside = [] if same else [nn.Conv2d(channels, out, 1, stride), nn.BatchNorm2d(out)]
        self.shortcut = nn.Sequential(*beside)

    def forward(self, activations: Tensor) -> Tensor:
        """Return activations, (N, out, H / stride, W / stride)."""
        both = self.near(activations) + self.far(activations)
        result: Tensor = torch.relu(self.layers(both) + self.shortcut(activations))
        return result


class FerretNetwork(nn.Module):
    """A stem of two layers, stages that double the width, one 1x1 layer, mean, one logit."""

    def __init__(self, config: FerretNetConfig) -> None:
        super().__init__()
        width = config.width
        parts = [*convolution(3, width // 2), *convolution(width // 2, width, 2)]
        for depth in config.depths:
            parts += [
                FerretBlock(width, 2 * width, 2),
                *(FerretBlock(2 * width, 2 * width, 1) for _ in range(depth - 1)),
            ]
            width *= 2
        self.layers = nn.Sequential(*parts, nn.Conv2d(width, width, 1, bias=False))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(width, 1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, (N,), of pixels (N, 3, H, W) in [0, 1]."""
        residual = local_pixel_dependency(normalise(pixels, CLIP_MEAN, CLIP_STD))
        result: Tensor = self.classifier(self.layers(residual).mean((2, 3)))[:, 0]
        return result


class FerretNet(NetworkDetector[FerretNetConfig]):
    """The detector.

    Example:
        >>> FerretNet(FerretNetConfig(crop=96, width=32)).description
        'FerretNet of width 32 on what pixels of 96x96 crops differ in from the median around, from scratch'
    """

    name = "ferretnet"
    what = "FerretNet of width {c.width} on what pixels of {c.crops} differ in from the median around, {c.origin}"
    config_type = FerretNetConfig

    def new_network(self, seed: int) -> FerretNetwork:
        """Return a fresh network."""
        with seeded(seed):
            return FerretNetwork(self.config)
