"""NPR: a small ResNet on neighbouring-pixel relationships (Tan et al. 2024, CVPR, arXiv 2312.10461).

The last layers of a generator scale up, so pixels of one small block are bound to each other in a way that the camera
does not know. What a picture differs in from its own nearest-neighbour halving, doubled again, shows that and little of
the content.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cinemae.evaluation.baselines.network_detector import NetworkDetector
from cinemae.evaluation.baselines.network_training import NetworkConfig
from cinemae.evaluation.baselines.networks import LogitResNet, bottleneck_shape
from cinemae.settings import require

_STEM_KERNEL = 3  # with it the network has the 1.44 million parameters that the paper states; with 7, 1.45


@dataclass(frozen=True)
class NprConfig(NetworkConfig):
    """The authors' values: Adam 2e-4, times 0.8 after every 10 epochs, batches of 32, 50 epochs, crops of 224.

    `depths` and `width` are those of ResNet-50's first two stages. Crops are cut without resizing before.
    """

    epochs: int = 50
    learning_rate: float = 2e-4
    decay: float = 0.8
    depths: tuple[int, ...] = (3, 4)
    width: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.crop % 2 == 0, f"crop must be even, as NPR halves it, got {self.crop}.")
        bottleneck_shape(self.depths, self.width)


def npr_residual(pixels: Tensor) -> Tensor:
    """Return x - up(down(x)): each pixel less the upper left pixel of its 2x2 block.

    Both scalings are nearest-neighbour, by 1/2 and by 2.

    Args:
        pixels: (N, C, H, W), H and W even.

    Returns:
        The same shape; every upper left pixel is 0.

    Example:
        >>> import torch
        >>> npr_residual(torch.tensor([[[[1.0, 2.0], [4.0, 8.0]]]])).tolist()
        [[[[0.0, 1.0], [3.0, 7.0]]]]
    """
    corners = pixels[..., ::2, ::2]
    return pixels - corners.repeat_interleave(2, -1).repeat_interleave(2, -2)


class NprNetwork(LogitResNet):
    """A ResNet on the residual of the normalised pixels; its constant scale is lost in the first batch norm."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, (N,), of pixels (N, 3, H, W) in [0, 1]."""
        return self.logits(npr_residual(self.normalise(pixels)))


class Npr(NetworkDetector[NprConfig]):
    """The detector, always trained from scratch.

    Example:
        >>> Npr(NprConfig(crop=96, epochs=3)).description
        'ResNet of 3+4 blocks on neighbouring-pixel residuals of 96x96 crops, from scratch'
    """

    name = "npr"
    what = "ResNet of {c.blocks} blocks on neighbouring-pixel residuals of {c.crops}, {c.origin}"
    config_type = NprConfig

    def new_network(self, seed: int) -> NprNetwork:
        """Return a fresh network."""
        return NprNetwork(bottleneck_shape(self.config.depths, self.config.width, stem_kernel=_STEM_KERNEL), seed=seed)
