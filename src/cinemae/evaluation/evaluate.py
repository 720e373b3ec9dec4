"""A whole evaluation: data set, detectors, conditions → predictions on disk and their report."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cinemae.detect.detector import Detector
from cinemae.evaluation.detectors import DEFAULT_DETECTORS, PictureSet, Setup, make_sources
from cinemae.evaluation.pictures import (
    PictureList,
    refuse_shared_images,
    require_both,
    require_labels,
    require_photographs,
    survey,
)
from cinemae.evaluation.predictions import ALIGNED, PREDICTIONS_FILE, RAW, Predictions
from cinemae.evaluation.report import write_report
from cinemae.evaluation.results import EvaluationResults
from cinemae.evaluation.run import DetectorColumns, run
from cinemae.evaluation.section import Section
from cinemae.evaluation.tables import tabulate
from cinemae.evaluation.versions import versions
from cinemae.pictures.corruptions import STANDARD_GRID, parse_condition
from cinemae.sources.archives import read_encoded
from cinemae.sources.layouts import DataSet, Layout, read_dataset
from cinemae.sources.local_files import Listing
from cinemae.sources.records import ImageRecord

_EXAMPLES = (  # title, class, and 1 for the lowest scores first, -1 for the highest
    ("Generated, and called so most surely", 1, -1),
    ("Photographs, and called so most surely", 0, 1),
    ("Photographs most accused", 0, -1),
    ("Generated images most trusted", 1, 1),
)


@dataclass(frozen=True)
class Plan:
    """What to evaluate on what.

    Attributes:
        source: The test set, as `cinemae.sources.layouts.read_dataset` takes it.
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
        listing: How folders here are listed; it counts what the test set left out.
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
    listing: Listing = field(default_factory=Listing)


def evaluate(
    plan: Plan, out: Path, *, progress: Callable[[int, int], None] | None = None
) -> tuple[Predictions, EvaluationResults]:
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
    data = read_dataset(plan.source, layout=plan.layout, split=plan.split, listing=plan.listing)
    require_labels(data.records, "the test set")
    require_photographs(np.array([record.label for record in data.records]), "the test set")
    records = judged_records(data)
    for problem in data.report.problems:  # now too: a run over a large data set takes hours
        plan.setup.tell(f"data set: {problem}")
    if summary := plan.listing.summary():
        plan.setup.tell(f"data set: {summary}")
    conditions = conditions_of(plan.corruptions)
    for name in conditions:  # refused now, not when baselines are trained
        parse_condition(name)
    sources = make_sources(plan.detectors, _filled(plan, records))
    about = _about(plan, data, sources)
    plan.setup.tell(f"data set: {data.report.read_as_sentence}")
    predictions = run(records, sources, conditions, seed=plan.seed, about=about, progress=progress)
    predictions.save(out / PREDICTIONS_FILE)
    results = tabulate(predictions)
    more = []
    if plan.examples and "cinemae" in plan.detectors:
        more = example_sections(predictions, plan.setup.model, plan.examples, records)
    write_report(results, out, title=f"Evaluation of {', '.join(predictions.detectors)}", more=more)
    return predictions, results


def conditions_of(corruptions: Sequence[str]) -> list[str]:
    """Return raw, aligned, and the corruptions asked for; "standard" stands for the whole grid.

    Example:
        >>> conditions_of(["jpeg=50"])
        ['raw', 'aligned', 'jpeg=50']
    """
    grid = [level for levels in STANDARD_GRID.values() for level in levels]
    asked = [one for name in corruptions for one in (grid if name == "standard" else [name])]
    return list(dict.fromkeys([RAW, ALIGNED, *asked]))


def picture_set(name: str, source: str, listing: Listing | None = None) -> PictureSet:
    """Read a labelled set of pictures; those that cannot be read are left out.

    Raises:
        EvaluationError: If a label is missing or a class is empty.
    """
    records = read_dataset(source, listing=listing).records
    require_labels(records, f"the {name} set")
    images = survey(records)
    require_both(images.label[images.readable], f"the {name} set")
    return PictureSet(PictureList(records), images).chosen(np.nonzero(images.readable)[0])


def judged_records(data: DataSet) -> list[ImageRecord]:
    """Return the images of a data set that test something: of those with a training split, the others.

    Where no generator has both classes these are all images, and what is wrong with them is said when they are judged.
    """
    places = sorted({place for test_set in data.test_sets.values() for place in test_set})
    return [data.records[place] for place in places] or [one for one in data.records if one.label is not None]


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
    detector = Detector.from_pretrained(model)
    text = (
        "Bright means hard to predict from its context, on the fixed scale of photographs, as parts of "
        "photographs and of generated images are; it is no map of what is fake."
    )
    sections = [Section("Example maps", [text])]
    for title, label, sign in _EXAMPLES:
        chosen = np.nonzero(images.readable & (images.label == label))[0]
        chosen = chosen[np.argsort(sign * scores[chosen], kind="stable")][:count]
        maps = [
            (
                f"{images.generator[index]}, probability {scores[index]:.2f}: {images.path[index]}",
                _map_png(detector, tested_records[index]),
            )
            for index in chosen.tolist()
        ]
        if maps:
            sections.append(Section(title, level=3, maps=maps))
    return sections


def _map_png(detector: Detector, record: ImageRecord) -> bytes:
    buffer = io.BytesIO()
    detector.detect(read_encoded(record)).heatmap().save(buffer, "PNG")
    return buffer.getvalue()


def _filled(plan: Plan, records: Sequence[ImageRecord]) -> Setup:
    """Return the setup with the plan's training and validation images, after refusing what is in two sets."""
    named = (("training", plan.train), ("validation", plan.validation))
    sets = {name: picture_set(name, source, Listing(plan.listing.follow_links)) for name, source in named if source}
    if sets and not plan.allow_overlap:
        known = {name: one.images for name, one in sets.items()} | {"test": survey(records)}
        for first, second in itertools.combinations(known, 2):
            refuse_shared_images(known[first], known[second], (first, second))
    return replace(plan.setup, train=sets.get("training"), validation=sets.get("validation"))


def _about(plan: Plan, data: DataSet, sources: Sequence[DetectorColumns]) -> dict[str, Any]:
    """Return what predictions should say of the run; the fingerprints are those of frozen halves."""
    fingerprints = {source.columns[0].detector: getattr(source, "fingerprint", None) for source in sources}
    return {
        "test_set": plan.source,
        "layout": data.layout,
        "found": data.report.to_dict(),
        "training_set": plan.train,
        "validation_set": plan.validation,
        "corruption_seed": plan.seed,
        "fingerprints": {name: value for name, value in fingerprints.items() if value is not None},
        "versions": versions(),
    }
