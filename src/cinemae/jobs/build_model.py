"""From feature stores to a complete model directory: train, calibrate, measure, write, export."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cinemae.config import HeadConfig, LcasConfig, LcasReference, ModelConfig, TrainConfig
from cinemae.core.backbone import FrozenMAE
from cinemae.core.checkpoint import save_pretrained_folder
from cinemae.core.head import pooled_dim
from cinemae.core.lcas import combine_terms
from cinemae.core.mahalanobis import MahalanobisDistance
from cinemae.data.model_dir import BACKBONE_DIR, write_model_config
from cinemae.data.model_weights import save_distance
from cinemae.data.store import FeatureStore
from cinemae.errors import FingerprintMismatchError, TrainingError
from cinemae.jobs.export import export_onnx
from cinemae.jobs.format_probe import format_probe
from cinemae.jobs.model_card import write_model_card
from cinemae.jobs.outliers import learn_outliers
from cinemae.jobs.train import EpochLine, TrainReport, save_training, train
from cinemae.jobs.training_set import TrainingSet, split_by_generator

REFERENCE_LEVELS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class ModelRecipe:
    """Everything that `build_model` needs.

    Attributes:
        stores: Feature stores to train on.
        backbone: The backbone that made them, as `FrozenMAE.from_pretrained` takes it; written into the model.
        val_stores: Feature stores to validate on; empty to split `stores` by generator.
        val_generators: Which generators to hold out where `val_stores` is empty.
        name: Of the model.
        head: Architecture; `global_dim` is taken from the stores.
        lcas: Weight and reduction of Eq. 4's terms.
        train: Optimiser, balance, seeds, target rates.
        allow_overlap: Accept validation stores that share files with `stores`, which would flatter every figure.
        provenance: Free notes for config.json and the model card, such as data sources and licences.
    """

    stores: Sequence[Path]
    backbone: Path
    val_stores: Sequence[Path] = ()
    val_generators: Sequence[str] | None = None
    name: str = "cinemae"
    head: HeadConfig = field(default_factory=HeadConfig)
    lcas: LcasConfig = field(default_factory=LcasConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    allow_overlap: bool = False
    provenance: dict[str, Any] = field(default_factory=dict)


def build_model(recipe: ModelRecipe, out: Path, *, progress: Callable[[EpochLine], None] | None = None) -> TrainReport:
    """Train a head and write the model directory, its ONNX graph and its card included.

    Args:
        recipe: Stores, backbone and settings.
        out: Directory to write.
        progress: Called with every epoch.

    Raises:
        FingerprintMismatchError: If the stores differ from each other, or from the backbone.
        TrainingError: If a class is missing, a feature is not finite, altered copies have no validation store, or a
            file is both trained and validated on.
        StoreError: If a store cannot be read.
    """
    stores = [FeatureStore.open(path) for path in recipe.stores]
    val_stores = [FeatureStore.open(path) for path in recipe.val_stores]
    first = stores[0]
    backbone = FrozenMAE.from_pretrained(recipe.backbone)
    if backbone.content_hash != first.backbone.content_hash:
        raise FingerprintMismatchError(
            f"{first.path} was extracted with backbone {first.backbone.content_hash[:16]}, but {recipe.backbone} is "
            f"{backbone.content_hash[:16]}: give the backbone that made the store."
        )
    training, validation, split = _split(stores, val_stores, recipe)
    head_config = replace(recipe.head, global_dim=pooled_dim(first.backbone.hidden_size, recipe.head.view_pooling))
    report = train(training, validation, head_config, recipe.train, progress=progress)
    report.results["split"] = split
    report.results["format_probe"] = {
        name: probe.to_dict()
        for name, probed in (("training", stores), ("validation", val_stores))
        if (probe := format_probe(probed or stores))
    }

    distance, ood = learn_outliers(training.global_feature, validation.global_feature, validation.labels)
    out.mkdir(parents=True, exist_ok=True)
    write_backbone(backbone, recipe.backbone, out / BACKBONE_DIR)
    config = ModelConfig(
        name=recipe.name,
        backbone=first.backbone,
        extractor=first.config,
        lcas=recipe.lcas,
        head=head_config,
        decision=report.decision,
        reference=lcas_reference(val_stores or stores, recipe.lcas),
        provenance={
            **recipe.provenance,
            "train": recipe.train.to_dict(),
            "split": split,
            "altered_copies": [store.header.augment.to_dict() for store in stores if store.header.augment],
        },
        ood=ood,
    )
    write_model(config, report, out, distance)
    return report


def write_model(config: ModelConfig, report: TrainReport, out: Path, distance: MahalanobisDistance) -> None:
    """Write all of a model directory but its backbone, which must be there: settings, weights, results, graph, card."""
    write_model_config(config, out)
    save_training(report, out)
    save_distance(distance, out)
    export_onnx(out)
    write_model_card(config, json.loads(json.dumps(report.results)), out)


def lcas_reference(stores: Sequence[FeatureStore], lcas: LcasConfig) -> LcasReference:
    """Return quantiles of patch LCAS over the photographs of `stores`: the fixed scale of heat maps."""
    values = []
    for store in stores:
        columns = store.load(("label", "deviation", "fidelity"))
        real = columns["label"] == 0
        scores = combine_terms(
            torch.from_numpy(columns["deviation"][real]),
            torch.from_numpy(columns["fidelity"][real]),
            fidelity_weight=lcas.fidelity_weight,
            reduction=lcas.reduction,
            patch_dim=3 * store.backbone.patch_size**2,
        )
        values.append(scores[~scores.isnan()].numpy())
    return lcas_quantiles(np.concatenate(values))


def lcas_quantiles(values: NDArray[Any]) -> LcasReference:
    """Return the quantiles of `REFERENCE_LEVELS` of patch LCAS, (n,)."""
    quantiles = np.quantile(values, REFERENCE_LEVELS)
    return LcasReference(levels=REFERENCE_LEVELS, values=tuple(float(value) for value in quantiles))


def write_backbone(backbone: FrozenMAE, source: Path, target: Path) -> None:
    """Copy a local folder's files as they are; write anything else (Hub id, .pth) in the Hub's layout."""
    files = [source / name for name in ("config.json", "model.safetensors")]
    if not all(file.is_file() for file in files):
        save_pretrained_folder(backbone.model, target)
    elif source.resolve() != target.resolve():
        target.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(file, target / file.name)


def _split(
    stores: Sequence[FeatureStore], val_stores: Sequence[FeatureStore], recipe: ModelRecipe
) -> tuple[TrainingSet, TrainingSet, str]:
    data = TrainingSet.from_stores(stores, recipe.lcas)
    if not val_stores:
        if altered := [str(store.path) for store in stores if store.header.augment]:
            raise TrainingError(
                f"{', '.join(altered)} holds altered copies of pictures: held out at random, a picture could be "
                "validated on and its copy trained on. Give a validation store (--val)."
            )
        return split_by_generator(data, recipe.val_generators, seed=recipe.train.seed)
    TrainingSet.from_stores([stores[0], *val_stores], recipe.lcas)  # same frozen half, or it raises
    if not recipe.allow_overlap:
        _refuse_overlap(stores, val_stores)
    validation = TrainingSet.from_stores(val_stores, recipe.lcas)
    shared = shared_generators(data.generators[data.labels == 1], validation.generators[validation.labels == 1])
    return data, validation, f"validation from its own store; {shared}"


def shared_generators(trained: NDArray[np.str_], validated: NDArray[np.str_]) -> str:
    """Say which generators are both trained and validated on."""
    shared = sorted(set(trained.tolist()) & set(validated.tolist()))
    return f"generators in both: {', '.join(shared)}" if shared else "no generator in both"


def _refuse_overlap(stores: Sequence[FeatureStore], val_stores: Sequence[FeatureStore]) -> None:
    seen = {digest for store in stores for digest in store.load(("content_hash",))["content_hash"]}
    columns = [store.load(("content_hash", "path")) for store in val_stores]
    pairs = (pair for part in columns for pair in zip(part["content_hash"], part["path"], strict=True))
    refuse_shared(seen, pairs, "stores")


def refuse_shared(trained: Set[str], validated: Iterable[tuple[str, str]], where: str) -> None:
    """Refuse files of the same content in training and validation, whatever their names.

    Args:
        trained: SHA-256 of every training file.
        validated: SHA-256 and path of every validation file.
        where: What the training files lie in, such as "stores".

    Raises:
        TrainingError: If there is one; the first is named.
    """
    shared = [str(path) for digest, path in validated if digest in trained]
    if shared:
        raise TrainingError(
            f"no image may be both trained and validated on; {len(shared)} of the validation images are in the "
            f"training {where} as well, such as {shared[0]}: take them out, or allow it (--allow-overlap) and trust no "
            "figure."
        )
