"""What a person looks at after pretraining: the loss curve and a grid of reconstructions, as PNG."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from cinemae.config import IMAGENET_MEAN, IMAGENET_STD
from cinemae.core.masking import mask_noise, patchify, unpatchify

if TYPE_CHECKING:
    from transformers import ViTMAEForPreTraining


def plot_loss_curve(log: Path, out: Path) -> None:
    """Draw training and validation loss over the images seen, from ``log.jsonl``."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    measured = [line for line in lines if line["validation_loss"] is not None]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([line["images"] for line in lines], [line["loss"] for line in lines], lw=0.8, label="training crops")
    axes.plot(
        [line["images"] for line in measured],
        [line["validation_loss"] for line in measured],
        marker="o",
        label="held-out photographs, averaged weights",
    )
    axes.set(xlabel="training crops seen", ylabel="masked squared error a value (ImageNet-normalised)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out, dpi=120)


@torch.inference_mode()
def plot_reconstructions(model: ViTMAEForPreTraining, pixel_values: Tensor, out: Path) -> None:
    """Draw original, visible patches and redrawn image, one row a picture.

    Args:
        model: The masked autoencoder.
        pixel_values: (N, 3, H, W).
        out: PNG to write.
    """
    patch_size = model.config.patch_size
    num_patches = (model.config.image_size // patch_size) ** 2
    noise = torch.from_numpy(mask_noise(0, 1, num_patches)).expand(len(pixel_values), -1)
    result = model(pixel_values, noise=noise)
    original = patchify(pixel_values, patch_size)
    hidden = result.mask[..., None]
    columns = {
        "original": original,
        "visible to the model": original * (1 - hidden),
        "redrawn where hidden": original * (1 - hidden) + result.logits * hidden,
        "redrawn everywhere": result.logits,
    }
    figure = Figure(figsize=(2.2 * len(columns), 2.2 * len(pixel_values)), layout="constrained")
    grid = figure.subplots(len(pixel_values), len(columns), squeeze=False)
    for column, (title, patches) in enumerate(columns.items()):
        grid[0, column].set_title(title)
        for row, picture in enumerate(unpatchify(patches, patch_size)):
            pixels = picture.permute(1, 2, 0).numpy() * np.array(IMAGENET_STD) + np.array(IMAGENET_MEAN)
            grid[row, column].imshow(pixels.clip(0, 1))
            grid[row, column].axis("off")
    figure.savefig(out, dpi=100)
