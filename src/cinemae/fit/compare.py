"""Is the fitted model better than the bundled one? Both score the same held-out images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinemae.core.calibration import calibrate
from cinemae.errors import FingerprintMismatchError
from cinemae.features.training_set import TrainingSet
from cinemae.models.directory import STARTER, read_model_config
from cinemae.models.results import Comparison
from cinemae.models.weights import load_head
from cinemae.statistics.metrics import auc, rate
from cinemae.statistics.resampling import auc_apart
from cinemae.stores.features import FeatureStore
from cinemae.training.train import predict_logits


def bundled_fingerprint() -> str:
    """Return the fingerprint of the bundled model's frozen half."""
    return read_model_config(STARTER).fingerprint


def compare_with_bundled(
    logits: NDArray[np.float64], labels: NDArray[np.int64], store: Path, *, seed: int
) -> Comparison:
    """Score the held-out images with the bundled model's head and hold both against each other.

    Args:
        logits: Of the fitted model, (N,).
        labels: 0 real, 1 fake, (N,).
        store: The same images in the same order, as the bundled model's frozen half sees them.
        seed: Of the resampling.

    Raises:
        FingerprintMismatchError: If the store is of another frozen half.
    """
    config = read_model_config(STARTER)
    opened = FeatureStore.open(store)
    if opened.fingerprint != config.fingerprint:
        raise FingerprintMismatchError(
            f"the bundled model's head takes features of fingerprint {config.fingerprint}, {store} holds "
            f"{opened.fingerprint}: extract the images with the bundled model."
        )
    theirs = predict_logits(load_head(STARTER, config), TrainingSet.from_stores([opened], config.lcas))
    prob = calibrate(theirs, config.decision)
    real, fake = labels == 0, labels == 1
    called = prob >= config.decision.threshold
    return Comparison(
        bundled=config.model_id,
        auc=auc(logits[real], logits[fake], seed=seed),
        auc_bundled=auc(theirs[real], theirs[fake], seed=seed),
        difference=auc_apart(logits, theirs, labels, seed=seed)[0],
        false_positive_rate=rate(int(called[real].sum()), int(real.sum())),
        called_ai=rate(int(called[fake].sum()), int(fake.sum())),
    )
