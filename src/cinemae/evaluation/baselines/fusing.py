"""Fusing: a ResNet-50 on the whole picture and on six of its patches, joined by attention (Ju et al. 2022, ICIP).

Where the whole picture's activations are strongest, patches are cut at full resolution and read by the same ResNet.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from cinemae.evaluation.baselines.layers import seeded
from cinemae.evaluation.baselines.network_detector import ResNetConfig, ResNetDetector
from cinemae.evaluation.baselines.networks import LogitResNet, ResNetShape
from cinemae.settings import require

_WINDOWS = {3: 2, 2: 4}
"""Side of a window of activations, and which part of the crop's side its patch has: a half for 3, a quarter for 2."""
_PATCHES = 3  # a window
_DIM, _HEADS, _LAYERS = 128, 4, 3


@dataclass(frozen=True)
class FusingConfig(ResNetConfig):
    """Learning rate and epochs are CNNSpot's.

    The network sees the crop halved as its whole picture, and patches of a half and a quarter of the crop's side: with
    448 these are the authors' 224, 224 and 112 pixels. They begin with ImageNet weights.
    """

    crop: int = 448
    epochs: int = 15
    decay: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        least = 3 * 2 ** (len(self.depths) + 2)
        require(
            self.crop >= least and self.crop % 4 == 0,
            f"crop must be a multiple of 4 and at least {least}, for three activations a side, got {self.crop}.",
        )


def strongest_windows(activations: Tensor, window: int, count: int) -> Tensor:
    """Return row and column of the windows with the largest sums, (N, count, 2), best first.

    Around each that was taken, the neighbours (3x3) are out of the running; when all are, the first window is taken.

    Args:
        activations: (N, C, H, W), none negative.
        window: Side of a window.
        count: How many to take.
    """
    sums = avg_pool2d(activations, window, stride=1).sum(1, keepdim=True)
    columns = sums.shape[-1]
    places = []
    for _ in range(count):
        best = sums.flatten(1).argmax(1)
        places.append(torch.stack([best // columns, best % columns], dim=1))
        chosen = torch.zeros_like(sums).flatten(1).scatter_(1, best[:, None], 1.0).view_as(sums)
        sums = sums * (max_pool2d(chosen, 3, stride=1, padding=1) == 0)
    return torch.stack(places, dim=1)


def corners_of(places: Tensor, window: int, grid: int, side: int, patch: int) -> Tensor:
    """Return the upper left corners, (..., 2), of patches around windows' centres, moved inside where they stick out.

    Args:
        places: Rows and columns of windows of a grid of `grid` by `grid` activations.
        window: Side of a window, in activations.
        grid: Side of the grid.
        side: Side of the picture, in pixels.
        patch: Side of a patch, in pixels.

    Example:
        >>> corners_of(torch.tensor([[0, 4]]), window=3, grid=7, side=448, patch=112).tolist()
        [[40, 296]]
    """
    centres = side * (2 * places + window) // (2 * grid)
    return (centres - patch // 2).clamp(0, side - patch)


class FusionLayer(nn.Module):
    """Self-attention over whole picture and patches, then two linear layers, each with a residual and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(_DIM, _HEADS, batch_first=True)
        self.first_norm, self.second_norm = nn.LayerNorm(_DIM), nn.LayerNorm(_DIM)
        self.mlp = nn.Sequential(nn.Linear(_DIM, _DIM), nn.ReLU(), nn.Linear(_DIM, _DIM))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens, (N, T, 128)."""
        tokens = self.first_norm(tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0])
        result: Tensor = self.second_norm(tokens + self.mlp(tokens))
        return result


class FusingNetwork(LogitResNet):
    """One ResNet for whole picture and patches."""

    def __init__(self, shape: ResNetShape, *, seed: int) -> None:
        super().__init__(shape, seed=seed)
        with seeded(seed):
            self.projection = nn.Sequential(nn.Linear(shape.widths[-1], _DIM), nn.ReLU())
            self.fusion = nn.Sequential(*(FusionLayer() for _ in range(_LAYERS)))
            self.classifier = nn.Linear(_DIM, 1)
        self.resnet.classifier = nn.Identity()

    def logits(self, pixel_values: Tensor) -> Tensor:
        """Return logits, (N,), of what is normalised already."""
        half = pixel_values.shape[-1] // 2
        whole = interpolate(pixel_values, size=(half, half), mode="bilinear", antialias=True)
        activations = self.feature_map(whole)
        patches = self.patches(pixel_values, activations.detach())
        of_patches = self.projection(self.feature_map(patches).mean((2, 3)))
        of_whole = self.projection(activations.mean((2, 3)))
        tokens = torch.cat([of_patches.view(len(of_whole), -1, _DIM), of_whole[:, None]], dim=1)
        result: Tensor = self.classifier(self.fusion(tokens)[:, -1])[:, 0]
        return result

    def patches(self, pixel_values: Tensor, activations: Tensor) -> Tensor:
        """Return six patches a picture, one picture after the other, scaled to half of its side."""
        side, grid = pixel_values.shape[-1], activations.shape[-1]
        corners = {
            side // part: corners_of(
                strongest_windows(activations, window, _PATCHES), window, grid, side, side // part
            ).tolist()
            for window, part in _WINDOWS.items()
        }
        cut = [
            interpolate(
                picture[None, :, top : top + patch, left : left + patch], size=(side // 2, side // 2), mode="bilinear"
            )
            for index, picture in enumerate(pixel_values)
            for patch, places in corners.items()
            for top, left in places[index]
        ]
        return torch.cat(cut)


class Fusing(ResNetDetector[FusingConfig]):
    """The detector.

    Example:
        >>> Fusing(FusingConfig(crop=256)).description
        'ResNet of 3+4+6+3 blocks on 256x256 crops and six patches of each, joined by attention, from scratch'
    """

    name = "fusing"
    what = "{c.network} on {c.crops} and six patches of each, joined by attention, {c.origin}"
    config_type = FusingConfig
    network_type = FusingNetwork
