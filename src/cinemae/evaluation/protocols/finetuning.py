"""Rows of a protocol whose backbone is not frozen (Tab. 5a, Fig. 10): trained end to end, kept on disk, scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cinemae.backbones.finetune import finetune
from cinemae.backbones.finetune_config import FinetuneConfig, FinetuneRecipe, Unfreeze
from cinemae.detect.extract_job import ExtractorSource
from cinemae.evaluation.analyses.transfer import best_threshold
from cinemae.evaluation.protocols.heads import HeadRecipe, TrainedHead, logits_of
from cinemae.evaluation.protocols.measure import Bench, Scored
from cinemae.evaluation.protocols.protocol import ProtocolRow
from cinemae.evaluation.protocols.store_cache import StoreCache
from cinemae.features.training_set import TrainingSet, hold_out
from cinemae.fit.start import Start
from cinemae.models.directory import CONFIG_FILE, read_model_config
from cinemae.models.weights import load_head
from cinemae.sources.records import ImageRecord


@dataclass(frozen=True)
class FinetuneOptions:
    """How long fine-tuning goes on.

    Attributes:
        max_steps: Steps a run at most; None for the epochs that the head was trained for.
        seeds: Runs; None for the protocol's number.
    """

    max_steps: int | None = None
    seeds: int | None = None


def scored_finetuned(bench: Bench, row: ProtocolRow, conditions: Sequence[str], options: FinetuneOptions) -> Scored:
    """Fine-tune with a row's parts unfrozen, once a seed, and score the test images with each model.

    Three quarters of the training images are trained on; the threshold is chosen on the others. A model that an earlier
    run has finished is taken from disk.

    Args:
        bench: Images and the backbone to begin with.
        row: What is frozen.
        conditions: What is done to the test images.
        options: How long, how often.
    """
    images = bench.data.train_images
    held_out = hold_out(images.label, images.generator, seed=0)
    fitted, judged = ([bench.data.train[i] for i in np.nonzero(part)[0]] for part in (~held_out, held_out))
    chosen: list[float] = []
    columns: dict[str, list[np.ndarray]] = {condition: [] for condition in conditions}
    for seed in range(options.seeds or bench.seeds):
        cache, heads, recipe = _model(bench, row, seed, (fitted, judged), options)
        store = cache.get("held-out", judged)
        labels = TrainingSet.from_stores([store], recipe.lcas).labels
        logits = logits_of(heads, {"held-out": store}, recipe)["held-out"][:, 0]
        chosen.append(best_threshold(logits[labels == 0], logits[labels == 1]))
        for condition in conditions:
            test = cache.get("test", bench.data.test, condition=condition)
            columns[condition].append(logits_of(heads, {condition: test}, recipe)[condition])
    scores = {condition: np.concatenate(parts, axis=1) for condition, parts in columns.items()}
    return Scored((0.0,) * len(chosen), tuple(chosen), scores)


def _model(
    bench: Bench,
    row: ProtocolRow,
    seed: int,
    data: tuple[list[ImageRecord], list[ImageRecord]],
    options: FinetuneOptions,
) -> tuple[StoreCache, list[TrainedHead], HeadRecipe]:
    """Return a fine-tuned model's cache of stores, its head and its settings, training it if it is not there."""
    frozen, base = bench.cache.frozen, bench.base_recipe()
    part = unfrozen(row)
    folder = bench.cache.folder / f"finetuned-{part}-{options.max_steps or 'all'}-seed-{seed}"
    if not (folder / CONFIG_FILE).exists():
        bench.tell(f"fine-tuning, {part} unfrozen, seed {seed}, on {len(data[0])} images")
        recipe = FinetuneRecipe(
            training=data[0],
            validation=data[1],
            backbone=frozen.backbone,
            extractor=frozen.extractor.config,
            name=f"finetuned-{part}",
            head=base.head,
            lcas=base.lcas,
            train=replace(base.train, seed=seed, num_seeds=1),
            finetune=FinetuneConfig(unfreeze=part, max_steps=options.max_steps),
            device=frozen.device,
        )
        finetune(recipe, folder)
    trained = Start.of(ExtractorSource(str(folder), device=frozen.device))
    head = TrainedHead(load_head(folder, read_model_config(folder)), seed, 0.0)
    return StoreCache(folder / "stores", trained), [head], HeadRecipe(trained.head, trained.lcas, trained.train)


def unfrozen(row: ProtocolRow) -> Unfreeze:
    """Return which parts a row leaves free to learn."""
    names: dict[tuple[bool, bool], Unfreeze] = {
        (False, False): "both",
        (False, True): "encoder",
        (True, False): "decoder",
        (True, True): "none",
    }
    return names[row.freeze_encoder, row.freeze_decoder]
