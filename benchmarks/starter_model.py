r"""Make the bundled model from stored features: cross-fitted thresholds, a head that learnt from all pictures.

    python -m benchmarks.starter_model LIST.csv --features FEATURES --lcas LCAS --backbone BACKBONE \
        --poor-copies LIST.csv FEATURES LCAS --portraits PORTRAITS.csv FEATURES LCAS \
        --provenance recipes/starter/provenance.json --out MODEL --save

FEATURES is written by `benchmarks.starter_features --views ws,sc,c0 --layers 6-6 --int8 --keep-pixels`, LCAS by
`benchmarks.starter_lcas --int8`: as the int8 graph computes them, which is what the model runs by default. Beside each
picture that is not square its centre square is trained on, so that proportions say less of the class; the poor copies
named by --poor-copies, `starter_features --poor-copies --views ws,c0`, of as many pictures as wanted, so that noise or
a crop does; and the portraits named by --portraits, features and LCAS of what `benchmarks.starter_portraits` wrote, so
that a face does. For each fold of the protocol of `benchmarks.starter_cv` a head learns on the other three; curve and
thresholds come from the logits that these four heads give to pictures of families and sources that they have not seen;
sources of photographs count alike towards the threshold, so that none sets it. What ships is a fifth head, of all
pictures; --save writes what the four reach to results/starter_model.json. With --without F a model of the same kind is
made that has not seen fold F, for measurements on pictures that nothing was chosen on; its thresholds come from the
other folds.
Without --out, the figures of the four heads alone, with --no-squares, --no-poor-copies, --no-portraits or
--no-statistics for what centre squares, poor copies, portraits and the statistics of LCAS are worth.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.starter_cv import Part, family_aucs, found_at, join
from benchmarks.starter_page import RECORD, draw
from benchmarks.starter_record import FEWEST, Judged, make_record, photograph_sources, record_beside
from benchmarks.starter_store import FeatureStore, Matrix, Pictures
from cinemae.calibration.outliers import cross_fitted_distances, fit_distance, ood_reference
from cinemae.calibration.report import CalibrationReport, report_calibration
from cinemae.config import (
    BackboneInfo,
    ExtractorConfig,
    GlobalFeatureConfig,
    HeadConfig,
    ImageConfig,
    LcasConfig,
    ModelConfig,
    TrainConfig,
)
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.backbone import FrozenMAE
from cinemae.core.features import FeatureExtractor
from cinemae.core.head import pooled_dim
from cinemae.core.lcas import combine_terms
from cinemae.core.mahalanobis import view_summary
from cinemae.features.training_set import TrainingSet
from cinemae.models.results import EpochLine
from cinemae.training.build_model import TrainedModel, lcas_quantiles
from cinemae.training.train import TrainReport, fit_head, predict_logits, validation_results

VIEWS: Final = ("ws", "c0")
COPY: Final = "sc"
"""The view in place of the first in copies for training: that of a picture cropped to its centre square."""
EXTRACTOR: Final = ExtractorConfig(
    image=replace(ImageConfig.of_size(224), views="whole_native"),
    global_feature=GlobalFeatureConfig(cls_layers=(6,), token_statistics=("cls", "mean", "std")),
)
# Every setting in which the bundled model departs from the paper is named, whatever the defaults are.
LCAS: Final = LcasConfig(reduction="mean")
HEAD: Final = HeadConfig(
    view_pooling="concat",
    agg_hidden=16,
    cls_hidden=(),
    standardize_statistics=True,
    standardize_global=True,
    clip_global=5.0,
)
TRAIN: Final = TrainConfig(
    optimizer="lbfgs", epochs=25, weight_decay=0.0278, class_balance="class", num_seeds=1, target_fpr=0.01
)
"""As chosen for the bundled model's pictures. 1 % of the photographs of other folds come to 1.4 % of a fold's."""
CHOSEN_FOR: Final = 12_959
"""Pictures that the weight decay was chosen for."""


@dataclass(frozen=True)
class Folded:
    """N images as the model sees them, and the fold of each.

    Attributes:
        images: Features, statistics, labels; the group of each as its generator or source.
        fold: (N,).
    """

    images: TrainingSet
    fold: NDArray[np.int64]

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Folded:
        """Return the chosen ones."""
        return Folded(self.images[chosen], self.fold[chosen])


@dataclass(frozen=True)
class Data:
    """All pictures, what is learnt from beside them, and what heat maps are scaled by.

    Attributes:
        pictures: As the protocol delivers them.
        squares: The centre squares of those that are not square.
        poor: Poor copies of some.
        portraits: Cut out of some, and out of other pictures of the same groups.
        photograph_lcas: Of every masked patch of the photographs, flat.
        learnt: Which of the former four are trained on; poor copies and portraits are judged in any case.
    """

    pictures: Folded
    squares: Folded
    poor: Folded
    portraits: Folded
    photograph_lcas: NDArray[np.float32]
    learnt: tuple[str, ...] = ("pictures", "squares", "poor", "portraits")

    def without(self, fold: int) -> Data:
        """Leave a fold out."""
        parts = {name: getattr(self, name) for name in ("pictures", "squares", "poor", "portraits")}
        return replace(self, **{name: part[part.fold != fold] for name, part in parts.items()})

    def trained_on(self) -> TrainingSet:
        """Return all that is learnt from."""
        parts = [getattr(self, name).images for name in self.learnt]
        global_feature, stats, labels, generators = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("global_feature", "stats", "labels", "generators")
        )
        return TrainingSet.of(global_feature, stats, labels, generators)


def read_data(
    store: FeatureStore, patch_dim: int, poor: FeatureStore | None = None, portraits: FeatureStore | None = None
) -> Data:
    """Put features and statistics of both views together.

    Args:
        store: Of the pictures, with their centre squares.
        patch_dim: Values of a patch.
        poor: Of poor copies.
        portraits: Of portraits.
    """
    everything, copied = np.ones(len(store.pictures), bool), store.rows[COPY][:, 0] >= 0
    whole, native = (_of_view(store, view, everything, patch_dim) for view in VIEWS)
    square = _of_view(store, COPY, copied, patch_dim)
    of_photographs = np.concatenate([view.lcas[~store.pictures.fake] for view in (whole, native)])
    pictures = _join(whole, native, store.pictures)
    return Data(
        pictures=pictures,
        squares=_join(square, native.of(copied), store.pictures[copied]),
        poor=pictures[~everything] if poor is None else _both_views(poor, patch_dim),
        portraits=pictures[~everything] if portraits is None else _both_views(portraits, patch_dim),
        photograph_lcas=of_photographs[~np.isnan(of_photographs)],
    )


def _both_views(store: FeatureStore, patch_dim: int) -> Folded:
    everything = np.ones(len(store.pictures), bool)
    whole, native = (_of_view(store, view, everything, patch_dim) for view in VIEWS)
    return _join(whole, native, store.pictures)


@dataclass(frozen=True)
class View:
    """One view of N pictures: global feature (N, D), statistics (N, 3), LCAS (N, K, L)."""

    global_feature: Matrix
    stats: Matrix
    lcas: Matrix

    def of(self, chosen: NDArray[np.bool_]) -> View:
        """Return those of some pictures."""
        return View(self.global_feature[chosen], self.stats[chosen], self.lcas[chosen])


def _of_view(store: FeatureStore, view: str, chosen: NDArray[np.bool_], patch_dim: int) -> View:
    asked = EXTRACTOR.global_feature
    part = Part((view,), asked.cls_layers, asked.token_statistics)
    global_feature = join(store, [part], 0)[chosen]
    deviation, fidelity = (torch.from_numpy(terms) for terms in store.lcas_terms(view, chosen))
    lcas = combine_terms(
        deviation,
        fidelity,
        fidelity_weight=LCAS.fidelity_weight,
        reduction=LCAS.reduction,
        patch_dim=patch_dim,
    )
    return View(global_feature, anomaly_stats(lcas).numpy(), lcas.numpy())


def _join(first: View, second: View, pictures: Pictures) -> Folded:
    both = first, second
    global_feature, stats = (
        np.stack([getattr(view, name) for view in both], 1) for name in ("global_feature", "stats")
    )
    images = TrainingSet.of(global_feature, stats, pictures.fake.astype(np.int64), names(pictures))
    return Folded(images, pictures.fold)


def names(pictures: Pictures) -> NDArray[np.str_]:
    """Return the generator or source of each picture; those of few pictures go by their family or together."""
    groups, place, counts = np.unique(pictures.group, return_inverse=True, return_counts=True)
    others = np.where(pictures.fake, np.char.add(pictures.family, ", others"), "other sources")
    return np.where(counts[place] >= FEWEST, groups[place], others)


def data_rows(list_csv: Path, used: Pictures) -> list[dict[str, str | int]]:
    """Return what the model card says of the training pictures: each group, its number, repositories and licences."""
    known = set(used.sha256.tolist())
    with list_csv.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["sha256"] in known]
    found = []
    for group in sorted({(row["class"], row["group"]) for row in rows}):
        of_group = [row for row in rows if (row["class"], row["group"]) == group]
        repositories = sorted({row["repo"] for row in of_group})
        licences = sorted({row["license"] for row in of_group} - {"", "none"}) or ["no licence stated"]
        shown = ", ".join(repositories[:3]) + (f" and {len(repositories) - 3} more" if repositories[3:] else "")
        origin = f"github.com: {shown}; {', '.join(licences)}"
        found.append({"set": "/".join(group), "images": len(of_group), "origin": origin})
    return found


def train_config(pictures: int) -> TrainConfig:
    """Return how heads are trained on fewer pictures: the penalty weighs as much against the sum over all of them.

    Example:
        >>> train_config(CHOSEN_FOR).weight_decay, train_config(CHOSEN_FOR // 2).weight_decay > 0.05
        (0.0278, True)
    """
    return replace(TRAIN, weight_decay=TRAIN.weight_decay * (CHOSEN_FOR / pictures))


class CrossLogits(NamedTuple):
    """The logit of each picture, centre square, poor copy and portrait, from the head that has not seen its fold."""

    pictures: NDArray[np.float64]
    squares: NDArray[np.float64]
    poor: NDArray[np.float64]
    portraits: NDArray[np.float64]


def cross_logits(data: Data, head: HeadConfig, train: TrainConfig) -> CrossLogits:
    """Train a head for each fold on the others."""
    judged = data.pictures, data.squares, data.poor, data.portraits
    logits = CrossLogits(*(np.zeros(len(part.fold)) for part in judged))
    for number in np.unique(data.pictures.fold):
        held_out = data.pictures[data.pictures.fold == number].images
        history: list[EpochLine] = []
        learnt = data.without(int(number)).trained_on()
        fitted = fit_head(learnt, held_out, head, train, train.seed, history)
        for part, of_part in zip(judged, logits, strict=True):
            here = part.fold == number
            if here.any():
                of_part[here] = predict_logits(fitted, part[here].images)
        print(f"fold {number}: {history[-1]}", flush=True)
    return logits


def trained_model(
    data: Data,
    head_config: HeadConfig,
    calibration: CalibrationReport,
    folder: Path,
    name: str,
    provenance: dict[str, Any],
) -> TrainedModel:
    """Train the head on all pictures, and put it together with the thresholds that cross-fitting gave."""
    pictures, fold = data.pictures.images, data.pictures.fold
    history, backbone = list[EpochLine](), FrozenMAE.from_pretrained(folder)
    train = train_config(len(pictures.labels))
    head = fit_head(data.trained_on(), pictures, head_config, train, train.seed, history)
    results = msgspec.structs.replace(
        validation_results([calibration.logits], pictures, calibration, train, history),
        split=f"{len(np.unique(fold))} folds by family and source; each judged by a head that has not seen it",
    )
    side_by_side = head_config.joins_views_side_by_side
    summary = view_summary(pictures.global_feature, side_by_side)
    distance = fit_distance(summary)
    config = ModelConfig(
        name=name,
        backbone=BackboneInfo(backbone.content_hash, backbone.patch_size, backbone.num_patches, backbone.hidden_size),
        extractor=EXTRACTOR,
        lcas=LCAS,
        head=head_config,
        decision=calibration.decision,
        reference=lcas_quantiles(data.photograph_lcas),
        provenance=provenance,
        ood=ood_reference(cross_fitted_distances(summary, fold=fold), pictures.labels),
        precision="int8",
    )
    report = TrainReport(head, calibration.decision, history, calibration, results)
    extractor = FeatureExtractor(backbone, EXTRACTOR)
    return TrainedModel(config, report, extractor, folder, replace(distance, side_by_side=side_by_side))


def main() -> None:
    """Train, judge, write."""
    options = _parser().parse_args()
    torch.set_num_threads(1)
    store = FeatureStore.open(options.features, options.list, options.lcas)
    poor, portraits = _beside(options.poor_copies), _beside(options.portraits)
    data = read_data(store, FrozenMAE.from_pretrained(options.backbone).patch_dim, poor, portraits)
    left_out = {name for name in ("squares", "poor", "portraits") if getattr(options, f"no_{name}")}
    data = replace(data, learnt=tuple(name for name in data.learnt if name not in left_out))
    listed, cut = store.pictures, store.rows[COPY][:, 0] >= 0
    beside = {name: part.pictures for name, part in (("poor", poor), ("portraits", portraits)) if part is not None}
    if options.without is not None:
        seen = listed.fold != options.without
        data, listed, cut = data.without(options.without), listed[seen], cut[seen]
        beside = {name: part[part.fold != options.without] for name, part in beside.items()}
    pictures, fold = data.pictures.images, data.pictures.fold
    dim = pooled_dim(pictures.global_feature.shape[-1], HEAD.view_pooling, len(VIEWS))
    statistics = () if options.no_statistics else HEAD.statistics
    head_config = replace(HEAD, global_dim=dim, statistics=statistics)
    train = train_config(len(pictures.labels))
    logits = cross_logits(data, head_config, train)
    families = family_aucs(listed, logits.pictures)
    print(f"mean family AUC {np.mean(list(families.values())):.4f}, found {found_at(listed, logits.pictures):.3f}")
    sources = photograph_sources(listed)
    calibration = report_calibration(
        logits.pictures, pictures.labels, pictures.generators, train, fold=fold, sources=sources
    )
    judged = {name: record_beside(part, getattr(logits, name), calibration) for name, part in beside.items()}
    squares = logits.pictures.copy()
    squares[cut] = logits.squares
    judged["squares"] = record_beside(listed, squares, calibration)
    print(*(f"{name}: {figures}" for name, figures in judged.items()), sep="\n")
    if options.out is None:
        return
    provenance = json.loads(options.provenance.read_text(encoding="utf-8"))
    provenance |= {"data": data_rows(options.list, listed), "train": train.to_dict()}
    name = "cinemae-starter" if options.without is None else f"cinemae-starter-without-{options.without}"
    model = trained_model(data, head_config, calibration, options.backbone, name, provenance)
    model.write(options.out)
    if options.save:
        of_list = Judged(listed, logits.pictures, calibration)
        record = make_record(of_list, options.list, model.config.model_id) | {"beside": judged}
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        draw(record)


def _beside(named: Sequence[Path] | None) -> FeatureStore | None:
    """Open what --poor-copies or --portraits names: list, features, LCAS."""
    return None if named is None else FeatureStore.open(named[1:2], named[0], named[2:])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("list", type=Path, help="CSV of the pictures")
    parser.add_argument("--features", type=Path, nargs="+", required=True, help="of benchmarks.starter_features")
    parser.add_argument("--lcas", type=Path, nargs="+", required=True, help="for each, that of benchmarks.starter_lcas")
    for name in ("poor-copies", "portraits"):
        parser.add_argument(
            f"--{name}", type=Path, nargs=3, metavar=("LIST", "FEATURES", "LCAS"), help="learnt from too"
        )
    parser.add_argument("--backbone", type=Path, required=True, help="folder that cinemae pretrain wrote")
    parser.add_argument("--provenance", type=Path, help="JSON for config.json and the card; with --out")
    parser.add_argument("--out", type=Path, help="model directory to write; without it only the figures are printed")
    parser.add_argument("--no-squares", action="store_true", help="do not train on centre squares")
    parser.add_argument("--no-poor-copies", dest="no_poor", action="store_true", help="judge them, train without")
    parser.add_argument("--no-portraits", action="store_true", help="judge them, train without")
    parser.add_argument("--no-statistics", action="store_true", help="train on the global feature alone")
    parser.add_argument("--without", type=int, help="a fold to leave out altogether")
    parser.add_argument("--save", action="store_true", help=f"write {RECORD.name}")
    return parser


if __name__ == "__main__":
    main()
