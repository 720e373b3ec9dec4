"""Our own head trained anew for a protocol: from stored features, several seeds, the threshold from held-out images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from cinemae.config import HeadConfig, LcasConfig, TrainConfig
from cinemae.core.head import CinemaeHead, pooled_dim
from cinemae.evaluation.analyses.transfer import best_threshold
from cinemae.evaluation.protocols.bench_data import trained_on
from cinemae.features.training_set import TrainingSet, hold_out
from cinemae.stores.features import FeatureStore
from cinemae.training.train import fit_head, predict_logits


@dataclass(frozen=True)
class HeadRecipe:
    """How a head is trained.

    Attributes:
        head: Architecture; `global_dim` is taken from the store.
        lcas: Weight and reduction of Eq. 4's terms.
        train: Optimiser and balance; `num_seeds` heads from `seed` up.
        passes: Which of a store's masked passes count; None for all.
        generators: Which generators to train on; empty for all.
    """

    head: HeadConfig = field(default_factory=HeadConfig)
    lcas: LcasConfig = field(default_factory=LcasConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    passes: tuple[int, ...] | None = None
    generators: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainedHead:
    """A head of one seed, and the logit from which balanced accuracy is best on images held out from its training."""

    head: CinemaeHead
    seed: int
    chosen_threshold: float


def train_heads(
    store: FeatureStore, recipe: HeadRecipe, *, tell: Callable[[str], None] = lambda line: None
) -> list[TrainedHead]:
    """Train one head a seed on three quarters of a store's images and choose its threshold on the rest.

    The images held out are a quarter of each generator's and each photo source's, the same for all seeds.

    Args:
        store: Labelled training images.
        recipe: How.
        tell: Called with a line for each head.

    Raises:
        TrainingError: If a class is missing or training diverges.
    """
    data = load(store, recipe)
    if recipe.generators:
        data = data[trained_on(data.labels, data.generators, recipe.generators)]
    held_out = hold_out(data.labels, data.generators, seed=recipe.train.seed)
    fitted, judged = data[~held_out], data[held_out]
    views, dim = store.header.shapes["global_feature"]
    dim = pooled_dim(dim, recipe.head.view_pooling, views)
    config = replace(recipe.head, global_dim=dim)
    result = []
    for seed in range(recipe.train.seed, recipe.train.seed + recipe.train.num_seeds):
        tell(f"training the head, seed {seed}, on {len(fitted)} images")
        head = fit_head(fitted, judged, config, recipe.train, seed, [])
        logits = predict_logits(head, judged)
        result.append(TrainedHead(head, seed, best_threshold(logits[judged.labels == 0], logits[judged.labels == 1])))
    return result


def load(store: FeatureStore, recipe: HeadRecipe) -> TrainingSet:
    """Read a store's labelled images with the recipe's reading of Eq. 4 and its passes."""
    return TrainingSet.from_stores([store], recipe.lcas, passes=recipe.passes)


def logits_of(
    heads: Sequence[TrainedHead], stores: Mapping[str, FeatureStore], recipe: HeadRecipe
) -> dict[str, NDArray[np.float64]]:
    """Return the logits of every store's labelled images by every head, {name: (N, number of heads)}."""
    result = {}
    with torch.inference_mode():
        for name, store in stores.items():
            data = load(store, recipe)
            result[name] = np.stack([predict_logits(one.head, data) for one in heads], axis=1)
    return result
