"""What a training step draws from: the images of a set, shuffled anew in every epoch, in memory or streamed.

In memory an epoch is one permutation of all samples. Streamed, the blocks of the store are permuted, as many as memory
should hold are read, and their samples are permuted: near to the former where a store's rows are themselves mixed, as
far as a part is large against what lies together in the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cinemae.config import HeadConfig, TrainConfig
from cinemae.core.head import CinemaeHead, pool_views
from cinemae.features.streamed_set import StreamedSet
from cinemae.features.training_set import TrainingSet


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

    def __len__(self) -> int:
        return len(self.labels)

    def cut(self, start: int, stop: int | None) -> Batch:
        """Return some of the samples."""
        return Batch(*(getattr(self, field.name)[start:stop] for field in fields(self)))

    @classmethod
    def join(cls, first: Self, second: Self) -> Self:
        """Return the samples of both."""
        pairs = ((getattr(first, field.name), getattr(second, field.name)) for field in fields(cls))
        return cls(*(torch.cat(pair) for pair in pairs))


def make_samples(
    data: TrainingSet | StreamedSet, head_config: HeadConfig, config: TrainConfig, generator: torch.Generator
) -> Samples | StreamedSamples:
    """Return what training steps draw from.

    Args:
        data: The images.
        head_config: How the views of an image are joined.
        config: Class balance, and how many views are drawn.
        generator: Of the order, and of the views drawn.
    """
    if isinstance(data, StreamedSet):
        return StreamedSamples(data, head_config, config, generator)
    weights = torch.from_numpy(sample_weights(data, config.class_balance)).float()
    return Samples(data, weights, head_config, config, generator)


class Samples:
    """Samples in memory: views where the head averages logits, else images with their views joined.

    With `views_drawn`, each draw of an image joins as many of its views, chosen at random.

    Args:
        data: The images.
        weights: Of each image, (N,).
        head_config: How the views of an image are joined.
        config: How many views are drawn.
        generator: Of the order, and of the views drawn.
    """

    def __init__(
        self,
        data: TrainingSet,
        weights: Tensor,
        head_config: HeadConfig,
        config: TrainConfig,
        generator: torch.Generator,
    ) -> None:
        self.global_feature, self.stats = torch.from_numpy(data.global_feature), torch.from_numpy(data.stats)
        self.labels, self.weights = torch.from_numpy(data.labels).float(), weights
        self._pooling, self._drawn, self._generator = head_config.view_pooling, config.views_drawn, generator
        self._views = self.global_feature, self.stats
        views = self.stats.shape[1]
        if self._pooling == "logit":
            self.global_feature, self.stats = self.global_feature.flatten(0, 1), self.stats.flatten(0, 1)
            self.labels, self.weights = (x.repeat_interleave(views) for x in (self.labels, self.weights))
        else:
            self.global_feature, self.stats = pool_views(*self._views, self._pooling)

    def __len__(self) -> int:
        return len(self.labels)

    def standardize(self, head: CinemaeHead) -> None:
        """Let the head scale its inputs by these samples, where it is set to."""
        head.set_standardization(self.global_feature, self.stats)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield every sample once, in a new order; the last batch may be smaller."""
        for chosen in torch.randperm(len(self.labels), generator=self._generator).split(size):
            yield Batch(*self._inputs(chosen), self.labels[chosen], self.weights[chosen])

    def _inputs(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return global feature and statistics of the chosen samples."""
        if self._drawn is None or self._pooling == "logit":
            return self.global_feature[chosen], self.stats[chosen]
        views = torch.rand(len(chosen), self._views[1].shape[1], generator=self._generator).argsort(1)[:, : self._drawn]
        global_feature, stats = (values[chosen[:, None], views] for values in self._views)
        return pool_views(global_feature, stats, self._pooling)


class StreamedSamples:
    """Samples read from stores in parts; the same words as `Samples`.

    Args:
        data: The images.
        head_config: How the views of an image are joined.
        config: Class balance, and how many views are drawn.
        generator: Of the order, and of the views drawn.
    """

    def __init__(
        self, data: StreamedSet, head_config: HeadConfig, config: TrainConfig, generator: torch.Generator
    ) -> None:
        self._data, self._head_config, self._config, self._generator = data, head_config, config, generator
        self._weights = torch.from_numpy(data.weights(config.class_balance))
        views = data.stores[0].header.shapes["global_feature"][0]
        self._length = len(data) * (views if head_config.view_pooling == "logit" else 1)

    def __len__(self) -> int:
        return self._length

    def standardize(self, head: CinemaeHead) -> None:
        """Let the head scale its inputs by these samples, where it is set to; one pass over the stores."""
        of_global, of_stats = _Moments(), _Moments()
        for part in self._parts(torch.arange(self._data.num_blocks)):
            of_global.add(part.global_feature)
            of_stats.add(part.stats)
        if head.config.standardize_statistics:
            head.stats_mean.copy_(of_stats.mean)
            head.stats_std.copy_(of_stats.std.clamp_min(1e-6))
        if head.config.standardize_global:
            head.global_mean.copy_(of_global.mean)
            head.global_std.copy_(of_global.std.clamp_min(1e-6))

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield every sample once, in a new order; the last batch may be smaller."""
        rest: Batch | None = None
        for part in self._parts(torch.randperm(self._data.num_blocks, generator=self._generator)):
            for batch in part.batches(size):
                rest = batch if rest is None else Batch.join(rest, batch)
                if len(rest) >= size:
                    yield rest.cut(0, size)
                    rest = rest.cut(size, None) if len(rest) > size else None
        if rest is not None:
            yield rest

    def _parts(self, order: Tensor) -> Iterator[Samples]:
        for blocks in order.split(self._data.blocks_together):
            part, numbers = self._data.read(blocks.tolist())
            if len(part):
                weights = self._weights[torch.from_numpy(numbers), torch.from_numpy(part.labels)]
                yield Samples(part, weights, self._head_config, self._config, self._generator)


class _Moments:
    """Mean and sample deviation of values that come in parts (Chan, Golub and LeVeque 1983)."""

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, torch.zeros(1), torch.zeros(1)

    def add(self, values: Tensor) -> None:
        values = values.double()
        count, mean = len(values), values.mean(0)
        total, difference = self.count + count, mean - self.mean
        self._squares = self._squares + (values - mean).square().sum(0) + difference**2 * (self.count * count / total)
        self.mean, self.count = self.mean + difference * (count / total), total

    @property
    def std(self) -> Tensor:
        return (self._squares / (self.count - 1)).sqrt()


def sample_weights(data: TrainingSet, balance: str) -> NDArray[np.float64]:
    """Return a weight for each image, mean 1: none, equal classes, or equal classes and generators within each.

    Example:
        >>> four = TrainingSet(np.zeros((4, 1, 1)), np.zeros((4, 1, 3)), np.array([0, 0, 0, 1]), np.array(list("aabc")))
        >>> [sample_weights(four, name).round(2).tolist() for name in ("none", "class", "generator")]
        [[1.0, 1.0, 1.0, 1.0], [0.67, 0.67, 0.67, 2.0], [0.5, 0.5, 1.0, 2.0]]
    """
    if balance == "none":
        return np.ones(len(data))
    groups = data.labels.astype(str) if balance == "class" else np.char.add(data.labels.astype(str), data.generators)
    weights = np.zeros(len(data))
    for label in (0, 1):
        names = np.unique(groups[data.labels == label])
        for name in names:
            members = (groups == name) & (data.labels == label)
            weights[members] = len(data) / (2 * len(names) * members.sum())
    return weights
