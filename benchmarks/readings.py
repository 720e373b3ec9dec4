"""Which reading of Eqs. 4 and 5 the figures speak for: the two terms in the stores, and heads of ablation_reduction.

    python -m benchmarks.readings NAME=WORK ... --save

WORK is the folder of stores of one run of ``cinemae reproduce ablation_reduction --preset paper``, NAME what
results/protocols calls it: ablation_reduction, or ablation_reduction-ENCODER. docs/readings.md shows both.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import RESULTS, ROOT
from cinemae.evaluation.protocols.reproduce import Reproduced
from cinemae.evaluation.protocols.table import Measurement
from cinemae.features.training_set import TrainingSet
from cinemae.preset import PAPER
from cinemae.statistics.metrics import mean_generator_auc
from cinemae.stores.features import FeatureStore

RECORD = RESULTS / "readings.json"
PAGE = ROOT / "docs" / "readings.md"
PROTOCOL = "ablation_reduction"
LAMBDAS = (0.0, 0.1, 0.3, 0.5, 1.0)
TABLE_6B = {"accuracy": (66.19, 96.63, 92.10, 88.24, 74.95), "auc": (56.91, 99.28, 87.10, 86.50, 81.20)}
ENCODERS = {
    PROTOCOL: "Frozen half of the bundled model (CLIP)",
    f"{PROTOCOL}-dinov2": "That of the one before (DINOv2)",
    f"{PROTOCOL}-first-starter": "MAE of the first starter",
}
SPACES = {"normalized": "normalised", "unit": "in [0, 1]"}


def terms(store: FeatureStore) -> dict[str, float]:
    """Return what the two terms of Eq. 4, averaged over an image, are like on the images of a store."""
    deviation, both = (
        TrainingSet.from_stores([store], replace(PAPER.lcas, reduction="mean", fidelity_weight=weight))
        for weight in (0.0, 1.0)
    )
    d = deviation.stats[:, 0, 1].astype(np.float64)
    f = store.backbone.patch_dim * (both.stats[:, 0, 1] - d)  # the squared norm of Eq. 4
    weighed = PAPER.lcas.fidelity_weight * f
    labels, names = deviation.labels, deviation.generators
    return {
        "images": len(d),
        "deviation": float(d.mean()),
        "deviation_std": float(d.std()),
        "fidelity": float(f.mean()),
        "weighed_by_deviation": float(weighed.std() / d.std()),
        "literal_with_deviation": float(np.corrcoef(d + weighed, d)[0, 1]),
        "literal_with_fidelity": float(np.corrcoef(d + weighed, f)[0, 1]),
        "mean_with_deviation": float(np.corrcoef(d + weighed / store.backbone.patch_dim, d)[0, 1]),
        "auc_deviation": mean_generator_auc(-d, labels, names),
        "auc_fidelity": mean_generator_auc(-f, labels, names),
    }


def measure(work: Path) -> dict[str, Any]:
    """Return the terms of the test images of each pixel space in a folder of stores."""
    stores = [FeatureStore.open(path) for path in sorted(work.glob("*/test.raw.*"))]
    return {store.config.deviation.pixel_space: terms(store) for store in stores}


def render() -> str:
    """Return the page."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    parts = [_HEAD]
    for name in ENCODERS:
        kept = RESULTS / "protocols" / f"{name}.json"
        parts += [f"## {ENCODERS[name]}", "", *_terms_table(record[name]), ""]
        values = json.loads(kept.read_text(encoding="utf-8"))
        parts += [f"Frozen half: {values['frozen_half']}. " + _PAGE_LINK.format(name=name), ""]
        for metric, title in (("auc", "mean AUC over generators, %"), ("accuracy", "mean accuracy at 0.5, %")):
            parts += [*_grid(values, metric, title), ""]
    return "\n".join(parts).strip() + "\n"


def _terms_table(spaces: dict[str, Any]) -> list[str]:
    rows = [
        "| pixels | Eq. 5, mean ± spread | squared norm of Eq. 4, mean | spread of 0.1 of it, by that of Eq. 5 "
        "| s2 with Eq. 5 alone, literal | with the norm alone, literal | with Eq. 5 alone, mean "
        "| AUC of Eq. 5 alone | AUC of the norm alone |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for space, one in spaces.items():
        cells = (
            SPACES[space],
            f"{one['deviation']:.2f} ± {one['deviation_std']:.2f}",
            f"{one['fidelity']:.1f}",
            f"{one['weighed_by_deviation']:.2f}",
            *(f"{one[key]:.4f}" for key in ("literal_with_deviation", "literal_with_fidelity", "mean_with_deviation")),
            f"{100 * one['auc_deviation']:.1f}",
            f"{100 * one['auc_fidelity']:.1f}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _grid(values: dict[str, Any], metric: str, title: str) -> Iterator[str]:
    """Yield a table: a row a reading, a column a lambda."""
    column = {"auc": "mAUC", "accuracy": "mAcc"}[metric]
    first = Reproduced.from_dict(values).tables[0]
    found = {cell.row: cell.measured for cell in first if cell.column == column and cell.measured is not None}
    yield f"| {title} | {' | '.join(f'lambda {weight}' for weight in LAMBDAS)} |"
    yield f"|---|{'---|' * len(LAMBDAS)}"
    yield f"| *the paper's Tab. 6b, other data and backbone* | {' | '.join(f'*{one}*' for one in TABLE_6B[metric])} |"
    alone = [(name, one) for name, one in found.items() if name.startswith("f_global")]
    for name, one in alone:
        yield f"| {name} | {_cell(one)} | | | | |"
    for reading in dict.fromkeys(name.rpartition(", lambda ")[0] for name in found if "lambda" in name):
        cells = [_cell(found[f"{reading}, lambda {weight}"]) for weight in LAMBDAS]
        yield f"| {reading} | {' | '.join(cells)} |"


def _cell(one: Measurement) -> str:
    return f"{one.value:.1f} ± {one.spread:.1f}" if one.spread is not None else f"{one.value:.1f}"


_PAGE_LINK = "Intervals over images, and the accuracy at chosen thresholds: [{name}](benchmarks/{name}.md)."
_HEAD = """# Which reading of Eqs. 4 and 5

Written by `python -m benchmarks.render` from `benchmarks/results/readings.json` and
`benchmarks/results/protocols/ablation_reduction*.json`; do not edit. What follows from it is
[decision 0025](decisions/0025-reading-of-eqs-4-5.md): **open until someone runs ViT-L on the paper's data**.

The two terms of Eq. 4 are those of 636 pictures of four old generators and fifteen sources of photographs; heads, where
they are shown, learnt by `--preset paper` but for what a row names on 927 of seven other generators: small, old and
other than the paper's. The frozen half is that of the bundled model, six layers of CLIP ViT-B/16, that of the one
before, nine of DINOv2 ViT-S/14, each with a decoder trained here and neither an MAE's encoder, and that of the first
starter, a small MAE trained here, which sees the picture shrunk to 64 pixels.
"Literal": Eq. 5 averaged, Eq. 4's norm summed; "mean": both averaged; "sum": both summed. "As they are" and "scaled":
the statistics before MLP_agg. After ± the deviation over trainings.
"""


def main() -> None:
    """Measure the terms of each run and keep them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="NAME=WORK")
    parser.add_argument("--save", action="store_true", help="keep them in results/readings.json")
    options = parser.parse_args()
    pairs = (text.partition("=")[::2] for text in options.runs)
    measured = {name: measure(Path(work)) for name, work in pairs}
    print(json.dumps(measured, indent=1))
    if options.save:
        record = json.loads(RECORD.read_text(encoding="utf-8")) | measured
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
