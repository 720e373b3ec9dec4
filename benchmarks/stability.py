"""Verdicts that another delivery of the same picture takes back, with ``--stable`` and without it.

Every picture is scored as it is and in deliveries that ``--stable`` does not try itself (`DELIVERIES`), each time with
``stable=True``; the verdict without it follows from the same probability. A picture of which "ai" or "real" is said
flips if the other delivery is called anything else; it is contradicted if that is the opposite word.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measure import LIKE_BUNDLED, RESULTS, ROOT, describe_machine
from cinemae import Detector, Verdict, load_image
from cinemae.detect.words import word_for
from cinemae.errors import ImageError
from cinemae.pictures.corruptions import parse_condition
from cinemae.sources.archives import read_encoded
from cinemae.sources.layouts import read_dataset
from cinemae.sources.records import ImageRecord
from cinemae.statistics.metrics import rate

DELIVERIES = ("jpeg=60", "resize=0.5", "webp=80")
RECORD, PAGE = RESULTS / "stability.json", ROOT / "docs" / "stability.md"
CLASSES = ("photographs", "generated")


def measure(source: str, model: str | None) -> dict[str, Any]:
    """Score every picture in every delivery and count.

    Args:
        source: Labelled images, as `cinemae evaluate` takes them.
        model: Model directory or Hub id; None for the bundled one.
    """
    detector = Detector.from_pretrained(model)
    records = readable_records(source)
    labels = np.array([record.label for record in records])
    verdicts = {
        name: list(detector.detect_batch(delivered(records, name), on_error="raise", stable=True))
        for name in ("raw", *DELIVERIES)
    }
    with_stable = {name: np.array([verdict.verdict for verdict in found]) for name, found in verdicts.items()}
    without = {name: np.array([_alone(verdict, detector) for verdict in found]) for name, found in verdicts.items()}
    return {
        "machine": describe_machine(),
        "model": detector.model_id,
        "images": dict(zip(CLASSES, [int((labels == label).sum()) for label in (0, 1)], strict=True)),
        "without": _count(without, labels),
        "with": _count(with_stable, labels),
    }


def readable_records(source: str) -> list[ImageRecord]:
    """Return the labelled pictures that can be read."""
    return [record for record in read_dataset(source).records if record.label is not None and _readable(record)]


def _readable(record: ImageRecord) -> bool:
    try:
        load_image(read_encoded(record))
    except ImageError:
        return False
    return True


def delivered(records: Sequence[ImageRecord], condition: str) -> Iterator[Image.Image]:
    """Yield each picture as a condition of `cinemae evaluate` alters it."""
    corruption = parse_condition(condition)
    for record in records:
        loaded = load_image(read_encoded(record))
        yield corruption.apply(loaded.image, loaded.content_hash)


def _alone(verdict: Verdict, detector: Detector) -> str:
    return word_for(verdict.prob_fake or 0.0, detector.decision)


def _count(words: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for label, name in enumerate(CLASSES):
        of_class = {delivery: row[labels == label] for delivery, row in words.items()}
        raw = of_class["raw"]
        said = raw != "uncertain"
        pairs = [(raw[said], of_class[delivery][said]) for delivery in DELIVERIES]
        flips = [before != after for before, after in pairs]
        contradicted = [(before != after) & (after != "uncertain") for before, after in pairs]
        found[name] = {
            "called ai": _share(raw == "ai"),
            "called real": _share(raw == "real"),
            "flips": {delivery: _share(flip) for delivery, flip in zip(DELIVERIES, flips, strict=True)},
            "flips in any": _share(np.any(flips, axis=0)),
            "contradicted in any": _share(np.any(contradicted, axis=0)),
        }
    return found


def _share(found: np.ndarray) -> dict[str, Any] | None:
    """Return the share that holds with its interval; None of no picture at all."""
    return asdict(rate(int(found.sum()), len(found))) if len(found) else None


def render() -> str:
    """Return the page from the committed record."""
    values = json.loads(RECORD.read_text(encoding="utf-8"))
    names = ["called ai", "called real", *DELIVERIES, "flips in any", "contradicted in any"]
    heads = ['called "ai"', 'called "real"', *(f"flips at {name}" for name in DELIVERIES), *names[-2:]]
    rows = [f"| images | | {' | '.join(heads)} |", f"|---|---|{'---:|' * len(heads)}"]
    for kind in CLASSES:
        for key, label in (("without", "without"), ("with", "with `--stable`")):
            found = values[key][kind]
            cells = [_cell(found["flips"][name] if name in DELIVERIES else found[name]) for name in names]
            rows.append(f"| {kind} | {label} | {' | '.join(cells)} |")
    counts = " and ".join(f"{n} {name}" for name, n in values["images"].items())
    return PAGE_TEXT.format(note=LIKE_BUNDLED, table="\n".join(rows), counts=counts, model=values["model"])


def _cell(estimate: dict[str, Any] | None) -> str:
    if estimate is None:
        return "-"
    share, low, high = (f"{100 * estimate[key]:.1f}" for key in ("value", "low", "high"))
    return f"{share} [{low}, {high}], n {estimate['n']}"


PAGE_TEXT = """# Does a verdict hold when the picture is delivered anew?

{note}Written by `python -m benchmarks.stability` from `benchmarks/results/stability.json`; do not edit.

The same picture arrives as a download, a thumbnail, a re-share. `cinemae detect --stable` (in Python
`detect(image, stable=True)`) scores five variants beside the picture itself: saved as JPEG 85, three quarters of the
size, mirrored, and under two other sets of masks. Where the picture is called "ai" or "real" and one of the variants
gets another verdict, the answer is "uncertain", and the reasons name the variant. It takes six times as long. What
the two sets of masks say hangs on the model: the probability of the one bundled before hardly hung on the statistics of
LCAS ([experiments](decisions/experiments.md#which-masks-scatter-at-equal-cost-and-a-map-in-two-passes)), the present
one gives examples/coffee.jpg 0.414, and 0.412 and 0.375 under them.

It is judged here by deliveries that it does not try itself. Percent with 95 % Wilson intervals; a flip is a picture
that is called "ai" or "real" as it is and anything else in the other delivery; it is contradicted if the other delivery
gets the opposite word.

{table}

With `--stable` both the picture and its other delivery are judged that way, the other delivery by the stricter rule
too. So a flip need not become rarer: here it did not. What `--stable` does is to say less: fewer pictures get either
word. No picture was contradicted, with it or without, since "uncertain" lies between the two words.

Model {model}; {counts}: intervals are wide.
"""


def main() -> None:
    """Measure and keep the record, or only write the page again."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="?", help="labelled images; without them only the page is written")
    parser.add_argument("--model", help="a model directory; without it the bundled starter")
    options = parser.parse_args()
    if options.source:
        record = measure(options.source, options.model)
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
