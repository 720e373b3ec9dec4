"""The 30 high-pass filters of the spatial rich model that PatchCraft and AIDE begin with (Fridrich & Kodovsky 2012)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
_SQUARE_3 = np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]])
_SQUARE_5 = np.array(
    [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
)


def srm_filters() -> NDArray[np.float32]:
    """Return the 30 filters, (30, 5, 5), each divided by the size of its centre; all of them sum to 0.

    Eight first and eight third differences (one a direction), four second differences (one a line), four edges of 3x3
    and of 5x5 (a square with the rows beyond its middle cut off, turned), a square of 3x3 and one of 5x5.

    Example:
        >>> srm_filters()[8].tolist()[1:4]  # a second difference, down to the right
        [[0.0, 0.5, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.5, 0.0]]
    """
    first = [_along(direction, {1: 1, 0: -1}) for direction in _DIRECTIONS]
    second = [_along(direction, {1: 1, 0: -2, -1: 1}) for direction in _DIRECTIONS[:4]]
    third = [_along(direction, {2: -1, 1: 3, 0: -3, -1: 1}) for direction in _DIRECTIONS]
    edges = [np.rot90(_upper_half(square), turns) for square in (_SQUARE_3, _SQUARE_5) for turns in range(4)]
    padded = [_padded(one) for one in (*first, *second, *third, *edges, _SQUARE_3, _SQUARE_5)]
    stacked = np.stack(padded)
    return (stacked / np.abs(stacked[:, 2, 2])[:, None, None]).astype(np.float32)


class SrmResidual(nn.Module):
    """The filters as a fixed layer, no weight of it trained.

    Args:
        joint: True for 30 channels, each a filter on the sum of all colours (AIDE); False for 30 a colour (PatchCraft).
    """

    def __init__(self, *, joint: bool) -> None:
        super().__init__()
        filters = torch.from_numpy(srm_filters())[:, None]
        self.joint = joint
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return residuals, (N, 30 or 30 * C, H, W), of pixels (N, C, H, W); edges are padded by zeros."""
        filters: Tensor = self.get_buffer("filters")
        if self.joint:
            return nn.functional.conv2d(pixels.sum(1, keepdim=True), filters, padding=2)
        channels = pixels.shape[1]
        return nn.functional.conv2d(pixels, filters.repeat(channels, 1, 1, 1), padding=2, groups=channels)


def _along(direction: tuple[int, int], values: dict[int, int]) -> NDArray[np.int64]:
    """Return a 5x5 filter with values at multiples of a step from the centre."""
    result = np.zeros((5, 5), np.int64)
    for step, value in values.items():
        result[2 + step * direction[0], 2 + step * direction[1]] = value
    return result


def _upper_half(square: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a square with the rows below its middle set to 0."""
    result = square.copy()
    result[len(square) // 2 + 1 :] = 0
    return result


def _padded(one: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.pad(one, (5 - len(one)) // 2)
