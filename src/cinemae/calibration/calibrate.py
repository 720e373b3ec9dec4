"""Calibrate a model anew on one's own images: other curve, thresholds and "unlike anything seen", the same head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np

from cinemae.calibration.images import ScoredImages, score_images
from cinemae.calibration.outliers import cross_fitted_distances, fit_distance, ood_reference
from cinemae.calibration.record import calibration_files
from cinemae.calibration.report import CalibrationReport, report_calibration, require_enough
from cinemae.config import ModelConfig, OodReference, TrainConfig
from cinemae.core.mahalanobis import MahalanobisDistance, view_summary
from cinemae.errors import FingerprintMismatchError, ModelDirError, TrainingError
from cinemae.models.bundle import ModelBundle
from cinemae.models.card import with_card
from cinemae.models.directory import OOD_FILE, UNREADABLE_FILES, is_hidden, read_model_config
from cinemae.models.distance import distance_bytes, load_distance
from cinemae.models.results import Results
from cinemae.models.weights import load_model
from cinemae.sources.local_files import Listing
from cinemae.sources.one_class import read_class
from cinemae.stores.features import FeatureStore

UNREADABLE = UNREADABLE_FILES[1]


@dataclass(frozen=True)
class CalibrationRecipe:
    """Everything that `calibrate_model` needs.

    Attributes:
        model: A model directory.
        real: Sources of photographs, as `cinemae.sources.datasets.read_records` takes them.
        fake: Sources of generated images.
        trained_on: Feature stores that the model was trained on, if they are at hand: their images are refused as
            calibration images, and say what the model has seen.
        targets: The two target rates, and the seed of the folds; nothing else of it counts.
        device: Where to run the model.
        listing: How folders are listed; it counts what is left out.
    """

    model: Path
    real: Sequence[str]
    fake: Sequence[str]
    trained_on: Sequence[Path] = ()
    targets: TrainConfig = field(default_factory=TrainConfig)
    device: str = "cpu"
    listing: Listing = field(default_factory=Listing)


@dataclass(frozen=True, eq=False)
class CalibratedModel:
    """What `calibrate_model` found; nothing is written yet.

    Attributes:
        source: The model directory it came from.
        config: Its new config.json.
        distance: How far an image lies from the training images.
        report: The calibration and what it is worth.
        images: What it rests on.
    """

    source: Path
    config: ModelConfig
    distance: MahalanobisDistance
    report: CalibrationReport
    images: ScoredImages


def calibrate_model(
    recipe: CalibrationRecipe, *, progress: Callable[[int, int], None] | None = None
) -> CalibratedModel:
    """Run a model over labelled images, and choose curve, thresholds and quantiles of distance anew. Writes nothing.

    What the model has seen is learnt from the stores in `trained_on`; else it stays as the model has it; else, for a
    model that does not know, it is learnt from the calibration images themselves, and quantiles are cross-fitted.

    Args:
        recipe: Model, images and target rates.
        progress: Called with (images done, images in all).

    Raises:
        SourceError: If a source is missing or empty, or holds images of the other class.
        TrainingError: If there are too few images of a class for the target rates, an image is in both classes or was
            trained on, or a logit is not finite.
        ModelDirError: If the model is not complete.
        FingerprintMismatchError: If a store was made by another frozen half than the model's.
    """
    config = read_model_config(recipe.model)
    records = [*read_class(recipe.real, 0, recipe.listing), *read_class(recipe.fake, 1, recipe.listing)]
    numbers = [sum(record.label == label for record in records) for label in (0, 1)]
    require_enough(numbers[0], numbers[1], recipe.targets)  # at once: to score them may take hours
    stores = [FeatureStore.open(path) for path in recipe.trained_on]
    _check_stores(stores, config)
    model = load_model(recipe.model, config, device=recipe.device)
    images = score_images(records, model, progress=progress)
    require_enough(int((images.labels == 0).sum()), int((images.labels == 1).sum()), recipe.targets)
    _refuse_trained_on(stores, images)
    report = report_calibration(
        images.logits,
        images.labels,
        images.generators,
        recipe.targets,
        origin="calibration",
        left_out=images.left_out,
    )
    known = load_distance(recipe.model, config)
    side_by_side = config.head.joins_views_side_by_side
    distance, ood = _learn_seen(stores, known, images, recipe.targets.seed, side_by_side=side_by_side)
    changed = replace(config, decision=report.decision, ood=ood, precision="fp32")  # what it was found with
    return CalibratedModel(recipe.model, changed, distance, report, images)


def save_calibrated(found: CalibratedModel, out: Path | None = None) -> Path:
    """Write the calibrated model, whole or not at all; backbone, head and graph stay as they are.

    Args:
        found: What `calibrate_model` found.
        out: Directory to write, new or empty; None to change the model it came from.

    Returns:
        The directory written.

    Raises:
        ModelDirError: If `out` holds files already.
    """
    if out is not None and out.exists() and (not out.is_dir() or any(not is_hidden(path) for path in out.iterdir())):
        raise ModelDirError(f"a new model is written into a new folder, and {out} holds files: name another (--out).")
    before = ModelBundle.read(found.source)
    results = before.results or Results()
    measured_at = results.decision or before.config.decision  # what training's rates were measured at
    report = found.report.to_figures(with_own=True)
    results = msgspec.structs.replace(results, decision=measured_at, recalibration=report)
    unreadable = "".join(f"{line}\n" for line in found.images.unreadable).encode(errors="surrogateescape")
    files = {
        OOD_FILE: distance_bytes(found.distance),
        **calibration_files(found.report),
        **({UNREADABLE: unreadable} if unreadable else {}),
    }
    after = before.changed(without=(UNREADABLE,), files=files)
    return with_card(replace(after, config=found.config, results=results)).write(out or found.source)


def _check_stores(stores: Sequence[FeatureStore], config: ModelConfig) -> None:
    for store in stores:
        if store.fingerprint != config.fingerprint:
            raise FingerprintMismatchError(
                f"{config.name} was trained on features {config.fingerprint}, {store.path} holds {store.fingerprint}: "
                "name the stores that it was trained on (--trained-on)."
            )


def _refuse_trained_on(stores: Sequence[FeatureStore], images: ScoredImages) -> None:
    trained = {digest for store in stores for digest in store.load(("content_hash",))["content_hash"]}
    shared = [path for digest, path in zip(images.content_hashes, images.paths, strict=True) if digest in trained]
    if shared:
        raise TrainingError(
            "a model is calibrated on images that it was not trained on, where it is less sure; "
            f"{len(shared)} of them were, such as {shared[0]}: take them out."
        )


def _learn_seen(
    stores: Sequence[FeatureStore],
    known: MahalanobisDistance | None,
    images: ScoredImages,
    seed: int,
    *,
    side_by_side: bool,
) -> tuple[MahalanobisDistance, OodReference]:
    if stores:
        parts = [store.load(("global_feature", "label")) for store in stores]
        seen = [view_summary(part["global_feature"][part["label"] >= 0], side_by_side) for part in parts]
        known = replace(fit_distance(np.concatenate(seen)), side_by_side=side_by_side)
    if known is None:
        distance = replace(fit_distance(images.summary), side_by_side=side_by_side)
        return distance, ood_reference(cross_fitted_distances(images.summary, seed=seed), images.labels)
    return known, ood_reference(known.of_summary(images.summary), images.labels)
