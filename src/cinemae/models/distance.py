"""``ood.safetensors``: what the training images look like, read and written without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from cinemae.config import ModelConfig
from cinemae.core.mahalanobis import MahalanobisDistance, summary_dim
from cinemae.errors import ModelDirError, first_line
from cinemae.models.directory import OOD_FILE


def load_distance(directory: Path, config: ModelConfig, *, required: bool = True) -> MahalanobisDistance | None:
    """Load what tells how unlike the training images an image is; None if the model does not know.

    Args:
        directory: The model directory.
        config: Its config.json.
        required: Refuse a directory that lacks the file although config.json speaks of it.

    Raises:
        ModelDirError: If the file is missing and required, or does not fit config.json.
    """
    path = directory / OOD_FILE
    if not path.is_file() and not (required and config.ood.levels):
        return None
    global_dim = config.extractor.global_feature.dim(config.backbone.hidden_size)
    side_by_side = config.head.joins_views_side_by_side
    size = summary_dim(global_dim, config.extractor.image.num_views, side_by_side)
    try:
        weights = load_file(path)
        whitening = weights["whitening"].astype(np.float32, copy=False)
        found = MahalanobisDistance(weights["mean"], whitening, side_by_side)
    except (OSError, KeyError, SafetensorError) as error:
        raise ModelDirError(
            f"{path} cannot be used ({first_line(error)}): restore it or run cinemae calibrate."
        ) from error
    if found.mean.shape != (size,) or found.whitening.ndim != 2 or found.whitening.shape[1] != size:
        raise ModelDirError(
            f"{path} cannot be used (this model's summary of an image has {size} values, the file's "
            f"{len(found.mean.ravel())}): restore it or run cinemae calibrate."
        )
    return found


def distance_bytes(distance: MahalanobisDistance) -> bytes:
    """Return the content of the file; principal components are rounded to float16."""
    whitening = distance.whitening
    if len(whitening) < whitening.shape[1]:
        whitening = whitening.astype(np.float16)
    weights = {"mean": distance.mean, "whitening": whitening}
    # safetensors writes memory as it lies, and a transposed matrix lies column by column
    return bytes(save({name: np.ascontiguousarray(value) for name, value in weights.items()}))
