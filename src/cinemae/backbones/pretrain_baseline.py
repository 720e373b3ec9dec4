"""What pretraining has to beat: each hidden patch painted with a Gaussian average of the visible patches' mean colours.

A masked autoencoder that has not learned where patches lie predicts the mean of the visible ones (decision 0005). One
that does no more than blur its neighbours scores what this baseline scores.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cinemae.core.masking import mask_noise, num_visible, patchify

SIGMAS = (0.5, 0.7, 1.0, 1.4, 2.0)


def gaussian_neighbour_mse(pixel_values: Tensor, patch_size: int, mask_ratio: float) -> float:
    """Return the baseline's masked squared error a value, under the mask that `masked_mse` uses.

    Args:
        pixel_values: (N, 3, S, S), ImageNet-normalised.
        patch_size: Height and width of a patch.
        mask_ratio: Share of hidden patches.

    Returns:
        The lowest error over the Gaussian's widths in `SIGMAS` (in patches), which favours the baseline.
    """
    patches = patchify(pixel_values, patch_size)
    n, length = patches.shape[:2]
    order = torch.from_numpy(mask_noise(0, 1, length)[0]).argsort()
    keep = num_visible(length, mask_ratio)
    visible, hidden = order[:keep], order[keep:]
    side = round(length**0.5)
    place = torch.stack([torch.arange(length) // side, torch.arange(length) % side], dim=1).float()
    distance = torch.cdist(place[hidden], place[visible])
    colours = patches.reshape(n, length, -1, 3).mean(2)[:, visible]
    target = patches[:, hidden].reshape(n, len(hidden), -1, 3)
    errors = []
    for sigma in SIGMAS:
        weight = torch.softmax(-distance.square() / (2 * sigma**2), dim=1)
        errors.append(float((target - (weight @ colours)[:, :, None]).square().mean()))
    return min(errors)
