"""The DCT as a matrix, and bands of its coefficients: what F3Net and AIDE's low-level branch are built on."""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor


def dct_matrix(size: int) -> Tensor:
    """Return D of the orthonormal DCT-II, (size, size): a square X has the coefficients D X D^T."""
    return torch.from_numpy(dct(np.eye(size), axis=0, norm="ortho")).float()


def band(size: int, low: float, high: float) -> Tensor:
    """Return 1 where row + column of a coefficient lies in [low, high], 0 elsewhere, (size, size).

    Example:
        >>> band(3, 1, 2).tolist()
        [[0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    place = torch.arange(size)
    diagonal = place[:, None] + place
    return ((diagonal >= low) & (diagonal <= high)).float()


def even_bands(size: int, count: int) -> Tensor:
    """Return bands of equal width over the 2 * size diagonals, (count, size, size); neighbours share a whole edge."""
    width = 2 * size / count
    return torch.stack([band(size, index * width, (index + 1) * width) for index in range(count)])


def band_means(size: int, count: int) -> Tensor:
    """Return `even_bands`, each divided by its sum: weights of the mean over a band."""
    bands = even_bands(size, count)
    return bands / bands.sum((1, 2), keepdim=True)
