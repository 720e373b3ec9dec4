"""Sec. 3 as a detector: the frozen MAE's mean NLL or LCAS and a threshold, nothing trained but that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cinemae.core.features import features_to_lcas
from cinemae.core.preprocess import preprocess
from cinemae.models.directory import read_model_config, resolve_model
from cinemae.models.scorers import find_device
from cinemae.models.weights import load_extractor


class FrozenDetector:
    """Minus the mean NLL (Eq. 2, sigma 1) or LCAS (Eq. 4) over masked patches, passes and views.

    Photographs are the harder ones to predict from context (Sec. 3), so the negative is higher for fakes. Which way it
    goes is the paper's claim and is not turned round where the images say otherwise: an AUC below 0.5 shows that.

    Args:
        name: "nll" or "lcas".
        model: Model directory or Hub id; None for the bundled one.
        device: Where to run it.
    """

    outputs: Literal["score"] = "score"

    def __init__(self, name: str, model: str | None, device: str) -> None:
        directory = resolve_model(model)
        self.name, self._config = name, read_model_config(directory)
        self._extractor = load_extractor(directory, self._config, device=find_device(device), dtype=torch.float32)
        self.fingerprint: str | None = self._config.fingerprint
        self.description = f"frozen backbone of {self._config.model_id}, no head"

    def fit(self, pictures: Sequence[Image.Image], labels: NDArray[np.int64], *, seed: int) -> None:
        """Learn nothing: the threshold is chosen by whoever judges the scores."""

    @torch.inference_mode()
    def predict(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """Return minus the mean NLL or LCAS of each image, (N,)."""
        patch_dim = self._config.backbone.patch_dim
        scores = []
        for image in images:
            pixel_values = torch.from_numpy(preprocess(image, self._config.extractor.image))
            features = self._extractor(pixel_values.to(next(self._extractor.parameters()).device))
            if self.name == "nll":
                of_patches = features.fidelity * (patch_dim / 2)
            else:
                of_patches = features_to_lcas(features, self._config.lcas, patch_dim)
            scores.append(-float(of_patches.double().nanmean()))
        return np.array(scores)
