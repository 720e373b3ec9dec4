"""Xception (Chollet 2017, CVPR, arXiv 1610.02357), the backbone of F3Net, without its classifier."""

from __future__ import annotations

from torch import Tensor, nn

from cinemae.evaluation.baselines.layers import convolution


class Xception(nn.Module):
    """Entry, middle and exit flow; activations (N, C, H, W) to features (N, 32 * width).

    Args:
        channels: Of the input.
        width: 64 is the published network; every layer's width goes with it.
        middle: Blocks of the middle flow; 8 is the published network.
        stem_stride: Of the first layer.
    """

    def __init__(self, channels: int, *, width: int = 64, middle: int = 8, stem_stride: int = 2) -> None:
        super().__init__()
        body = round(11.375 * width)  # 728
        self.dim = 32 * width
        self.layers = nn.Sequential(
            *convolution(channels, width // 2, stem_stride, padding=0),
            *convolution(width // 2, width, padding=0),
            _Block(width, 2 * width, 2 * width, stride=2, starts_with_relu=False),
            _Block(2 * width, 4 * width, 4 * width, stride=2),
            _Block(4 * width, body, body, stride=2),
            *(_MiddleBlock(body) for _ in range(middle)),
            _Block(body, body, 16 * width, stride=2),
            *_separable(16 * width, 24 * width),
            nn.ReLU(),
            *_separable(24 * width, self.dim),
            nn.ReLU(),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return features, (N, dim)."""
        features: Tensor = self.layers(pixels).mean((2, 3))
        return features


class _Block(nn.Module):
    """Two separable layers and a pooling, beside a 1x1 layer of the same stride."""

    def __init__(self, channels: int, hidden: int, out: int, *, stride: int, starts_with_relu: bool = True) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *([nn.ReLU()] if starts_with_relu else []),
            *_separable(channels, hidden),
            nn.ReLU(),
            *_separable(hidden, out),
            nn.MaxPool2d(3, stride, padding=1),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, activations: Tensor) -> Tensor:
        result: Tensor = self.layers(activations) + self.shortcut(activations)
        return result


class _MiddleBlock(nn.Module):
    """Three separable layers beside nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(part for _ in range(3) for part in (nn.ReLU(), *_separable(channels, channels))))

    def forward(self, activations: Tensor) -> Tensor:
        result: Tensor = self.layers(activations) + activations
        return result


def _separable(channels: int, out: int) -> list[nn.Module]:
    """Return a 3x3 layer within each channel, a 1x1 layer across them, and a batch norm."""
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    return [depthwise, nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out)]
