"""Make the bundled model from stored features: cross-fitted thresholds, a head that learnt from all pictures.

    python -m benchmarks.starter_model LIST.csv FEATURES LCAS BACKBONE --provenance P.json --out MODEL --save
    python -m benchmarks.starter_model LIST.csv FEATURES LCAS BACKBONE --provenance P.json --out OTHER --without 3

FEATURES is written by `benchmarks.starter_features`, LCAS by `benchmarks.starter_lcas`. For each fold of the protocol
of `benchmarks.starter_cv` a head learns on the other three; curve and thresholds come from the logits that these four
heads give to pictures of families and sources that they have not seen. What ships is a fifth head, of all pictures;
--save writes what it reaches to results/starter_model.json. With --without F a model of the same kind is made that has
not seen fold F, for measurements on pictures that nothing was chosen on; its thresholds come from the other folds.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import RESULTS
from benchmarks.starter_cv import Part, family_aucs, found_at, join
from benchmarks.starter_record import FEWEST, Judged, make_record
from benchmarks.starter_store import FeatureStore, Matrix, Pictures
from cinemae.calibration.outliers import fit_distance, ood_reference
from cinemae.calibration.report import report_calibration
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
EXTRACTOR: Final = ExtractorConfig(
    image=replace(ImageConfig.of_size(224), views="whole_native"),
    global_feature=GlobalFeatureConfig(
        cls_layers=(5, 7, 9), token_statistics=("cls", "mean", "std"), block_spectrum=True
    ),
)
LCAS: Final = LcasConfig()
HEAD: Final = HeadConfig(view_pooling="concat", agg_hidden=32, cls_hidden=(), clip_global=5.0)
TRAIN: Final = TrainConfig(optimizer="lbfgs", epochs=25, weight_decay=0.0278, num_seeds=1)
RECORD: Final = RESULTS / "starter_model.json"


@dataclass(frozen=True)
class Data:
    """All pictures as the model sees them, and what heat maps are scaled by.

    Attributes:
        pictures: Features, statistics, labels; the group of each as its generator or source.
        fold: Of each picture, (N,).
        photograph_lcas: Of every masked patch of the photographs, flat.
    """

    pictures: TrainingSet
    fold: NDArray[np.int64]
    photograph_lcas: NDArray[np.float32]


def read_data(store: FeatureStore, patch_dim: int) -> Data:
    """Put features and statistics of both views together."""
    asked = EXTRACTOR.global_feature
    columns = [join(store, [Part((view,), asked.cls_layers, asked.token_statistics, True)], 0) for view in VIEWS]
    stats, values = list[Matrix](), list[Matrix]()
    for view in VIEWS:
        deviation, fidelity = (torch.from_numpy(terms) for terms in store.lcas_terms(view, 0))
        scores = combine_terms(
            deviation,
            fidelity,
            fidelity_weight=LCAS.fidelity_weight,
            reduction=LCAS.reduction,
            patch_dim=patch_dim,
        )
        stats.append(anomaly_stats(scores).numpy())
        of_photographs = scores[torch.from_numpy(~store.pictures.fake)]
        values.append(of_photographs[~of_photographs.isnan()].numpy())
    labels = store.pictures.fake.astype(np.int64)
    pictures = TrainingSet.of(np.stack(columns, 1), np.stack(stats, 1), labels, names(store.pictures))
    return Data(pictures, store.pictures.fold, np.concatenate(values))


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


def cross_logits(data: Data, head: HeadConfig, train: TrainConfig) -> NDArray[np.float64]:
    """Return the logit of each picture from the head that has not seen its fold, (N,)."""
    logits = np.zeros(len(data.fold))
    for number in np.unique(data.fold):
        here = data.fold == number
        held_out = data.pictures[here]
        history: list[EpochLine] = []
        fitted = fit_head(data.pictures[~here], held_out, head, train, train.seed, history)
        logits[here] = predict_logits(fitted, held_out)
        print(f"fold {number}: {history[-1]}", flush=True)
    return logits


def cross_distances(data: Data) -> NDArray[np.float64]:
    """Return how far each picture lies from what the other folds' pictures look like, (N,)."""
    summary = view_summary(data.pictures.global_feature, HEAD.joins_views_side_by_side)
    found = np.zeros(len(data.fold))
    for number in np.unique(data.fold):
        here = data.fold == number
        found[here] = fit_distance(summary[~here]).of_summary(summary[here])
    return found


def main() -> None:
    """Train, judge, write."""
    options = _parser().parse_args()
    torch.set_num_threads(1)
    backbone = FrozenMAE.from_pretrained(options.backbone)
    store = FeatureStore.open([options.features], options.list, options.lcas)
    data = read_data(store, backbone.patch_dim)
    listed = store.pictures
    if options.without is not None:
        kept = data.fold != options.without
        data = replace(data, pictures=data.pictures[kept], fold=data.fold[kept])
        listed = listed[kept]
    pictures = data.pictures
    dim = pooled_dim(pictures.global_feature.shape[-1], HEAD.view_pooling, len(VIEWS))
    head_config = replace(HEAD, global_dim=dim)
    logits = cross_logits(data, head_config, TRAIN)
    families = family_aucs(listed, logits)
    print(f"mean family AUC {np.mean(list(families.values())):.4f}, found {found_at(listed, logits):.3f}")
    calibration = report_calibration(logits, pictures.labels, pictures.generators, TRAIN, fold=data.fold)
    history: list[EpochLine] = []
    head = fit_head(pictures, pictures, head_config, TRAIN, TRAIN.seed, history)
    results = msgspec.structs.replace(
        validation_results([logits], pictures, calibration, TRAIN, history),
        split=f"{len(np.unique(data.fold))} folds by family and source; each judged by a head that has not seen it",
    )
    side_by_side = HEAD.joins_views_side_by_side
    distance = fit_distance(view_summary(pictures.global_feature, side_by_side))
    provenance = json.loads(options.provenance.read_text(encoding="utf-8"))
    config = ModelConfig(
        name="cinemae-starter" if options.without is None else f"cinemae-starter-without-{options.without}",
        backbone=BackboneInfo(backbone.content_hash, backbone.patch_size, backbone.num_patches, backbone.hidden_size),
        extractor=EXTRACTOR,
        lcas=LCAS,
        head=head_config,
        decision=calibration.decision,
        reference=lcas_quantiles(data.photograph_lcas),
        provenance={**provenance, "data": data_rows(options.list, listed), "train": TRAIN.to_dict()},
        ood=ood_reference(cross_distances(data), pictures.labels),
    )
    report = TrainReport(head, calibration.decision, history, calibration, results)
    extractor = FeatureExtractor(backbone, EXTRACTOR)
    TrainedModel(config, report, extractor, options.backbone, replace(distance, side_by_side=side_by_side)).write(
        options.out
    )
    if options.save:
        record = make_record(Judged(listed, logits, calibration), options.list, config.model_id)
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("list", type=Path, help="CSV of the pictures")
    parser.add_argument("features", type=Path, help="folder of benchmarks.starter_features")
    parser.add_argument("lcas", type=Path, help="folder of benchmarks.starter_lcas")
    parser.add_argument("backbone", type=Path, help="folder that cinemae pretrain wrote")
    parser.add_argument("--provenance", type=Path, required=True, help="JSON for config.json and the card")
    parser.add_argument("--out", type=Path, required=True, help="model directory to write")
    parser.add_argument("--without", type=int, help="a fold to leave out altogether")
    parser.add_argument("--save", action="store_true", help=f"write {RECORD.name}")
    return parser


if __name__ == "__main__":
    main()
