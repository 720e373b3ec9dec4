"""The model under its own name: as ``cinemae detect`` runs it, with its own masks and with others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cinemae.core.preprocess import preprocess
from cinemae.evaluation.predictions import ALIGNED, RAW, Column
from cinemae.evaluation.run import Batch
from cinemae.models.directory import resolve_model
from cinemae.models.scorers import make_scorer


class CinemaeColumns:
    """A model directory; one column for each seed of the masks, the model's own first.

    Args:
        model: Model directory or Hub id; None for the bundled one.
        device: Where to run it.
        mask_seeds: How many seeds of the masks.
        precision: As for `cinemae.models.scorers.make_scorer`.
    """

    def __init__(self, model: str | None, device: str, mask_seeds: int, precision: str = "auto") -> None:
        self._scorer = make_scorer(resolve_model(model), device, precision=precision)
        config = self._scorer.config
        self.fingerprint: str | None = config.fingerprint
        first = config.extractor.mask.seed
        self.columns = tuple(
            Column(
                "cinemae",
                mask_seed=seed,
                outputs="probability",
                threshold=config.decision.threshold,
                threshold_rule=f"the model's own: {config.decision.rule}",
                description=self._scorer.model_id,
                real_below=config.decision.real_below,
            )
            for seed in range(first, first + mask_seeds)
        )

    def score(self, batch: Batch) -> NDArray[np.float64]:
        """Return calibrated probabilities, (n, number of mask seeds); the other seeds say nothing under corruptions."""
        image = self._scorer.config.extractor.image
        pixel_values = np.stack([preprocess(picture, image) for picture in batch.pictures])
        found = np.full((len(batch.pictures), len(self.columns)), np.nan)
        for index, column in enumerate(self.columns):
            if index == 0 or batch.condition in (RAW, ALIGNED):
                found[:, index] = self._scorer.score(pixel_values, mask_seed=column.mask_seed).prob_fake
        return found
