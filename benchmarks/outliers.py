"""What a model's `ood_score` says of photographs, generated images, altered copies and drawn pictures.

    python -m benchmarks.outliers PICTURES --model MODEL --save

PICTURES are labelled, as `cinemae evaluate` takes them, and none that the model was trained on. Told are the shares of
them that are "out of distribution", as they are and after each of `CONDITIONS`; those of pictures that were drawn in
code; and whether the verdict errs more often the farther out a picture lies.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from benchmarks.drawn_pictures import KINDS, draw_pictures
from benchmarks.measure import RESULTS, ROOT, describe_machine
from benchmarks.stability import delivered, readable_records
from cinemae import Detector, Verdict
from cinemae.statistics.metrics import rate

RECORD = RESULTS / "calibration" / "outliers.json"
CONDITIONS = ("raw", "jpeg=50", "blur=3", "noise=20", "resize=0.2", "grayscale")
PARTS = 5
WARNING = "out_of_distribution"


def main() -> None:
    """Measure, print, and with --save keep the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pictures", help="labelled images that the model was not trained on")
    parser.add_argument("--model", help="a model directory; without it the bundled one")
    parser.add_argument("--drawn", type=int, default=40, help="pictures of each drawn kind")
    parser.add_argument("--save", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    options = parser.parse_args()
    detector = Detector.from_pretrained(options.model)
    records = readable_records(options.pictures)
    labels = np.array([record.label for record in records])
    seen = {name: _detect(detector, delivered(records, name)) for name in CONDITIONS}
    drawn = {kind: _detect(detector, draw_pictures(kind, options.drawn)) for kind in KINDS}
    scores = np.array([verdict.ood_score for verdict in seen["raw"]])
    generated = np.array([(verdict.prob_fake or 0.0) >= 0.5 for verdict in seen["raw"]])
    values = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "model": detector.model_id,
        "pictures": options.drawn,
        "drawn": {kind: _flagged(verdicts) for kind, verdicts in drawn.items()},
        "conditions": {
            name: {"photographs": _flagged(verdicts, labels == 0), "fakes": _flagged(verdicts, labels == 1)}
            for name, verdicts in seen.items()
        },
        "auc_for_errors": float(roc_auc_score(generated != (labels == 1), scores)),
        "fifths": [_errors(part, scores, generated, labels) for part in np.array_split(np.argsort(scores), PARTS)],
    }
    print(json.dumps({name: values[name] for name in ("drawn", "conditions", "auc_for_errors")}, indent=1))
    if options.save:
        RECORD.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def _detect(detector: Detector, pictures: Iterable[Image.Image]) -> list[Verdict]:
    return list(detector.detect_batch(pictures, on_error="raise"))


def _flagged(verdicts: list[Verdict], chosen: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    flagged = np.array([WARNING in verdict.warnings for verdict in verdicts])
    flagged = flagged if chosen is None else flagged[chosen]
    return rate(int(flagged.sum()), len(flagged)).to_dict()


def _errors(
    part: NDArray[np.intp], scores: NDArray[np.float64], generated: NDArray[np.bool_], labels: NDArray[np.int64]
) -> dict[str, Any]:
    """Return how often the verdict errs on some of the pictures."""
    real, fake = part[labels[part] == 0], part[labels[part] == 1]
    return {
        "from": float(scores[part].min()),
        "to": float(scores[part].max()),
        "photographs_above_half": rate(int(generated[real].sum()), len(real)).to_dict(),
        "fakes_below_half": rate(int((~generated[fake]).sum()), len(fake)).to_dict(),
    }


if __name__ == "__main__":
    main()
