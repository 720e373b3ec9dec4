"""The format probe as a detector: what a file's container, JPEG quality and size alone give away."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cinemae.evaluation.predictions import RAW, Column, Images
from cinemae.evaluation.run import Batch
from cinemae.statistics.format_probe import FactColumns, FormatProbe


class ProbeColumns:
    """A random forest on the facts of files, pixels unseen.

    Args:
        train: The files to learn from.
        seed: Of the forest.
    """

    def __init__(self, train: Images, seed: int) -> None:
        self._probe = FormatProbe()
        self._probe.fit(facts_of(train), train.label, seed=seed)
        self.columns = (
            Column(
                "format-probe",
                seed=seed,
                threshold=0.5,
                threshold_rule="0.5, classes weighed alike in training",
                description="random forest on container, JPEG quality, width and height; pixels unseen",
            ),
        )

    def score(self, batch: Batch) -> NDArray[np.float64]:
        """Return probabilities, (n, 1); nan under any condition but raw, where files no longer are what they were."""
        if batch.condition != RAW:
            return np.full((len(batch.pictures), 1), np.nan)
        return self._probe.predict(facts_of(batch.images)).reshape(-1, 1)


def facts_of(images: Images) -> FactColumns:
    """Return what the format probe looks at."""
    return FactColumns(images.container, images.width, images.height, images.jpeg_quality)
