"""Calibrate a model anew on one's own images: other curve, thresholds and "unlike anything seen", the same head."""

from __future__ import annotations

import filecmp
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cinemae.calibration.images import ScoredImages, score_images
from cinemae.calibration.outliers import cross_fitted_distances, distances, fit_distance, ood_reference, summarise
from cinemae.calibration.report import CalibrationReport, report_calibration, require_enough
from cinemae.config import ModelConfig, OodReference, TrainConfig
from cinemae.core.mahalanobis import MahalanobisDistance
from cinemae.core.model import CinemaeModel
from cinemae.errors import FingerprintMismatchError, ModelDirError, TrainingError
from cinemae.models.card import refresh_model_card
from cinemae.models.directory import CONFIG_FILE, RESULTS_FILE, read_model_config, write_model_config
from cinemae.models.export import export_onnx
from cinemae.models.weights import load_model, save_distance
from cinemae.sources.one_class import read_class
from cinemae.stores.features import FeatureStore

UNREADABLE = "calibration-unreadable.txt"


@dataclass(frozen=True)
class RecalibrationRecipe:
    """Everything that `recalibrate` needs.

    Attributes:
        model: A model directory.
        real: Sources of photographs, as `cinemae.sources.datasets.read_records` takes them.
        fake: Sources of generated images.
        trained_on: Feature stores that the model was trained on, if they are at hand: their images are refused as
            calibration images, and say what the model has seen.
        targets: The two target rates, and the seed of the folds; nothing else of it counts.
        device: Where to run the model.
    """

    model: Path
    real: Sequence[str]
    fake: Sequence[str]
    trained_on: Sequence[Path] = ()
    targets: TrainConfig = field(default_factory=TrainConfig)
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class Recalibration:
    """What `recalibrate` found; nothing is written yet.

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


def recalibrate(recipe: RecalibrationRecipe, *, progress: Callable[[int, int], None] | None = None) -> Recalibration:
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
    records = [*read_class(recipe.real, 0), *read_class(recipe.fake, 1)]
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
    distance, ood = _learn_seen(stores, model, images, recipe.targets.seed)
    return Recalibration(recipe.model, replace(config, decision=report.decision, ood=ood), distance, report, images)


def save_recalibration(
    found: Recalibration,
    out: Path | None = None,
    *,
    describe: Callable[[CalibrationReport, Path], None] | None = None,
) -> Path:
    """Write the recalibrated model: graph, settings, card and figures; backbone and head stay as they are.

    Everything is written in a folder beside the target first. A new model appears whole or not at all. In place each
    file is replaced in one step, config.json last, so at no moment do new thresholds judge by an old graph.

    Args:
        found: What `recalibrate` found.
        out: Directory to write, new or empty; None to replace the model it came from.
        describe: Called with the report and the folder before the card is written; what it leaves there is kept.

    Returns:
        The directory written.

    Raises:
        ModelDirError: If `out` holds files already.
    """
    target = found.source if out is None else out
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelDirError(f"a new model is written into a new folder, and {out} holds files: name another (--out).")
    target.resolve().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".calibrating-", dir=target.resolve().parent) as folder:
        whole = Path(folder) / "model"
        shutil.copytree(found.source, whole)
        _write(found, whole, describe)
        if out is None:
            _replace_files(whole, target)
        else:
            if out.exists():
                out.rmdir()
            whole.rename(out)
    return target


def _write(found: Recalibration, whole: Path, describe: Callable[[CalibrationReport, Path], None] | None) -> None:
    results = _read_results(whole)
    results.setdefault(
        "decision", read_model_config(whole).decision.to_dict()
    )  # what training's rates were measured at
    results["recalibration"] = {**found.report.to_dict(), "figures": found.report.figures()}
    write_model_config(found.config, whole)
    save_distance(found.distance, whole)
    export_onnx(whole)
    text = "\n".join(found.images.unreadable)
    (whole / UNREADABLE).unlink(missing_ok=True)
    if text:
        (whole / UNREADABLE).write_text(text + "\n", encoding="utf-8", errors="surrogateescape")
    if describe:
        describe(found.report, whole)
    (whole / RESULTS_FILE).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    refresh_model_card(whole)


def _replace_files(whole: Path, target: Path) -> None:
    """Put the files of `whole` that differ in place of those in `target`, each in one step, config.json last."""
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    for name in sorted(files, key=lambda name: name == Path(CONFIG_FILE)):
        if not (target / name).is_file() or not filecmp.cmp(whole / name, target / name, shallow=False):
            (whole / name).replace(target / name)
    if not (whole / UNREADABLE).exists():
        (target / UNREADABLE).unlink(missing_ok=True)


def _read_results(directory: Path) -> dict[str, Any]:
    path = directory / RESULTS_FILE
    if not path.is_file():
        return {}
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelDirError(f"{path} is not JSON ({error}): restore it, or delete it to go without.") from error
    return results


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
    stores: Sequence[FeatureStore], model: CinemaeModel, images: ScoredImages, seed: int
) -> tuple[MahalanobisDistance, OodReference]:
    if stores:
        parts = [store.load(("global_feature", "label")) for store in stores]
        distance = fit_distance(
            np.concatenate([summarise(part["global_feature"][part["label"] >= 0]) for part in parts])
        )
    elif model.distance is not None:
        distance = model.distance
    else:
        distance = fit_distance(images.summary)
        return distance, ood_reference(cross_fitted_distances(images.summary, seed=seed), images.labels)
    return distance, ood_reference(distances(distance, images.summary), images.labels)
