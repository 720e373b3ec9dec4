"""F3Net: two Xceptions on learned DCT bands and local frequency statistics (Qian et al. 2020, ECCV, arXiv 2007.09355).

Their features are laid side by side. The paper's exchange of attention between the two (MixBlock) is left out, as in
the implementation that benchmarks use: the authors published no code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cinemae.evaluation.baselines.dct_bands import band, dct_matrix, even_bands
from cinemae.evaluation.baselines.layers import seeded
from cinemae.evaluation.baselines.network_detector import NetworkDetector
from cinemae.evaluation.baselines.network_training import NetworkConfig
from cinemae.evaluation.baselines.xception import Xception
from cinemae.settings import require

_WINDOW, _STRIDE, _LOCAL_BANDS = 10, 2, 6
_GREY = (0.299, 0.587, 0.114)
_TINY = 1e-15


@dataclass(frozen=True)
class F3NetConfig(NetworkConfig):
    """The paper's crops of 299; `width` 64 and `middle` 8 are the published Xception, always from scratch here.

    The paper begins with ImageNet weights, and uses SGD at 0.002 on a cosine.
    """

    crop: int = 299
    epochs: int = 15
    decay: float = 0.1
    width: int = 64
    middle: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.width >= 8 and self.width % 8 == 0, f"width must be a multiple of 8, got {self.width}.")
        require(self.middle >= 1, f"middle must be at least 1, got {self.middle}.")
        require(self.crop >= 71, f"crop must be at least 71 pixels, or Xception runs out of them, got {self.crop}.")


class DecomposedPicture(nn.Module):
    """A picture (N, 3, S, S) as its low, middle and high DCT band and the whole, (N, 12, S, S).

    Low is the first 1/16 of the coefficients, middle to 1/8. Each band is a fixed mask and a learned one, which lies in
    (-1, 1), and is transformed back.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        edges = [(0, size // 2.82), (size // 2.82, size // 2), (size // 2, 2 * size), (0, 2 * size)]
        self.register_buffer("masks", torch.stack([band(size, *each) for each in edges]), persistent=False)
        self.register_buffer("matrix", dct_matrix(size), persistent=False)
        self.learned = nn.Parameter(0.1 * torch.randn(len(edges), size, size))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the bands of all channels, one band after the other."""
        matrix, masks = self.get_buffer("matrix"), self.get_buffer("masks")
        filters = masks + 2 * torch.sigmoid(self.learned) - 1
        coefficients = matrix @ pixels @ matrix.T
        return torch.cat([matrix.T @ (coefficients * each) @ matrix for each in filters], dim=1)


class LocalFrequencies(nn.Module):
    """A picture (N, 3, S, S) in [-1, 1] as the mean log10 |DCT| of six bands of each 10x10 window, (N, 6, G, G).

    Windows lie two pixels apart, beginning four outside. A band is a fixed mask and a learned one, which lies in
    (-1, 1), over the size of the former.
    """

    def __init__(self) -> None:
        super().__init__()
        matrix = dct_matrix(_WINDOW)
        self.register_buffer("transform", torch.kron(matrix, matrix), persistent=False)
        self.register_buffer("masks", even_bands(_WINDOW, _LOCAL_BANDS).flatten(1), persistent=False)
        self.learned = nn.Parameter(0.1 * torch.randn(_LOCAL_BANDS, _WINDOW**2))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the statistics; G = (S - 2) / 2 + 1, rounded down."""
        grey = (pixels * pixels.new_tensor(_GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)
        scaled = (grey + 1) * 122.5  # so in the implementation followed
        windows = nn.functional.unfold(scaled, _WINDOW, stride=_STRIDE, padding=4)
        logarithms = torch.log10((self.get_buffer("transform") @ windows).abs() + _TINY)
        masks = self.get_buffer("masks")
        filters = (masks + 2 * torch.sigmoid(self.learned) - 1) / masks.sum(1, keepdim=True)
        statistics = filters @ logarithms
        side = (pixels.shape[-1] + 8 - _WINDOW) // _STRIDE + 1
        return statistics.view(len(pixels), _LOCAL_BANDS, side, side)


class F3Network(nn.Module):
    """Both branches and a linear layer on what they find."""

    def __init__(self, config: F3NetConfig) -> None:
        super().__init__()
        self.decomposed, self.local = DecomposedPicture(config.crop), LocalFrequencies()
        self.of_bands = Xception(12, width=config.width, middle=config.middle)
        self.of_local = Xception(_LOCAL_BANDS, width=config.width, middle=config.middle, stem_stride=1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(self.of_bands.dim + self.of_local.dim, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, (N,), of pixels (N, 3, crop, crop) in [0, 1]."""
        pixels = 2 * pixels - 1
        features = [self.of_bands(self.decomposed(pixels)), self.of_local(self.local(pixels))]
        result: Tensor = self.classifier(torch.cat(features, dim=1))[:, 0]
        return result


class F3Net(NetworkDetector[F3NetConfig]):
    """The detector.

    Example:
        >>> F3Net(F3NetConfig(crop=128)).description
        'two Xceptions on DCT bands and local frequencies of 128x128 crops, without MixBlock, from scratch'
    """

    name = "f3net"
    what = "two Xceptions on DCT bands and local frequencies of {c.crops}, without MixBlock, {c.origin}"
    config_type = F3NetConfig

    def new_network(self, seed: int) -> F3Network:
        """Return a fresh network."""
        with seeded(seed):
            return F3Network(self.config)
