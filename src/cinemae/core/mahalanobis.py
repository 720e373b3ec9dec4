"""How unlike the training images is an image? Mahalanobis distance of its [CLS] features (Lee et al. 2018).

Lee et al. (arXiv 1807.03888) fit one Gaussian a class to features of a network's layers. Here it is one Gaussian over
all training images, of the frozen encoder's features: that told drawn pictures from photographs best (decision 0011).

NumPy alone, so that every engine and the light install share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST_SPREAD = 1e-3  # of [CLS] over the views of one image; flat pictures have none, and a logarithm needs some


@dataclass(frozen=True, eq=False)
class MahalanobisDistance:
    """Distance of an image to the training images, d(x) = ||W (x - m)||.

    x is `view_summary` of the image, m its mean over training images, and W'W the inverse of its covariance there; of a
    wide summary, its inverse among the first principal components.

    Attributes:
        mean: m, (F,).
        whitening: W, (F, F), or (R, F) among R principal components.
        side_by_side: How the views are summarised.
    """

    mean: NDArray[np.float32]
    whitening: NDArray[np.float32]
    side_by_side: bool = False

    def __call__(self, global_feature: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the distance of each image, never negative; it does not depend on the others.

        Args:
            global_feature: [CLS] of each view, Eq. 3, (N, V, D).

        Returns:
            (N,).
        """
        return np.concatenate(
            [self.of_summary(view_summary(views[None], self.side_by_side)) for views in global_feature]
        )

    def of_summary(self, summary: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the distance of each `view_summary`, (N,)."""
        found = np.linalg.norm((summary - self.mean) @ self.whitening.T, axis=1)
        return np.asarray(found, np.float64)


def view_summary(global_feature: NDArray[np.float32], side_by_side: bool = False) -> NDArray[np.float32]:
    """Return the mean of [CLS] over an image's views, and beside it the logarithm of its deviation between views.

    Where an image is one view, the mean alone; where its views are looked at each in a way of its own, they lie side by
    side. The logarithm lets views that are too alike, as of a flat picture or of
    noise, lie as far out as views that are too different.

    Args:
        global_feature: (N, V, D).
        side_by_side: As `cinemae.config.HeadConfig.joins_views_side_by_side` says.

    Returns:
        (N, D) where V is 1, else (N, 2 D); side by side (N, V D).

    Example:
        >>> [round(value, 4) for value in view_summary(np.array([[[1.0], [3.0]]], np.float32))[0].tolist()]
        [2.0, 0.3473]
    """
    if side_by_side:
        return global_feature.reshape(len(global_feature), -1)
    mean = global_feature.mean(1)
    if global_feature.shape[1] == 1:
        return np.asarray(mean)
    return np.concatenate([mean, np.log(global_feature.std(1, ddof=1) + _LEAST_SPREAD)], axis=-1)


def summary_dim(hidden_size: int, num_views: int, side_by_side: bool = False) -> int:
    """Return F, the length of `view_summary`.

    Example:
        >>> summary_dim(192, 1), summary_dim(192, 16)
        (192, 384)
    """
    return hidden_size * (num_views if side_by_side else min(num_views, 2))
