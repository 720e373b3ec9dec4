"""PatchCraft: contrast between rich and poor texture (Zhong et al. 2023, arXiv 2311.12397).

Generators draw smooth regions better than textured ones. The picture is cut up, its roughest and its smoothest patches
are put together to one picture each, and a small network sees what high-pass filters find in one and not in the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import fold, unfold

from cinemae.evaluation.baselines.layers import seeded
from cinemae.evaluation.baselines.network_detector import NetworkDetector
from cinemae.evaluation.baselines.network_training import NetworkConfig
from cinemae.evaluation.baselines.srm import SrmResidual
from cinemae.settings import require

_PATCHES = 8  # a patch has this part of a crop's side
_CHANNELS = 32


@dataclass(frozen=True)
class PatchCraftConfig(NetworkConfig):
    """Crops of 256, so that a patch has 32 pixels as in the paper; learning rate and epochs are CNNSpot's.

    The authors draw 192 patches anywhere. Here they lie on a grid of half a patch, 225 of them, so that a picture
    always gets the same score. `grid` is how many patches a side the pictures put together from them have: fewer
    than the published 8 are quicker, and farther from the median.
    """

    crop: int = 256
    epochs: int = 15
    decay: float = 0.1
    grid: int = _PATCHES

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.crop % (2 * _PATCHES) == 0, f"crop must be a multiple of {2 * _PATCHES}, got {self.crop}.")
        require(1 <= self.grid <= _PATCHES, f"grid must lie in [1, {_PATCHES}], got {self.grid}.")

    @property
    def patch(self) -> int:
        """Side of a patch, in pixels."""
        return self.crop // _PATCHES


def texture_diversity(patches: Tensor) -> Tensor:
    """Return the sum of absolute differences of neighbours: across, down and along both diagonals.

    Args:
        patches: (..., C, P, P).

    Returns:
        (...).

    Example:
        >>> texture_diversity(torch.tensor([[[1.0, 2.0], [4.0, 8.0]]])).item()  # 1 + 4 across, 3 + 6 down, 7 + 2
        23.0
    """
    pairs = (
        (patches[..., :, 1:], patches[..., :, :-1]),
        (patches[..., 1:, :], patches[..., :-1, :]),
        (patches[..., 1:, 1:], patches[..., :-1, :-1]),
        (patches[..., 1:, :-1], patches[..., :-1, 1:]),
    )
    return torch.stack([(one - other).abs().sum((-3, -2, -1)) for one, other in pairs]).sum(0)


def smash_and_reconstruct(pixels: Tensor, patch: int, grid: int) -> tuple[Tensor, Tensor]:
    """Return pictures of the patches of least and of most diversity, poorest and richest first, row by row.

    Args:
        pixels: (N, C, S, S).
        patch: Side of a patch in pixels, even; patches lie half of it apart.
        grid: Patches a side of either picture.

    Returns:
        Poor and rich, (N, C, grid * patch, grid * patch) each.
    """
    count, channels = pixels.shape[:2]
    columns = unfold(pixels, patch, stride=patch // 2)
    patches = columns.transpose(1, 2).view(count, -1, channels, patch, patch)
    order = texture_diversity(patches).argsort(dim=1, stable=True)
    chosen = (order[:, : grid**2], order.flip(1)[:, : grid**2])
    poor, rich = (
        fold(columns.gather(2, index[:, None].expand(-1, columns.shape[1], -1)), grid * patch, patch, stride=patch)
        for index in chosen
    )
    return poor, rich


class PatchCraftNetwork(nn.Module):
    """SRM residuals of both pictures, one layer for either, and ten layers on the difference."""

    def __init__(self, config: PatchCraftConfig) -> None:
        super().__init__()
        self.patch, self.grid = config.patch, config.grid
        self.residual = SrmResidual(joint=False)
        first = nn.Conv2d(90, _CHANNELS, 3, padding=1)
        self.fingerprint = nn.Sequential(first, nn.BatchNorm2d(_CHANNELS), nn.Hardtanh(-5, 5))
        groups = [nn.Sequential(*(part for _ in range(layers) for part in _layer())) for layers in (4, 2, 2, 2)]
        pools = [nn.AvgPool2d(3, 2, padding=1) for _ in groups[1:]]
        body = [part for pair in zip(groups, pools, strict=False) for part in pair]
        self.body = nn.Sequential(*body, groups[-1])
        self.classifier = nn.Linear(_CHANNELS, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, (N,), of pixels (N, 3, crop, crop) in [0, 1]."""
        pictures = smash_and_reconstruct(pixels, self.patch, self.grid)
        poor, rich = (self.fingerprint(self.residual(one)) for one in pictures)
        result: Tensor = self.classifier(self.body(poor - rich).mean((2, 3)))[:, 0]
        return result


class PatchCraft(NetworkDetector[PatchCraftConfig]):
    """The detector.

    Example:
        >>> PatchCraft(PatchCraftConfig(crop=128)).description
        'contrast of the richest and poorest 16x16 patches of 128x128 crops, from scratch'
    """

    name = "patchcraft"
    what = "contrast of the richest and poorest {c.patch}x{c.patch} patches of {c.crops}, {c.origin}"
    config_type = PatchCraftConfig

    def new_network(self, seed: int) -> PatchCraftNetwork:
        """Return a fresh network."""
        with seeded(seed):
            return PatchCraftNetwork(self.config)


def _layer() -> list[nn.Module]:
    return [nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1), nn.BatchNorm2d(_CHANNELS), nn.ReLU()]
