"""The block spectrum of a view: what stays of a generator's trace in 8x8 DCT coefficients. Ours, beside Eq. 3.

A frozen encoder that was trained to see things says little of the finest detail; the magnitudes of DCT coefficients say
it plainly. They join f_global where `GlobalFeatureConfig.block_spectrum` asks for it (decision 0022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

BLOCK = 8
FLOOR = 0.3
"""Added to a magnitude, in levels of 0 to 255, before its logarithm."""

_LUMA = (0.299, 0.587, 0.114)


def block_spectrum(
    pixel_values: Float[Tensor, "N 3 H W"], mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor
) -> Float[Tensor, "N 378"]:
    """Return mean and deviation over a view's 8x8 blocks of ``log(|DCT coefficient| + 0.3)``.

    Of Y, B - Y and R - Y in turn, Y = 0.299 R + 0.587 G + 0.114 B in levels of 0 to 255: the means of the 63
    coefficients beside the block's own mean, row by row, then their deviations. The DCT is orthonormal and of type II;
    blocks begin at the top left, and what is left over at the right and below does not count.

    Args:
        pixel_values: Normalised images, (N, 3, H, W), at least 8 pixels a side.
        mean: Of each channel, as it was taken off, of values from 0 to 1.
        std: Of each channel, as it was divided by.

    Returns:
        (N, 378).

    Example:
        >>> flat = block_spectrum(torch.zeros(1, 3, 16, 16), (0.5, 0.5, 0.5), (1, 1, 1))
        >>> bool((flat[0, :63] - math.log(0.3)).abs().max() < 1e-3), float(flat[0, 63:126].abs().max()) < 1e-3
        (True, True)
    """
    magnitudes = block_magnitudes(pixel_values, mean, std).flatten(3)
    return torch.cat([magnitudes.mean(-1), magnitudes.std(-1, correction=0)], dim=-1).flatten(1)


def block_magnitudes(
    pixel_values: Float[Tensor, "N 3 H W"], mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor
) -> Float[Tensor, "N 3 63 V U"]:
    """Return ``log(|DCT coefficient| + 0.3)`` of each block, in V rows of U; arguments as of `block_spectrum`."""
    values = pixel_values.float()
    shift, scale = (values.new_tensor(list(each)).view(3, 1, 1) for each in (mean, std))
    levels = 255 * (values * scale + shift)
    luma = (levels * levels.new_tensor(_LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    channels = torch.cat([luma, levels[:, 2:] - luma, levels[:, :1] - luma], dim=1)
    basis = _dct_filters().to(levels)
    coefficients = functional.conv2d(channels.flatten(0, 1).unsqueeze(1), basis, stride=BLOCK)[:, 1:]
    magnitudes: Tensor = (coefficients.abs() + FLOOR).log().unflatten(0, (-1, 3))
    return magnitudes


def _dct_filters() -> Tensor:
    """Return the 64 basis pictures of the orthonormal DCT-II, (64, 1, 8, 8), coefficient by row and column."""
    place, frequency = torch.arange(BLOCK, dtype=torch.float64), torch.arange(BLOCK, dtype=torch.float64)[:, None]
    rows = torch.cos(math.pi / BLOCK * (place + 0.5) * frequency) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return (rows[:, None, :, None] * rows[None, :, None, :]).flatten(0, 1).unsqueeze(1).float()
