"""A model of one's own images, in one go: read, extract, split, train, calibrate, compare, and say what it is worth.

The pieces are those of `cinemae extract` and `cinemae train`. What is added is what a newcomer would not think of:
which images to hold out, whether the files' formats give the classes away, and whether the images were enough to tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from cinemae.config import AugmentConfig, DecisionConfig, Provenance
from cinemae.detect.extract_job import ExtractorSource
from cinemae.errors import ConfigError, ModelDirError
from cinemae.features.training_set import TrainingSet
from cinemae.fit.compare import bundled_fingerprint, compare_with_bundled
from cinemae.fit.config import FitRecipe
from cinemae.fit.data import Gathered, Sample, gather, refuse_too_few, refuse_too_few_held_out
from cinemae.fit.feature_pool import FeaturePool
from cinemae.fit.report import FitReport
from cinemae.fit.split import ClassSplit, describe, split_class
from cinemae.fit.start import Start
from cinemae.fit.warnings import no_better_than_chance, warn_of_data, warn_of_format, warn_of_results
from cinemae.models.directory import CONFIG_FILE, STARTER, read_model_config
from cinemae.models.results import Comparison, EpochLine, FitWarning
from cinemae.models.weights import load_extractor
from cinemae.preset import PAPER
from cinemae.sources.local_files import Listing, source_root
from cinemae.sources.one_class import is_file
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.figures import CalledRates
from cinemae.statistics.format_probe import FactColumns, FormatProbe, format_probe_of
from cinemae.statistics.metrics import auc, evaluate
from cinemae.stores.features import FeatureStore
from cinemae.training.build_model import ModelRecipe, TrainedModel, train_model
from cinemae.training.train import predict_logits

Progress = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is."""

FEATURES = "features"
"""Below the work folder: features by content. Beside it lie the stores of the last fit."""
TRAIN, TRAIN_COPIES, VAL, VAL_BUNDLED = "train", "train-copies", "val", "val-bundled"

COPIES = AugmentConfig(seed=1)
"""One altered copy of each training image is trained on as well, as for the bundled model; the same for every seed."""

_AT_THRESHOLDS = ("false_positive_rate", "called_ai", "uncertain", "brier_score", "calibration_error")


@dataclass(frozen=True)
class _Split:
    train: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    of_classes: tuple[ClassSplit, ClassSplit]


def fit(
    recipe: FitRecipe,
    out: Path,
    *,
    progress: Progress | None = None,
    warn: Callable[[FitWarning], None] | None = None,
    listing: Listing | None = None,
) -> FitReport:
    """Fit a model to one's own images and write its directory.

    Features are kept in the work folder by content, so another run looks at new images only. The same images and seed
    give the same model.

    Args:
        recipe: Images, what to begin with, how to split.
        out: Model directory to write: new, empty, or a model that is replaced.
        progress: Called as the work goes on.
        warn: Called at once with what is found out before the long part begins.
        listing: How folders here are listed; it counts what is left out.

    Returns:
        Figures on held-out images, and what to know of them.

    Raises:
        ConfigError: If `out` or the work folder lies among the images.
        SourceError: If a source is missing, empty, or names images of the other class.
        TrainingError: If there are too few images of a class, or a file is in both.
        ModelDirError: If there is no such model to begin with, or `out` holds something else.
    """
    tell = progress or (lambda stage, done, total: None)
    work = recipe.work_folder(out)
    _refuse_places(recipe, out, work)
    source = ExtractorSource(recipe.model, recipe.backbone, device=recipe.device, paper=recipe.paper)
    start = Start.of(source)
    images = gather(recipe, partial(tell, "reading"), listing)
    probe = format_probe_of(*_facts(images.samples), seed=recipe.seed)
    biased = warn_of_format(probe)
    if warn:
        for warning in biased:
            warn(warning)

    pool = FeaturePool(work / FEATURES, start.extractor)
    num_images, num_new = len(images.samples), len(pool.missing(images.samples))
    images = images.without(pool.extract(images.samples, partial(tell, "extracting")))
    split = _split(images, recipe, start)
    stores = _write_stores(split, pool, work, start, partial(tell, "extracting altered copies"))
    built = _train(split, stores, start, recipe, out, tell)
    held_out = TrainingSet.from_stores([FeatureStore.open(work / VAL)], start.lcas)
    comparison = _compare(predict_logits(built.report.head, held_out), held_out.labels, split, work, recipe)
    if no_better_than_chance(built.report.results):
        built = _undecided(built, held_out)
    warnings = [
        *biased,
        *warn_of_results(built.report.results, recipe.target_fpr),
        *warn_of_data(split.of_classes, images.num_duplicates, images.num_overlap, len(images.unread)),
    ]
    report = FitReport(
        model_id=built.config.model_id,
        training=built.report,
        splits=split.of_classes,
        format_probe=probe,
        format_auc=_format_auc(split, recipe.seed),
        comparison=comparison,
        warnings=tuple(sorted(warnings, key=lambda warning: not warning.serious)),
        unread=images.unread,
        num_reused=num_images - num_new,
        num_extracted=num_new,
    )
    built.write(out, fit=report.figures())
    return report


def _refuse_places(recipe: FitRecipe, out: Path, work: Path) -> None:
    """Refuse to write where a later run would take what was written for images, or over something else."""
    for source in (*recipe.real, *recipe.fake, *recipe.val_real, *recipe.val_fake):
        searched = not is_file(source) and ("**" in source or Path(source).is_dir())
        inside = [place for place in (out, work) if place.resolve().is_relative_to(source_root(source).resolve())]
        if searched and inside:
            raise ConfigError(
                f"a model lies apart from the images it is made of, and {inside[0]} lies in {source}: name another "
                "folder."
            )
    for place, sign in ((out, CONFIG_FILE), (work, FEATURES)):
        if place.is_dir() and any(place.iterdir()) and not (place / sign).exists():
            raise ModelDirError(
                f"a model and its work folder are new, or written over those of before; {place} holds other files: "
                "name another folder."
            )


def _split(images: Gathered, recipe: FitRecipe, start: Start) -> _Split:
    refuse_too_few(images.pool)  # again: some could not be decoded
    given, targets = (recipe.val_real, recipe.val_fake), (recipe.target_fpr, start.train.target_fnr)
    train: list[Sample] = []
    held_out: list[Sample] = []
    of_classes: list[ClassSplit] = []
    for label in (0, 1):
        kept, measured = ([sample for sample in part if sample.label == label] for part in (images.pool, images.own))
        if given[label]:
            done = describe(label, "own", kept, measured)
        else:
            kept, measured, done = split_class(kept, label, target=targets[label], by=recipe.split_by, seed=recipe.seed)
        train += kept
        held_out += measured
        of_classes.append(done)
    refuse_too_few_held_out(held_out)
    return _Split(tuple(train), tuple(held_out), (of_classes[0], of_classes[1]))


def _write_stores(
    split: _Split, pool: FeaturePool, work: Path, start: Start, tell: Callable[[int, int], None]
) -> list[Path]:
    """Write the stores of the fit and return those to train on."""
    pool.write_store(split.held_out, work / VAL)
    stores = [pool.write_store(split.train, work / TRAIN)]
    if not start.source.paper:
        copies = FeaturePool(work / FEATURES, pool.extractor, COPIES)
        copies.extract(split.train, tell)
        stores.append(copies.write_store(split.train, work / TRAIN_COPIES))
    return stores


def _train(
    split: _Split, stores: Sequence[Path], start: Start, recipe: FitRecipe, out: Path, tell: Progress
) -> TrainedModel:
    work, train = recipe.work_folder(out), replace(start.train, seed=recipe.seed, target_fpr=recipe.target_fpr)

    def tell_epoch(line: EpochLine) -> None:
        tell("training", (line.seed - train.seed) * train.epochs + line.epoch, train.epochs * train.num_seeds)

    model = ModelRecipe(
        stores=stores,
        backbone=Path(start.backbone),
        val_stores=[work / VAL],
        name=recipe.name or out.resolve().name,
        head=start.head,
        lcas=start.lcas,
        train=train,
        provenance=_provenance(split, start, recipe),
    )
    return train_model(model, progress=tell_epoch)


def _beside_paper(recipe: FitRecipe) -> dict[str, object]:
    """Return the settings of training that are not the preset's."""
    settings = {"seed": recipe.seed, "target_fpr": recipe.target_fpr}
    return {name: value for name, value in settings.items() if value != getattr(PAPER.train, name)}


def _provenance(split: _Split, start: Start, recipe: FitRecipe) -> Provenance:
    trained, measured = (
        Counter((sample.label, sample.group) for sample in part) for part in (split.train, split.held_out)
    )
    return {
        "licence": f"of the head not stated, whoever fitted it knows the images; of the backbone: {start.licence}",
        "recipe": [f"made by cinemae fit, from {start.origin}"],
        **({"preset": {"name": "paper", "beside_it": _beside_paper(recipe)}} if recipe.paper else {}),
        "data": [
            {
                "set": f"{('real', 'fake')[key[0]]}/{key[1]}",
                "images": trained[key] + measured[key],
                "origin": f"given to cinemae fit; {measured[key]} of them were measured on",
            }
            for key in sorted({*trained, *measured})
        ],
    }


def _facts(samples: Sequence[Sample]) -> tuple[FactColumns, NDArray[np.int64]]:
    labels = np.array([sample.label for sample in samples], np.int64)
    return FactColumns.of([sample.facts for sample in samples]), labels


def _format_auc(split: _Split, seed: int) -> Estimate:
    probe = FormatProbe()
    probe.fit(*_facts(split.train), seed=seed)
    facts, labels = _facts(split.held_out)
    scores = probe.predict(facts)
    return auc(scores[labels == 0], scores[labels == 1], seed=seed)


def _compare(
    logits: NDArray[np.float64], labels: NDArray[np.int64], split: _Split, work: Path, recipe: FitRecipe
) -> Comparison:
    store = work / VAL
    if FeatureStore.open(store).fingerprint != bundled_fingerprint():
        theirs = load_extractor(STARTER, read_model_config(STARTER), device=recipe.device)
        pool = FeaturePool(work / FEATURES, theirs)
        pool.extract(split.held_out)
        store = pool.write_store(split.held_out, work / VAL_BUNDLED)
    return compare_with_bundled(logits, labels, store, seed=recipe.seed)


def _undecided(built: TrainedModel, held_out: TrainingSet) -> TrainedModel:
    """Let a model that cannot be told from guessing say "uncertain", with a probability of 0.5, of every image."""
    decision = DecisionConfig(
        threshold=1.0,
        real_below=0.0,
        platt_scale=0.0,
        platt_offset=0.0,
        rule='every image is "uncertain": on held-out images the model could not be told from guessing',
    )
    trained = built.report.results
    figures = evaluate(np.full(len(held_out), 0.5), held_out.labels, held_out.generators, decision)
    called = {row.generator: row for row in figures.per_generator}
    results = msgspec.structs.replace(
        trained,
        **{name: getattr(figures, name) for name in _AT_THRESHOLDS},
        per_generator=tuple(
            msgspec.structs.replace(called[row.generator], auc=row.auc) for row in trained.per_generator
        ),
        per_photo_source=figures.per_photo_source,
        cross_fitted=CalledRates(0.0, 0.0, 0.0, 0.0),
        calibration=None,
    )
    report = replace(built.report, decision=decision, results=results, calibration=None)
    return replace(built, config=replace(built.config, decision=decision), report=report)
