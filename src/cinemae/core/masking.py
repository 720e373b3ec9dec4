"""The K masks of Sec. 4.3, and pixels to patches and back.

A mask is made from a row of noise, one number a patch: the lowest quarter stays visible. The rows come from a seed
alone, so every image meets the same masks and its score does not depend on its batch, order or machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cinemae.config import MaskConfig
from cinemae.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def mask_noise(seed: int, num_passes: int, num_patches: int) -> NDArray[np.float32]:
    """Return K independent rows of masking noise (decision 0002).

    Each row is a random permutation of ``0, 1/L, ..., (L-1)/L``: no two patches tie, so every sort agrees. The bits
    come from PCG64's raw stream, which NumPy keeps stable across versions and machines.

    Args:
        seed: Any non-negative integer.
        num_passes: K, the number of rows.
        num_patches: L, the number of patches of one image.

    Returns:
        Noise of shape (K, L), float32 in [0, 1).

    Example:
        >>> noise = mask_noise(seed=0, num_passes=2, num_patches=4)
        >>> np.sort(noise, axis=1).tolist()
        [[0.0, 0.25, 0.5, 0.75], [0.0, 0.25, 0.5, 0.75]]
    """
    if num_passes < 1 or num_patches < 1:
        raise ConfigError(f"num_passes and num_patches must be at least 1, got {num_passes} and {num_patches}.")
    raw = np.random.PCG64(seed).random_raw(num_passes * num_patches).reshape(num_passes, num_patches)
    rank = raw.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    noise: NDArray[np.float32] = (rank / num_patches).astype(np.float32)
    return noise


def complementary_noise(seed: int, num_passes: int, num_patches: int) -> NDArray[np.float32]:
    """Return K rows of noise whose visible sets are disjoint: pass k shows the k-th part of one permutation.

    With K = 4 and a mask ratio of 0.75 each patch is visible once and scored three times, so a map has no holes
    (two independent masks leave 1 patch in 16 unscored).

    Args:
        seed: Any non-negative integer.
        num_passes: K, the number of rows.
        num_patches: L, the number of patches of one image.

    Returns:
        Noise of shape (K, L), float32 in [0, 1).

    Example:
        >>> noise = complementary_noise(seed=0, num_passes=4, num_patches=8)
        >>> sorted(noise.argmin(axis=1).tolist()) == sorted(set(noise.argmin(axis=1).tolist()))
        True
    """
    rank = (mask_noise(seed, 1, num_patches)[0] * num_patches).round().astype(np.int64)
    shift = np.array([(pass_index * num_patches) // num_passes for pass_index in range(num_passes)])
    noise: NDArray[np.float32] = (((rank[None, :] - shift[:, None]) % num_patches) / num_patches).astype(np.float32)
    return noise


def noise_from_config(config: MaskConfig, num_patches: int) -> NDArray[np.float32]:
    """Return the noise rows that `config` asks for, shape (K, L) float32."""
    make = complementary_noise if config.scheme == "complementary" else mask_noise
    noise: NDArray[np.float32] = make(config.seed, config.num_passes, num_patches)
    return noise


def num_visible(num_patches: int, mask_ratio: float) -> int:
    """Return how many patches stay visible, rounded down as in He et al. 2022.

    Example:
        >>> num_visible(196, 0.75)
        49
    """
    return int(num_patches * (1 - mask_ratio))


class MaskPlan(NamedTuple):
    """Which patch goes where in each of K masked passes: all that noise is asked for, so it is sorted once.

    Attributes:
        visible: Indices of the visible patches, (K, V).
        hidden: Indices of the masked patches, (K, M); V + M = L.
        restore: Where each patch stands in ``visible | hidden``, (K, L).
    """

    visible: Tensor
    hidden: Tensor
    restore: Tensor

    @property
    def mask(self) -> Tensor:
        """1 masked, 0 visible, (K, L) float32."""
        return (self.restore >= self.visible.shape[1]).float()


def plan_masks(noise: Tensor, mask_ratio: float) -> MaskPlan:
    """Sort rows of noise into index plans.

    Args:
        noise: (K, L); in each row the lowest ``1 - mask_ratio`` stay visible.
        mask_ratio: Share of hidden patches.

    Example:
        >>> import torch
        >>> plan = plan_masks(torch.tensor([[0.5, 0.0, 0.75, 0.25]]), 0.75)
        >>> plan.visible.tolist(), plan.hidden.tolist(), plan.restore.tolist(), plan.mask.tolist()
        ([[1]], [[3, 0, 2]], [[2, 0, 3, 1]], [[1.0, 0.0, 1.0, 1.0]])
    """
    keep = num_visible(noise.shape[1], mask_ratio)
    shuffle = noise.argsort(dim=1)
    return MaskPlan(shuffle[:, :keep], shuffle[:, keep:], shuffle.argsort(dim=1))


def patchify(pixel_values: Tensor, patch_size: int) -> Tensor:
    """Cut images into rows of patches, channel fastest: (N, C, H, W) to (N, L, patch_size * patch_size * C).

    Raises:
        ConfigError: If height or width is not a multiple of `patch_size`.
    """
    n, c, height, width = pixel_values.shape
    if height % patch_size or width % patch_size:
        raise ConfigError(f"height and width must be multiples of patch_size {patch_size}, got {height}x{width}.")
    rows, columns = height // patch_size, width // patch_size
    cut = pixel_values.reshape(n, c, rows, patch_size, columns, patch_size)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(n, rows * columns, patch_size * patch_size * c)


def unpatchify(patches: Tensor, patch_size: int) -> Tensor:
    """Put the patches of square images back together: (N, L, patch_size * patch_size * C) to (N, C, H, W).

    Raises:
        ConfigError: If L is not a square number.
    """
    n, length, values = patches.shape
    side = round(length**0.5)
    if side * side != length:
        raise ConfigError(f"the number of patches must be a square, got {length}.")
    channels = values // (patch_size * patch_size)
    grid = patches.reshape(n, side, side, patch_size, patch_size, channels)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(n, channels, side * patch_size, side * patch_size)
