"""What a protocol measures: detectors trained on its training images, scored on its test images, each only once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinemae.config import DeviationConfig, MaskConfig
from cinemae.evaluation.analyses.frozen_scores import FrozenScore, FrozenScores
from cinemae.evaluation.analyses.transfer import best_threshold
from cinemae.evaluation.detectors import PictureSet, Setup, make_sources
from cinemae.evaluation.pictures import PictureList
from cinemae.evaluation.predictions import RAW
from cinemae.evaluation.protocols.bench_data import BenchData, trained_on
from cinemae.evaluation.protocols.heads import HeadRecipe, TrainedHead, logits_of, train_heads
from cinemae.evaluation.protocols.protocol import MEAN, POOLED, ProtocolColumn, ProtocolRow
from cinemae.evaluation.protocols.store_cache import StoreCache
from cinemae.evaluation.protocols.table import Measurement
from cinemae.evaluation.run import DetectorColumns, run
from cinemae.evaluation.tables import pairs
from cinemae.features.training_set import hold_out
from cinemae.statistics import resampling

_SHARES = {"accuracy", "accuracy_chosen", "fake_accuracy", "real_accuracy", "auc", "average_precision"}


@dataclass
class Scored:
    """A detector's scores of the test images.

    Attributes:
        own: Its own threshold: logit 0 or probability 0.5; where it has none, the one of best balanced accuracy on
            training images held out.
        chosen: For each seed, the threshold of best balanced accuracy on training images held out.
        scores: For each condition, (N, seeds).
        of_masks: Raw scores of the first seed with masks of other seeds, (N, mask seeds); None where there are none.
        parameters: Of the encoder; None where there is none.
    """

    own: tuple[float, ...]
    chosen: tuple[float, ...]
    scores: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    of_masks: NDArray[np.float64] | None = None
    parameters: int | None = None


class Bench:
    """Trains and scores on one data set; what was done once is kept.

    Args:
        data: The images.
        cache: Where stores are made.
        seeds: How many times each training is done.
        specs: How baselines are made, by name, such as ``{"npr": "npr,epochs=8"}``.
        tell: Called with a line about what is under way.
    """

    def __init__(
        self,
        data: BenchData,
        cache: StoreCache,
        seeds: int,
        specs: Mapping[str, str],
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.data, self.cache, self.seeds = data, cache, seeds
        self._specs, self.tell = specs, tell
        self._sources: dict[tuple[str, tuple[str, ...]], list[DetectorColumns]] = {}
        self._scored: dict[Any, Scored] = {}
        self._heads: dict[Any, list[TrainedHead]] = {}

    def base_recipe(self) -> HeadRecipe:
        """Return how the frozen half's own head is trained, with this bench's number of seeds."""
        frozen = self.cache.frozen
        return HeadRecipe(frozen.head, frozen.lcas, replace(frozen.train, num_seeds=self.seeds))

    def of_row(self, row: ProtocolRow, conditions: Iterable[str], most_passes: int = 0, other_masks: int = 2) -> Scored:
        """Return the scores that a row of a protocol asks for.

        Args:
            row: Of a detector, or of settings of ours.
            conditions: Which conditions it needs.
            most_passes: Masked passes of the store to take the row's from; 0 for the model's own.
            other_masks: How many other seeds of the masks our head's scores are taken with too, where all passes are.
        """
        if row.detector in (None, "cinemae"):
            return self.of_head(row, conditions, most_passes, other_masks)
        if row.detector == "nll":
            return self.of_frozen("nll", row.train, conditions)
        if row.detector == "lcas":
            return self.of_frozen("lcas", row.train, conditions)
        return self.of_detector(row.detector, row.train, conditions)

    def of_head(
        self, row: ProtocolRow, conditions: Iterable[str], most_passes: int = 0, other_masks: int = 2
    ) -> Scored:
        """Train our head with a row's settings and score."""
        base, mask = self.base_recipe(), self.cache.frozen.extractor.config.mask
        deviation = row.deviation_config(self.cache.frozen.extractor.config.deviation)
        passes = None
        if most_passes:
            wanted = row.mask_config(mask)
            passes = tuple(range(wanted.num_passes))
            independent = wanted.scheme == "independent"
            mask = replace(wanted, num_passes=most_passes if independent else wanted.num_passes)
        recipe = replace(
            base,
            head=row.head_config(base.head),
            lcas=row.lcas_config(base.lcas),
            passes=passes,
            generators=row.train,
        )
        key = ("cinemae", repr(recipe), repr(mask), repr(deviation))
        if key not in self._scored:
            store = self.cache.get("train", self.data.train, mask=mask, deviation=deviation)
            heads = train_heads(store, recipe, keep=self.cache.folder / "heads", tell=self.tell)
            self._heads[key] = heads
            chosen = tuple(one.chosen_threshold for one in heads)
            encoder = self.cache.frozen.extractor.backbone.model.vit
            count = sum(weight.numel() for weight in encoder.parameters())
            self._scored[key] = Scored((0.0,) * len(heads), chosen, parameters=count)
        scored, heads = self._scored[key], self._heads[key]
        for condition in conditions:
            if condition not in scored.scores:
                store = self.cache.get("test", self.data.test, condition=condition, mask=mask, deviation=deviation)
                scored.scores[condition] = logits_of(heads, {condition: store}, recipe)[condition]
        if scored.of_masks is None and other_masks and not most_passes:
            masks = [replace(mask, seed=mask.seed + step) for step in range(1, other_masks + 1)]
            scored.of_masks = self._of_other_masks(heads[:1], recipe, masks, deviation)
        return scored

    def _of_other_masks(
        self,
        heads: Sequence[TrainedHead],
        recipe: HeadRecipe,
        masks: Sequence[MaskConfig],
        deviation: DeviationConfig,
    ) -> NDArray[np.float64]:
        stores = {
            str(mask.seed): self.cache.get("test", self.data.test, mask=mask, deviation=deviation) for mask in masks
        }
        return np.concatenate(list(logits_of(heads, stores, recipe).values()), axis=1)

    def frozen(self, part: str, condition: str = RAW) -> FrozenScores:
        """Return NLL, LCAS and statistics of the "train" or "test" images."""
        records = self.data.train if part == "train" else self.data.test
        store = self.cache.get(part, records, condition=condition)
        return FrozenScores.from_stores([store], self.cache.frozen.lcas)

    def of_frozen(self, name: FrozenScore, generators: tuple[str, ...], conditions: Iterable[str]) -> Scored:
        """Return minus the mean NLL or LCAS; the threshold is chosen on training images held out, as for the others."""
        train = self.frozen("train")
        part = np.ones(len(train), bool)
        if generators:
            part = trained_on(train.labels, train.generators, generators)
        train = train[part]
        held_out = hold_out(train.labels, train.generators, seed=0)
        judged = train[held_out].as_detector(name)
        threshold = best_threshold(judged.real, judged.fake)
        scores = {
            condition: self.frozen("test", condition).as_detector(name).scores[:, None] for condition in conditions
        }
        return Scored((threshold,), (threshold,), scores)

    def of_detector(self, name: str, generators: tuple[str, ...], conditions: Iterable[str]) -> Scored:
        """Train a baseline and score the pictures."""
        key = (name, generators)
        if key not in self._sources:
            images = self.data.train_images
            chosen = np.arange(len(images))
            if generators:
                chosen = np.nonzero(trained_on(images.label, images.generator, generators))[0]
            train = PictureSet(PictureList(self.data.train), images).chosen(chosen)
            setup = Setup(train=train, seeds=self.seeds, keep=self.cache.folder.parent / "baselines", tell=self.tell)
            self._sources[key] = make_sources([self._specs.get(name, name)], setup)
            columns = [column for source in self._sources[key] for column in source.columns]
            chosen_thresholds = tuple(float(column.threshold or 0.0) for column in columns)
            own = tuple(
                0.5 if column.outputs == "probability" else threshold
                for column, threshold in zip(columns, chosen_thresholds, strict=True)
            )
            self._scored[key] = Scored(own, chosen_thresholds)
        scored = self._scored[key]
        missing = [condition for condition in conditions if condition not in scored.scores]
        if missing:
            self.tell(f"scoring {name} under {', '.join(missing)}")
            predictions = run(self.data.test, self._sources[key], missing)
            scored.scores |= predictions.scores
        return scored


def cell(data: BenchData, scored: Scored, column: ProtocolColumn, test: str | None = None) -> Measurement | None:
    """Return one cell of a protocol's table, shares in per cent.

    The figure is the mean over seeds, the spread its deviation; the interval is that of the mean, over images. On
    images that stand in for the paper's, "accuracy" is the mean of both classes' accuracies, which is what accuracy is
    on the paper's balanced sets.

    Args:
        data: The test images.
        scored: The detector's scores.
        column: Test set, condition and metric.
        test: In place of the column's test set.

    Returns:
        None if the detector says nothing under this condition, or there is no such metric or generator.
    """
    if column.metric == "parameters":
        return None if scored.parameters is None else Measurement(scored.parameters / 1e6)
    scores = scored.scores.get(column.condition)
    if scores is None or np.isnan(scores).all() or column.metric not in _SHARES:
        return None
    values, drawn, n = [], [], 0
    for index in range(scores.shape[1]):
        groups = _groups(data, scores[:, index], test or column.test)
        if not groups:
            return None
        statistic = {"figure": _statistic(column.metric, scored, index, balanced=data.stand_in)}
        values.append(float(np.mean([resampling.point(real, fake, statistic)["figure"] for real, fake in groups])))
        if min(min(len(real), len(fake)) for real, fake in groups) > 1:
            drawn.append(resampling.mean_draws(groups, statistic)["figure"])
        n = sum(len(fake) for _, fake in groups) + sum({id(real): len(real) for real, _ in groups}.values())
    low, high = np.percentile(np.mean(drawn, axis=0), (2.5, 97.5)) if drawn else (0.0, 1.0)
    spread = 100 * float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Measurement(100 * float(np.mean(values)), spread, 100 * float(low), 100 * float(high), n, decimals=1)


def _groups(
    data: BenchData, scores: NDArray[np.float64], test: str
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    images = data.test_images
    if test == POOLED:
        return [(scores[images.label == 0], scores[images.label == 1])]
    return [(real, fake) for name, real, fake in pairs(images, scores) if test in (MEAN, name)]


def _statistic(metric: str, scored: Scored, index: int, *, balanced: bool) -> resampling.Statistic:
    threshold = scored.chosen[index] if metric == "accuracy_chosen" else scored.own[index]
    whole = resampling.balanced_accuracy_at if balanced else resampling.accuracy_at
    return {
        "accuracy": whole(threshold),
        "accuracy_chosen": whole(threshold),
        "fake_accuracy": resampling.fake_accuracy_at(threshold),
        "real_accuracy": resampling.real_accuracy_at(threshold),
        "auc": resampling.auc_of,
        "average_precision": resampling.average_precision_of,
    }[metric]
