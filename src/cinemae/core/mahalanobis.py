"""How unlike the training images is an image? Mahalanobis distance of its [CLS] features (Lee et al. 2018).

Lee et al. (arXiv 1807.03888) fit one Gaussian a class to features of a network's layers. Here it is one Gaussian over
all training images, of the frozen encoder's features: that told drawn pictures from photographs best (decision 0011).
"""

from __future__ import annotations

from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

_LEAST_SPREAD = 1e-3  # of [CLS] over the views of one image; flat pictures have none, and a logarithm needs some


class MahalanobisDistance(nn.Module):
    """Distance of an image to the training images, d(x) = ||W (x - m)||.

    x is `view_summary` of the image, m its mean over training images, and W'W the inverse of its covariance there.

    Args:
        dim: Length F of `view_summary`.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("whitening", torch.eye(dim))

    @classmethod
    def of(cls, mean: Float[Tensor, " F"], whitening: Float[Tensor, "F F"]) -> Self:
        """Build from m and W."""
        distance = cls(len(mean))
        distance.mean.copy_(mean)
        distance.whitening.copy_(whitening)
        return distance

    def forward(self, global_feature: Float[Tensor, "N V D"]) -> Float[Tensor, " N"]:
        """Return the distance of each image, never negative.

        Args:
            global_feature: [CLS] of each view, Eq. 3, (N, V, D).

        Returns:
            (N,).
        """
        return self.of_summary(view_summary(global_feature))

    def of_summary(self, summary: Float[Tensor, "N F"]) -> Float[Tensor, " N"]:
        """Return the distance of each `view_summary`, (N,)."""
        whitened: Tensor = (summary - self.mean) @ self.whitening.T
        return whitened.square().sum(1).sqrt()


def view_summary(global_feature: Float[Tensor, "N V D"]) -> Float[Tensor, "N F"]:
    """Return the mean of [CLS] over an image's views, and beside it the logarithm of its deviation between views.

    Where an image is one view, the mean alone. The logarithm lets views that are too alike, as of a flat picture or of
    noise, lie as far out as views that are too different.

    Args:
        global_feature: (N, V, D).

    Returns:
        (N, D) where V is 1, else (N, 2 D).

    Example:
        >>> [round(value, 4) for value in view_summary(torch.tensor([[[1.0], [3.0]]]))[0].tolist()]
        [2.0, 0.3473]
    """
    mean = global_feature.mean(1)
    if global_feature.shape[1] == 1:
        return mean
    return torch.cat([mean, (global_feature.std(1) + _LEAST_SPREAD).log()], dim=-1)


def summary_dim(hidden_size: int, num_views: int) -> int:
    """Return F, the length of `view_summary`.

    Example:
        >>> summary_dim(192, 1), summary_dim(192, 16)
        (192, 384)
    """
    return hidden_size if num_views == 1 else 2 * hidden_size
