"""What a training step draws from: the images of a set, shuffled anew in every epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cinemae.config import HeadConfig, TrainConfig
from cinemae.core.head import CinemaeHead, pool_views
from cinemae.features.training_set import TrainingSet, row_slices


@dataclass(frozen=True)
class Batch:
    """Samples of one step: images, or views where the head averages the logits of views.

    Attributes:
        global_feature: (B, D).
        stats: s1, s2, s3, (B, 3).
        labels: 0.0 real, 1.0 fake, (B,).
        weights: Of each one's loss, (B,).
    """

    global_feature: Tensor
    stats: Tensor
    labels: Tensor
    weights: Tensor


class Samples:
    """Views where the head averages logits, else images with their views joined.

    With `views_drawn`, each draw of an image joins as many of its views, chosen at random.

    Args:
        data: The images.
        head_config: How the views of an image are joined.
        config: Class balance, and how many views are drawn.
        generator: Of the order, and of the views drawn.
    """

    def __init__(
        self, data: TrainingSet, head_config: HeadConfig, config: TrainConfig, generator: torch.Generator
    ) -> None:
        self._pooling, self._drawn, self._generator = head_config.view_pooling, config.views_drawn, generator
        self._views = torch.from_numpy(data.global_feature), torch.from_numpy(data.stats)
        self.global_feature, self.stats = (torch.from_numpy(values) for values in data.pooled(self._pooling))
        weights = torch.from_numpy(sample_weights(data, config.class_balance))
        repeats = len(self.stats) // len(data)
        self.labels, self.weights = (
            values.float().repeat_interleave(repeats) for values in (torch.from_numpy(data.labels), weights)
        )

    def __len__(self) -> int:
        return len(self.labels)

    def standardize(self, head: CinemaeHead) -> None:
        """Let the head scale its inputs by these samples, where it is set to."""
        head.set_standardization(self.global_feature, self.stats)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield every sample once, in a new order; the last batch may be smaller."""
        for chosen in torch.randperm(len(self.labels), generator=self._generator).split(size):
            yield Batch(*self._inputs(chosen), self.labels[chosen], self.weights[chosen])

    def in_order(self) -> Iterator[Batch]:
        """Yield every sample once, in the order of the set, all views of an image joined."""
        for rows in row_slices(len(self), self.global_feature.numpy()):
            yield Batch(self.global_feature[rows], self.stats[rows], self.labels[rows], self.weights[rows])

    def _inputs(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return global feature and statistics of the chosen samples."""
        if self._drawn is None or self._pooling == "logit":
            return self.global_feature[chosen], self.stats[chosen]
        views = torch.rand(len(chosen), self._views[1].shape[1], generator=self._generator).argsort(1)[:, : self._drawn]
        global_feature, stats = (values[chosen[:, None], views] for values in self._views)
        return pool_views(global_feature, stats, self._pooling)


def sample_weights(data: TrainingSet, balance: str) -> NDArray[np.float64]:
    """Return a weight for each image, mean 1: none, equal classes, or equal classes and generators within each.

    Example:
        >>> features, names = (np.zeros((4, 1, 1)), np.zeros((4, 1, 3))), np.array(list("aabc"))
        >>> four = TrainingSet.of(*features, np.array([0, 0, 0, 1]), names)
        >>> [sample_weights(four, name).round(2).tolist() for name in ("none", "class", "generator")]
        [[1.0, 1.0, 1.0, 1.0], [0.67, 0.67, 0.67, 2.0], [0.5, 0.5, 1.0, 2.0]]
    """
    if balance == "none":
        return np.ones(len(data))
    counts = np.zeros((len(data.groups), 2))
    np.add.at(counts, (data.group_of, data.labels), 1)
    if balance == "class":
        counts[:] = counts.sum(0)
    shares = 1 if balance == "class" else (counts > 0).sum(0)
    weights: NDArray[np.float64] = (len(data) / (2 * shares * np.maximum(counts, 1)))[data.group_of, data.labels]
    return weights
