"""From feature stores to a complete model directory: train, calibrate, measure, write, export."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from cinemae.calibration.outliers import learn_outliers
from cinemae.calibration.record import calibration_files
from cinemae.config import HeadConfig, LcasConfig, LcasReference, ModelConfig, Provenance, TrainConfig
from cinemae.core.backbone import FrozenMAE, MaskedAutoencoder
from cinemae.core.checkpoint import save_pretrained_folder
from cinemae.core.features import FeatureExtractor, terms_to_lcas
from cinemae.core.head import pooled_dim
from cinemae.core.mahalanobis import MahalanobisDistance
from cinemae.core.model import CinemaeModel
from cinemae.errors import FingerprintMismatchError, TrainingError
from cinemae.features.training_set import (
    MOST_IN_MEMORY,
    TrainingSet,
    features_bytes,
    require_one_fingerprint,
    split_by_generator,
)
from cinemae.models.bundle import ModelBundle
from cinemae.models.card import with_card
from cinemae.models.directory import BACKBONE_DIR, HEAD_FILE, OOD_FILE, TRAINING_PLOT
from cinemae.models.distance import distance_bytes
from cinemae.models.export import write_graph
from cinemae.models.results import EpochLine, FitFigures, Results
from cinemae.sources.overlap import refuse_overlap
from cinemae.statistics.format_probe import format_probe
from cinemae.statistics.plot_style import to_png
from cinemae.stores.features import FeatureStore
from cinemae.training.train import TrainReport, plot_history, train

PROBE_ROWS = 20_000
"""About how many images of a store the format probe looks at, at most."""
REFERENCE_ROWS = 50_000
"""About how many images of a store the scale of heat maps rests on, at most."""
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
        stream: Map [CLS] and statistics from a temporary file in place of holding them in memory; None where they take
            more than `MOST_IN_MEMORY` bytes.
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
    provenance: Provenance = field(default_factory=Provenance)
    stream: bool | None = None


@dataclass(frozen=True)
class TrainedModel:
    """A trained model, not written yet.

    Attributes:
        config: Its settings.
        report: Head and figures.
        extractor: The frozen half.
        backbone: Where the weights of the frozen half came from, as `FrozenMAE.from_pretrained` takes it.
        distance: What its training images look like.
        files: What else its directory is to hold.
    """

    config: ModelConfig
    report: TrainReport
    extractor: FeatureExtractor
    backbone: Path
    distance: MahalanobisDistance
    files: Mapping[str, bytes] = field(default_factory=dict)

    def write(self, out: Path, *, fit: FitFigures | None = None) -> None:
        """Write the model directory, its ONNX graph, plots and card included: whole or not at all.

        Args:
            out: New, empty or a model that is replaced.
            fit: What `cinemae fit` has to add to the figures.
        """
        report = self.report
        head = save({name: value.contiguous() for name, value in report.head.state_dict().items()})
        files: dict[str, bytes | Path] = {
            **self.files,
            HEAD_FILE: head,
            OOD_FILE: distance_bytes(self.distance),
            TRAINING_PLOT: to_png(plot_history(report.history)),
            **(calibration_files(report.calibration) if report.calibration else {}),
        }
        model = CinemaeModel(self.extractor, report.head, self.config.lcas).cpu()

        def add(folder: Path) -> None:
            write_backbone(self.extractor.backbone, self.backbone, folder / BACKBONE_DIR)
            write_graph(model, folder, folder)

        results = Results(training=report.results, fit=fit)
        with_card(ModelBundle(self.config, results, files)).write(out, add=add)


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
    trained = train_model(recipe, progress=progress)
    trained.write(out)
    return trained.report


def train_model(recipe: ModelRecipe, *, progress: Callable[[EpochLine], None] | None = None) -> TrainedModel:
    """Do what `build_model` does, and write nothing."""
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
    views, global_dim = first.header.shapes["global_feature"]
    head_config = replace(recipe.head, global_dim=pooled_dim(global_dim, recipe.head.view_pooling, views))
    report = train(training, validation, head_config, recipe.train, progress=progress)
    probes = {
        name: probe
        for name, probed in (("training", stores), ("validation", val_stores))
        if (probe := format_probe(probed or stores, most_rows=PROBE_ROWS))
    }
    report = replace(report, results=msgspec.structs.replace(report.results, split=split, format_probe=probes))
    distance, ood = learn_outliers(
        training.global_feature, validation.global_feature, validation.labels, head_config.joins_views_side_by_side
    )
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
    return TrainedModel(config, report, FeatureExtractor(backbone, first.config), recipe.backbone, distance)


def lcas_reference(stores: Sequence[FeatureStore], lcas: LcasConfig) -> LcasReference:
    """Return quantiles of patch LCAS over the photographs of `stores`: the fixed scale of heat maps."""
    values, names = [], ("label", "deviation", "fidelity")
    for store in stores:
        columns = store.load(names, most_rows=REFERENCE_ROWS)
        real = columns["label"] == 0
        deviation, fidelity = (torch.from_numpy(columns[name][real]) for name in names[1:])
        scores = terms_to_lcas(deviation, fidelity, lcas, store.backbone.patch_dim)
        values.append(scores[~scores.isnan()].numpy())
    return lcas_quantiles(np.concatenate(values))


def lcas_quantiles(values: NDArray[Any]) -> LcasReference:
    """Return the quantiles of `REFERENCE_LEVELS` of patch LCAS, (n,)."""
    quantiles = np.quantile(values, REFERENCE_LEVELS)
    return LcasReference(levels=REFERENCE_LEVELS, values=tuple(float(value) for value in quantiles))


def write_backbone(backbone: MaskedAutoencoder, source: Path, target: Path) -> None:
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
    mapped = recipe.stream if recipe.stream is not None else features_bytes([*stores, *val_stores]) > MOST_IN_MEMORY
    data = TrainingSet.from_stores(stores, recipe.lcas, mapped=mapped)
    if not val_stores:
        if altered := [str(store.path) for store in stores if store.header.augment]:
            raise TrainingError(
                f"{', '.join(altered)} holds altered copies of pictures: held out at random, a picture could be "
                "validated on and its copy trained on. Give a validation store (--val)."
            )
        return split_by_generator(data, recipe.val_generators, seed=recipe.train.seed)
    require_one_fingerprint([stores[0], *val_stores])
    if not recipe.allow_overlap:
        refuse_shared_files(stores, val_stores)
    validation = TrainingSet.from_stores(val_stores, recipe.lcas, mapped=mapped)
    shared = shared_generators(data.names(1), validation.names(1))
    return data, validation, f"validation from its own store; {shared}"


def shared_generators(trained: Iterable[str], validated: Iterable[str]) -> str:
    """Say which generators are both trained and validated on."""
    shared = sorted(set(trained) & set(validated))
    return f"generators in both: {', '.join(shared)}" if shared else "no generator in both"


def refuse_shared_files(stores: Sequence[FeatureStore], val_stores: Sequence[FeatureStore]) -> None:
    """Refuse stores that share files. Eight bytes of each hash are held, so that millions fit; matches are checked.

    Raises:
        TrainingError: If there is one.
    """
    trained = np.concatenate([tails for store in stores for tails, _, _ in _hashes(store)])
    trained.sort()
    suspects: dict[str, str] = {}
    for store in val_stores:
        for tails, digests, paths in _hashes(store):
            at = np.minimum(np.searchsorted(trained, tails), len(trained) - 1)
            suspects.update((digests[row], paths[row]) for row in np.nonzero(trained[at] == tails)[0])
    if suspects:
        seen: set[str] = set()
        for store in stores:
            for _, digests, _ in _hashes(store):
                seen |= suspects.keys() & set(digests)
        judged = ((path, digest) for digest, path in suspects.items())
        refuse_overlap(seen, judged, ("training", "validation"), error=TrainingError)


def _hashes(store: FeatureStore) -> Iterator[tuple[NDArray[np.uint64], list[str], list[str]]]:
    """Yield the last eight bytes of the hashes of readable images, the hashes and the paths, some at a time."""
    for batch in store.iter_batches(("content_hash", "path", "status"), batch_size=2**16):
        rows = [
            row for row in zip(*(batch[name].to_pylist() for name in batch.schema.names), strict=True) if row[2] == "ok"
        ]
        tails = np.array([int(digest[-16:], 16) for digest, _, _ in rows], np.uint64)
        yield tails, [digest for digest, _, _ in rows], [path for _, path, _ in rows]
