"""A whole evaluation: data set, detectors, conditions → predictions on disk and their report."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cinemae.data.archives import read_encoded
from cinemae.data.corruptions import STANDARD_GRID
from cinemae.data.datasets import ImageRecord
from cinemae.data.layouts import DataSet, Layout, read_dataset
from cinemae.detector import Detector
from cinemae.evaluation.detectors import DEFAULT_DETECTORS, PictureSet, Setup, make_sources
from cinemae.evaluation.pictures import PictureList, refuse_overlap, require_both, require_labels, survey
from cinemae.evaluation.predictions import ALIGNED, RAW, Predictions
from cinemae.evaluation.report import write_report
from cinemae.evaluation.run import run
from cinemae.evaluation.sections import Section
from cinemae.evaluation.tables import tabulate
from cinemae.evaluation.versions import versions

PREDICTIONS_FILE = "predictions.parquet"


@dataclass(frozen=True)
class Plan:
    """What to evaluate on what.

    Attributes:
        source: The test set, as `cinemae.data.layouts.read_dataset` takes it.
        layout: How it is laid out, or "auto".
        split: Which part of a data set that has parts.
        detectors: As ``--detector`` takes them.
        setup: Model, device, numbers of seeds; `train` and `validation` are filled in from the sources below.
        train: Training images for the baselines.
        validation: Images to choose thresholds on.
        corruptions: Conditions beside raw and aligned; ("standard",) for the whole grid.
        allow_overlap: Accept test images that are in the training set too.
        seed: Of the random parts of corruptions.
        examples: How many example maps of each kind the HTML report shows.
    """

    source: str
    layout: Layout = "auto"
    split: str | None = None
    detectors: Sequence[str] = DEFAULT_DETECTORS
    setup: Setup = field(default_factory=Setup)
    train: str | None = None
    validation: str | None = None
    corruptions: Sequence[str] = ()
    allow_overlap: bool = False
    seed: int = 0
    examples: int = 3


def evaluate(
    plan: Plan, out: Path, *, progress: Callable[[int, int], None] | None = None
) -> tuple[Predictions, dict[str, Any]]:
    """Evaluate, and write predictions and report.

    Args:
        plan: What to evaluate on what.
        out: Folder to write to.
        progress: Called with (images done, images in all).

    Returns:
        The predictions and the results.

    Raises:
        CinemaeError: One sentence for whatever is wrong with data set, detectors or scores.
    """
    out.mkdir(parents=True, exist_ok=True)  # now, not when all the work is done
    data = read_dataset(plan.source, layout=plan.layout, split=plan.split)
    require_labels(data.records, "the test set")
    records = judged_records(data)
    sets = {
        name: picture_set(name, source)
        for name, source in (("training", plan.train), ("validation", plan.validation))
        if source
    }
    if sets and not plan.allow_overlap:
        known = {name: one.images for name, one in sets.items()} | {"test": survey(records)}
        for first, second in itertools.combinations(known, 2):
            refuse_overlap(known[first], known[second], (first, second))
    setup = _filled(plan.setup, sets)
    sources = make_sources(plan.detectors, setup)
    predictions = run(
        records,
        sources,
        conditions_of(plan.corruptions),
        seed=plan.seed,
        about=_about(plan, data),
        progress=progress,
    )
    predictions.save(out / PREDICTIONS_FILE)
    results = tabulate(predictions)
    more = []
    if plan.examples and "cinemae" in plan.detectors:
        more = example_sections(predictions, plan.setup.model, plan.examples, records)
    write_report(results, out, title=f"Evaluation of {', '.join(names(predictions))}", more=more)
    return predictions, results


def names(predictions: Predictions) -> list[str]:
    """Return the detectors of some predictions, each once, in their order."""
    return list(dict.fromkeys(column.detector for column in predictions.columns))


def conditions_of(corruptions: Sequence[str]) -> list[str]:
    """Return raw, aligned, and the corruptions asked for; "standard" stands for the whole grid.

    Example:
        >>> conditions_of(["jpeg=50"])
        ['raw', 'aligned', 'jpeg=50']
    """
    grid = [level for levels in STANDARD_GRID.values() for level in levels]
    asked = [one for name in corruptions for one in (grid if name == "standard" else [name])]
    return list(dict.fromkeys([RAW, ALIGNED, *asked]))


def picture_set(name: str, source: str) -> PictureSet:
    """Read a labelled set of pictures; those that cannot be read are left out.

    Raises:
        EvaluationError: If a label is missing or a class is empty.
    """
    records = read_dataset(source).records
    require_labels(records, f"the {name} set")
    images = survey(records)
    require_both(images.label[images.readable], f"the {name} set")
    return PictureSet(PictureList(records), images).chosen(np.nonzero(images.readable)[0])


def judged_records(data: DataSet) -> list[ImageRecord]:
    """Return the images of a data set that test something: of those with a training split, the others.

    Where no generator has both classes these are all images, and what is wrong with them is said when they are judged.
    """
    places = sorted({place for test_set in data.test_sets.values() for place in test_set})
    return [data.records[place] for place in places] or list(data.records)


def example_sections(
    predictions: Predictions, model: str | None, count: int, tested_records: Sequence[ImageRecord]
) -> list[Section]:
    """Return maps of the images that the model is surest of, rightly and wrongly (Figs. 8 and 9).

    Args:
        predictions: Of the model; the first of its columns is looked at.
        model: Model directory or Hub id.
        count: Images of each kind.
        tested_records: Where the pictures are, in the order of the predictions.
    """
    images = predictions.images
    column = next(column for column in predictions.columns if column.detector == "cinemae")
    scores = predictions.of(column)
    records = dict(zip(images.path.tolist(), tested_records, strict=True))
    detector = Detector.from_pretrained(model)
    sections = [
        Section(
            "Example maps",
            [
                "Bright means hard to predict from its context, on the fixed scale of photographs. That is what "
                "photographs tend to be; it is no map of what is fake."
            ],
        )
    ]
    kinds = (
        ("Generated, and called so most surely", 1, -1),
        ("Photographs, and called so most surely", 0, 1),
        ("Photographs most accused", 0, -1),
        ("Generated images most trusted", 1, 1),
    )
    for title, label, sign in kinds:
        chosen = np.nonzero(images.readable & (images.label == label))[0]
        chosen = chosen[np.argsort(sign * scores[chosen], kind="stable")][:count]
        maps = []
        for index in chosen:
            path = str(images.path[index])
            verdict = detector.detect(read_encoded(records[path]))
            buffer = io.BytesIO()
            verdict.heatmap().save(buffer, "PNG")
            maps.append((f"{images.generator[index]}, probability {scores[index]:.2f}: {path}", buffer.getvalue()))
        sections.append(Section(title, level=3, maps=maps))
    return sections


def _filled(setup: Setup, sets: dict[str, PictureSet]) -> Setup:
    return replace(setup, train=sets.get("training"), validation=sets.get("validation"))


def _about(plan: Plan, data: DataSet) -> dict[str, Any]:
    return {
        "test_set": plan.source,
        "layout": data.layout,
        "found": data.report.to_dict(),
        "training_set": plan.train,
        "validation_set": plan.validation,
        "corruption_seed": plan.seed,
        "versions": versions(),
    }
