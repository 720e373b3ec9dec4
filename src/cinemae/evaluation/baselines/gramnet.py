"""GramNet: a ResNet-18 beside Gram matrices of its activations at six depths (Liu et al. 2020, CVPR, arXiv 2002.00133).

A Gram matrix says which textures occur together anywhere in the picture, which the receptive field of a layer does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cinemae.evaluation.baselines.layers import convolution, seeded
from cinemae.evaluation.baselines.network_detector import ResNetConfig, ResNetDetector
from cinemae.evaluation.baselines.networks import LogitResNet, ResNetShape

_GRAM_CHANNELS = 32
_HIDDEN = 512


@dataclass(frozen=True)
class GramNetConfig(ResNetConfig):
    """The authors' ResNet-18; they begin with ImageNet weights. Learning rate and epochs are CNNSpot's."""

    epochs: int = 15
    decay: float = 0.1
    depths: tuple[int, ...] = (2, 2, 2, 2)
    block: Literal["bottleneck", "basic"] = "basic"


def gram_matrix(activations: Tensor) -> Tensor:
    """Return A A^T / (C H W) of the activations as rows, (N, 1, C, C).

    Example:
        >>> gram_matrix(torch.tensor([[[[1.0, 2.0]], [[0.0, 4.0]]]])).tolist()
        [[[[1.25, 2.0], [2.0, 4.0]]]]
    """
    rows = activations.flatten(2)
    return (rows @ rows.transpose(1, 2))[:, None] / rows[0].numel()


class GramBlock(nn.Module):
    """Activations (N, C, H, W) to 32 features: 3x3 layer, Gram matrix, two 3x3 layers of stride 2, mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = nn.Sequential(*convolution(channels, _GRAM_CHANNELS))
        self.after = nn.Sequential(nn.Sequential(*convolution(1, 16, 2)), nn.Sequential(*convolution(16, 32, 2)))

    def forward(self, activations: Tensor) -> Tensor:
        """Return features, (N, 32)."""
        features: Tensor = self.after(gram_matrix(self.before(activations))).mean((2, 3))
        return features


class GramNetwork(LogitResNet):
    """Gram blocks on the picture, the stem before and after pooling and all stages but the last, beside the ResNet."""

    def __init__(self, shape: ResNetShape, *, seed: int) -> None:
        super().__init__(shape, seed=seed)
        with seeded(seed):
            depths = (shape.channels, shape.stem_width, shape.stem_width, *shape.widths[:-1])
            self.blocks = nn.ModuleList(GramBlock(channels) for channels in depths)
            features = shape.widths[-1] + 32 * len(depths)
            self.classifier = nn.Sequential(
                nn.Linear(features, _HIDDEN), nn.ReLU(), nn.Dropout(0.5), nn.Linear(_HIDDEN, 1)
            )
        self.resnet.classifier = nn.Identity()

    def logits(self, pixel_values: Tensor) -> Tensor:
        """Return logits, (N,), of what is normalised already."""
        embedder, stages = self.resnet.resnet.embedder, self.resnet.resnet.encoder.stages
        seen = [pixel_values, embedder.embedder(pixel_values)]
        seen.append(embedder.pooler(seen[-1]))
        for stage in stages:
            seen.append(stage(seen[-1]))
        features = [block(activations) for block, activations in zip(self.blocks, seen[:-1], strict=True)]
        result: Tensor = self.classifier(torch.cat([*features, seen[-1].mean((2, 3))], dim=1))[:, 0]
        return result


class GramNet(ResNetDetector[GramNetConfig]):
    """The detector.

    Example:
        >>> GramNet(GramNetConfig(crop=128)).description
        'ResNet of 2+2+2+2 blocks with Gram matrices of 128x128 crops, from scratch'
    """

    name = "gramnet"
    what = "{c.network} with Gram matrices of {c.crops}, {c.origin}"
    config_type = GramNetConfig
    network_type = GramNetwork
