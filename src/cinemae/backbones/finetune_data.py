"""Images for fine-tuning: which can be read, what each step sees of them, and their features under a given backbone."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cinemae.backbones.finetune_config import FinetuneRecipe
from cinemae.config import ImageConfig, LcasConfig, TrainConfig
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.features import FeatureExtractor, terms_to_lcas
from cinemae.errors import TrainingError
from cinemae.features.extract import BATCHES_AHEAD, decode_record, extract_rows
from cinemae.features.extract_job import DEFAULT_BATCH_SIZE
from cinemae.features.training_set import TrainingSet, require_both_classes
from cinemae.sources.overlap import refuse_overlap
from cinemae.sources.records import ImageRecord
from cinemae.sources.stream import read_ahead
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.format_probe import FactColumns, format_probe_of
from cinemae.stores.store_format import StoreRow
from cinemae.training.build_model import shared_generators


@dataclass(frozen=True)
class LabelledImages:
    """The readable, labelled images of one side.

    Attributes:
        records: Where they lie, with label and generator.
        rows: What is known of each file; no features.
        failures: A sentence for each labelled image that could not be read.
        num_unlabelled: Images left out because nothing says what they are.
    """

    records: tuple[ImageRecord, ...]
    rows: tuple[StoreRow, ...]
    failures: tuple[str, ...]
    num_unlabelled: int

    @classmethod
    def read(cls, records: Sequence[ImageRecord], config: ImageConfig) -> Self:
        """Decode every labelled image once, to find out which can be."""
        labelled = [record for record in records if record.label is not None]
        rows = list(read_ahead(lambda record: decode_record(record, config, None)[0], labelled))
        good = [(record, row) for record, row in zip(labelled, rows, strict=True) if row.status == "ok"]
        return cls(
            records=tuple(record for record, _ in good),
            rows=tuple(row for _, row in good),
            failures=tuple(f"{row.path}: {row.error_message}" for row in rows if row.status == "error"),
            num_unlabelled=len(records) - len(labelled),
        )

    def __len__(self) -> int:
        return len(self.records)

    @property
    def labels(self) -> NDArray[np.int64]:
        """0 real, 1 fake, (N,)."""
        return np.array([record.label for record in self.records], np.int64)

    @property
    def generators(self) -> NDArray[np.str_]:
        """Generator of each fake, source of each photograph, "" where unknown, (N,)."""
        return np.array([record.generator or "" for record in self.records], np.str_)

    def __getitem__(self, chosen: Iterable[int]) -> LabelledImages:
        """Return the chosen images, by index."""
        indices = [int(index) for index in chosen]
        records, rows = (tuple(whole[index] for index in indices) for whole in (self.records, self.rows))
        return LabelledImages(records, rows, self.failures, self.num_unlabelled)  # type: ignore[arg-type]

    def format_probe(self) -> Estimate | None:
        """Return how well the files' container and size alone tell the classes apart (`statistics.format_probe`)."""
        container, width, height = (
            np.array([getattr(row, name) for row in self.rows]) for name in ("source_format", "width", "height")
        )
        return format_probe_of(FactColumns(container, width, height, np.full(len(self), np.nan)), self.labels)


def read_both(recipe: FinetuneRecipe, config: ImageConfig) -> tuple[LabelledImages, LabelledImages, str]:
    """Read training and validation images, and say how the two relate.

    Raises:
        TrainingError: If a class is missing on a side, or a file is on both.
    """
    training, validation = LabelledImages.read(recipe.training, config), LabelledImages.read(recipe.validation, config)
    for images, name in ((training, "the training set"), (validation, "the validation set")):
        require_both_classes(images.labels, name)
    if not recipe.allow_overlap:
        hashes = {str(row.content_hash) for row in training.rows}
        judged = ((row.path, str(row.content_hash)) for row in validation.rows)
        refuse_overlap(hashes, judged, ("training", "validation"), error=TrainingError)
    generators = (images.generators[images.labels == 1] for images in (training, validation))
    return training, validation, f"validation from its own images; {shared_generators(*generators)}"


def left_out(training: LabelledImages, validation: LabelledImages) -> dict[str, dict[str, int]]:
    """Return how many images of each side were not used, and why."""
    sides = {"training": training, "validation": validation}
    return {
        "unreadable": {name: len(images.failures) for name, images in sides.items()},
        "unlabelled": {name: images.num_unlabelled for name, images in sides.items()},
    }


def failures_file(training: LabelledImages, validation: LabelledImages) -> dict[str, bytes]:
    """Return ``unreadable.txt`` by name, a sentence for each image that could not be read; nothing if all could."""
    lines = [f"{failure}\n" for failure in (*training.failures, *validation.failures)]
    return {"unreadable.txt": "".join(lines).encode(errors="surrogateescape")} if lines else {}


@dataclass(frozen=True)
class Draw:
    """What one step looks at.

    Attributes:
        images: Which images, (n,).
        views: Which views of each, (n, V'); None for all.
    """

    images: Tensor
    views: Tensor | None


def plan_epoch(num_images: int, num_views: int, config: TrainConfig, generator: torch.Generator) -> list[Draw]:
    """Draw one epoch: each image once, in a new order, with `views_drawn` of its views.

    The draws come in the order of `training.train`, so a run here meets the images that one on a store would.
    """
    order = torch.randperm(num_images, generator=generator)
    draws = []
    for chosen in order.split(config.batch_size):
        views = None
        if config.views_drawn is not None:
            views = torch.rand(len(chosen), num_views, generator=generator).argsort(1)[:, : config.views_drawn]
        draws.append(Draw(chosen, views))
    return draws


def whole_plan(num_images: int, batch_size: int = DEFAULT_BATCH_SIZE) -> list[Draw]:
    """Return draws that pass over all views of all images once, in order."""
    return [Draw(chosen, None) for chosen in torch.arange(num_images).split(batch_size)]


def load_views(
    images: LabelledImages, draws: Iterable[Draw], config: ImageConfig
) -> Generator[tuple[Draw, Tensor], None, None]:
    """Decode what each draw asks for, a few draws ahead.

    Args:
        images: To draw from.
        draws: Taken as needed.
        config: How views are cut.

    Returns:
        Each draw with its `pixel_values`, (n, V', 3, S, S), in order.

    Raises:
        TrainingError: If a file that could be read before no longer can.
    """

    def load(draw: Draw) -> tuple[Draw, Tensor]:
        pixels = torch.from_numpy(np.stack([_pixels(images.records[index], config) for index in draw.images]))
        return draw, pixels if draw.views is None else pixels[torch.arange(len(pixels))[:, None], draw.views]

    return read_ahead(load, draws, ahead=BATCHES_AHEAD)


def _pixels(record: ImageRecord, config: ImageConfig) -> NDArray[np.float32]:
    row, pixels = decode_record(record, config, None)
    if pixels is None:
        raise TrainingError(
            f"an image that could be read at the start no longer can ({os.fspath(record.path)}: {row.error_message}): "
            "restore it and train again."
        )
    return pixels


def measure_features(
    extractor: FeatureExtractor, images: LabelledImages, lcas: LcasConfig
) -> tuple[TrainingSet, NDArray[np.float32]]:
    """Run the backbone as it is now over images: what a store of them would hold.

    Args:
        extractor: Backbone and settings.
        images: At least one.
        lcas: Weight and reduction of Eq. 4's terms.

    Returns:
        The features of each view, and the LCAS of every masked patch of the photographs, (n,).

    Raises:
        TrainingError: If a feature is not finite: training has diverged.
    """
    columns: list[tuple[NDArray[Any], NDArray[Any]]] = []
    of_photographs = [np.zeros(0, np.float32)]
    for row in (row for rows in extract_rows(images.records, extractor) for row in rows):
        if row.global_feature is None or row.deviation is None or row.fidelity is None:
            raise TrainingError(f"an image can no longer be read ({row.path}: {row.error_message}): restore it.")
        terms = torch.from_numpy(row.deviation), torch.from_numpy(row.fidelity)
        scores = terms_to_lcas(*terms, lcas, extractor.backbone.patch_dim)
        columns.append((row.global_feature, anomaly_stats(scores).numpy()))
        if row.label == 0:
            of_photographs.append(scores[~scores.isnan()].numpy())
    global_feature, stats = (np.stack(column) for column in zip(*columns, strict=True))
    if not (np.isfinite(global_feature).all() and np.isfinite(stats).all()):
        raise TrainingError("training diverged to features that are not finite: lower the backbone's learning rate.")
    return TrainingSet.of(global_feature, stats, images.labels, images.generators), np.concatenate(of_photographs)
