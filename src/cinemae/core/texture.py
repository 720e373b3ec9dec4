"""The texture of a view, in two ways that forensics has long used: block magnitudes and residuals. Ours, beside Eq. 3.

The block spectrum says how large each DCT coefficient is on average; this says how the magnitudes are distributed, how
they hang together with the block beside and with the other channels, and which triples of neighbouring second
differences occur (co-occurrences of residuals; Fridrich and Kodovsky 2012, doi 10.1109/TIFS.2012.2190402). Both join
f_global where `GlobalFeatureConfig.texture` asks for it (decision 0022).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from cinemae.core.block_spectrum import block_magnitudes

STEPS = (1, 2, 8)
"""Levels of luma that second differences are divided by before rounding; half as many of B - Y and R - Y."""
LARGEST = 2
"""Rounded second differences are cut at this many steps."""
LEAST_SHARE = 1e-4
"""Added to a share of all triples before its logarithm."""
LEAST_DEVIATION = 0.01
"""Added to the deviation of a coefficient's log magnitudes before they are divided by it; flat pictures have none."""

_LUMA = (77 / 256, 150 / 256, 29 / 256)
"""Exact in float32 together with levels of 0 to 255, so that no rounding depends on who computes."""


def texture(
    pixel_values: Float[Tensor, "N 3 H W"], mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor
) -> Float[Tensor, "N 918"]:
    """Return what `block_dependence` and `residual_cooccurrences` find, side by side.

    Args:
        pixel_values: Normalised images, (N, 3, H, W), at least 16 pixels a side.
        mean: Of each channel, as it was taken off, of values from 0 to 1.
        std: Of each channel, as it was divided by.

    Returns:
        (N, 918): 567 and 351.

    Example:
        >>> texture(torch.zeros(1, 3, 16, 16), (0.5, 0.5, 0.5), (1, 1, 1)).shape
        torch.Size([1, 918])
    """
    values = pixel_values.float()
    shift, scale = (values.new_tensor(list(each)).view(3, 1, 1) for each in (mean, std))
    levels = (255 * (values * scale + shift)).round()
    magnitudes = block_magnitudes(pixel_values, mean, std)
    return torch.cat([block_dependence(magnitudes), residual_cooccurrences(levels)], dim=-1)


def block_dependence(magnitudes: Float[Tensor, "N 3 63 V U"]) -> Float[Tensor, "N 567"]:
    """Return skewness of log magnitudes over blocks, correlation with the block beside or below, and among channels.

    Each 189 values: of the 63 coefficients of Y, B - Y and R - Y in turn; for the last, of Y with B - Y, Y with R - Y
    and B - Y with R - Y.

    Args:
        magnitudes: Of `block_magnitudes`, blocks in V rows of U.
    """
    flat = magnitudes.flatten(3)
    deviation = flat.std(-1, correction=0) + LEAST_DEVIATION
    scaled = (magnitudes - flat.mean(-1)[..., None, None]) / deviation[..., None, None]
    skewness = scaled.flatten(3).pow(3).mean(-1)
    across = (scaled[..., 1:] * scaled[..., :-1]).flatten(3).mean(-1)
    down = (scaled[..., 1:, :] * scaled[..., :-1, :]).flatten(3).mean(-1)
    channels = scaled.flatten(3)
    among = channels[:, (0, 0, 1)] * channels[:, (1, 2, 2)]
    return torch.cat([part.flatten(1) for part in (skewness, (across + down) / 2, among.mean(-1))], dim=-1)


def residual_cooccurrences(levels: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 351"]:
    """Return the logarithm of how often each triple of neighbouring second differences occurs.

    Second differences along rows and columns, of Y, B - Y and R - Y, are divided by each of `STEPS`, rounded to even
    and cut at `LARGEST`; counted are three in a row, (5, 5, 5). A triple, its mirror image, its negative and both
    count as one, so that 39 are left.

    Args:
        levels: Whole numbers from 0 to 255, (N, 3, H, W), RGB.
    """
    red, green, blue = levels.unbind(1)
    luma = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]
    channels = torch.stack([luma, blue - luma, red - luma], 1)
    along_rows, along_columns = (
        each[..., :-2] - 2 * each[..., 1:-1] + each[..., 2:] for each in (channels, channels.transpose(2, 3))
    )
    merge = _alike().to(channels)
    found = []
    for step in STEPS:
        per_channel = channels.new_tensor([step, step / 2, step / 2]).view(3, 1, 1)
        counts = (_count_triples(along_rows / per_channel) + _count_triples(along_columns / per_channel)) @ merge
        found.append((counts / counts.sum(-1, keepdim=True) + LEAST_SHARE).log().flatten(1))
    return torch.cat(found, dim=-1)


def _count_triples(residuals: Tensor) -> Tensor:
    """Return how often each triple along the last axis occurs, (N, C, 125)."""
    digits = residuals.round().clamp(-LARGEST, LARGEST) + LARGEST
    values = 2 * LARGEST + 1
    place = ((digits[..., :-2] * values + digits[..., 1:-1]) * values + digits[..., 2:]).long().flatten(2)
    counts = residuals.new_zeros(*residuals.shape[:2], values**3)
    return counts.scatter_add(2, place, torch.ones_like(place, dtype=counts.dtype))  # sums of ones: exact in any order


def _alike() -> Tensor:
    """Return which of the 125 triples count as which of 39, (125, 39) of 0 and 1."""
    values = range(-LARGEST, LARGEST + 1)
    triples = [(first, second, third) for first in values for second in values for third in values]
    names = [min((a, b, c), (c, b, a), (-a, -b, -c), (-c, -b, -a)) for a, b, c in triples]
    kept = sorted(set(names))
    return functional.one_hot(torch.tensor([kept.index(name) for name in names]), len(kept)).float()
