"""Our own head trained anew for a protocol: from stored features, several seeds, the threshold from held-out images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save

from cinemae.config import HeadConfig, LcasConfig, TrainConfig
from cinemae.core.head import CinemaeHead, pooled_dim
from cinemae.evaluation.analyses.transfer import best_threshold
from cinemae.evaluation.protocols.bench_data import trained_on
from cinemae.features.training_set import TrainingSet, hold_out
from cinemae.sources.whole_files import replacing
from cinemae.stores.features import FeatureStore
from cinemae.training.train import fit_head, predict_logits

_THRESHOLD = "chosen_threshold"


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
    store: FeatureStore,
    recipe: HeadRecipe,
    *,
    keep: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[TrainedHead]:
    """Train one head a seed on three quarters of a store's images and choose its threshold on the rest.

    The images held out are a quarter of each generator's and each photo source's, the same for all seeds.

    Args:
        store: Labelled training images.
        recipe: How.
        keep: Folder that keeps each head as it is done, to be used again; None for none.
        tell: Called with a line for each head that is trained.

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
        kept = keep and keep / f"{_identity(store, recipe, seed)}.safetensors"
        if kept is not None and kept.is_file():
            result.append(_load(kept, config, seed))
            continue
        tell(f"training the head, seed {seed}, on {len(fitted)} images")
        head = fit_head(fitted, judged, config, recipe.train, seed, [])
        logits = predict_logits(head, judged)
        one = TrainedHead(head, seed, best_threshold(logits[judged.labels == 0], logits[judged.labels == 1]))
        result.append(one)
        if kept is not None:
            _save(one, kept)
    return result


def _identity(store: FeatureStore, recipe: HeadRecipe, seed: int) -> str:
    """Return 16 hex digits that change whenever the head of a seed could."""
    alone = replace(recipe, train=replace(recipe.train, seed=seed, num_seeds=1))
    held_out_by = recipe.train.seed
    return hashlib.sha256(f"{store.header.job} {held_out_by} {alone!r}".encode()).hexdigest()[:16]


def _save(one: TrainedHead, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    threshold = torch.tensor(one.chosen_threshold, dtype=torch.float64)
    with replacing(path) as temporary:
        temporary.write_bytes(save({**one.head.state_dict(), _THRESHOLD: threshold}))


def _load(path: Path, config: HeadConfig, seed: int) -> TrainedHead:
    state = load_file(path)
    threshold, head = float(state.pop(_THRESHOLD)), CinemaeHead(config)
    head.load_state_dict(state)
    return TrainedHead(head.eval(), seed, threshold)


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
