"""Which distance tells pictures unlike the training images, and does the error of the verdict rise with it?

    cinemae extract TRAIN --out train.store     # the stores that the model was trained on, altered copies included
    cinemae extract VAL --out val.store         # images it was not trained on; with --condition NAME after a corruption
    python -m benchmarks.outliers --trained-on train.store --clean val.store --under val-blur.store --save

Nothing here is a test image of anything: the choice was made on validation images and pictures drawn in code.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from benchmarks.drawn_pictures import KINDS, draw_pictures
from benchmarks.measure import RESULTS, ROOT, describe_machine
from cinemae.calibration.outliers import fit_distance, ood_reference
from cinemae.config import ModelConfig
from cinemae.core.calibration import calibrate, is_out_of_distribution, ood_score
from cinemae.core.features import features_to_stats
from cinemae.core.mahalanobis import MahalanobisDistance, view_summary
from cinemae.core.model import CinemaeModel
from cinemae.core.preprocess import preprocess
from cinemae.features.training_set import TrainingSet
from cinemae.models.directory import read_model_config, resolve_model
from cinemae.models.distance import load_distance
from cinemae.models.weights import load_model
from cinemae.statistics.metrics import rate
from cinemae.stores.features import FeatureStore
from cinemae.training.train import predict_logits

FOLDER = RESULTS / "calibration"
NEIGHBOUR = 10
PARTS = 5
Distance = Callable[["Seen"], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Seen:
    """Features and logits of N images.

    Attributes:
        views: [CLS] of each view, (N, V, D).
        stats: s1, s2, s3 of each view, (N, V, 3).
        logits: (N,).
        labels: 0 real, 1 fake, -1 neither, (N,).
    """

    views: NDArray[np.float32]
    stats: NDArray[np.float32]
    logits: NDArray[np.float64]
    labels: NDArray[np.int64]


def main() -> None:
    """Measure, print, and with --save keep the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trained-on", type=Path, nargs="+", required=True, help="feature stores it was trained on")
    parser.add_argument("--clean", type=Path, required=True, help="a feature store of images it was not trained on")
    parser.add_argument("--under", type=Path, nargs="*", default=(), help="stores of the same images, corrupted")
    parser.add_argument("--model", help="a model directory; without it the bundled one")
    parser.add_argument("--pictures", type=int, default=80, help="of each drawn kind")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/calibration/outliers.json")
    options = parser.parse_args()
    directory = resolve_model(options.model)
    config = read_model_config(directory)
    model = load_model(directory, config)
    clean = read_store(options.clean, model)
    trained = [read_store(path, model) for path in options.trained_on]
    drawn = {kind: run_model(draw_pictures(kind, options.pictures), model) for kind in KINDS}
    candidates = make_candidates(trained)
    values = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "model": config.model_id,
        "n": {"trained_on": sum(len(part.logits) for part in trained), "clean": len(clean.logits)},
        "pictures": options.pictures,
        "candidates": {name: compare(distance, clean, drawn, config) for name, distance in candidates.items()},
        "shipped": of_shipped(
            config,
            model,
            load_distance(directory, config),
            clean,
            drawn,
            {_condition(path): path for path in options.under},
        ),
    }
    for name, row in values["candidates"].items():
        print(f"{name:60} AUC {row['mean_auc']:.3f}  drawn beyond the limit {row['beyond_limit']:.2f}")
    if options.save:
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "outliers.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        print(f"saved to {FOLDER.relative_to(ROOT)}; now: python -m benchmarks.render")


def _condition(path: Path) -> str:
    return str(FeatureStore.open(path).header.condition)


def read_store(path: Path, model: CinemaeModel) -> Seen:
    """Return what a feature store holds, with the model's logits."""
    data = TrainingSet.from_stores([FeatureStore.open(path)], model.lcas)
    return Seen(data.global_feature, data.stats, predict_logits(model.head, data), data.labels)


def run_model(pictures: Sequence[Any], model: CinemaeModel) -> Seen:
    """Return the features and logits of pictures."""
    parts = []
    with torch.inference_mode():
        for picture in pictures:
            features = model.extractor(torch.from_numpy(preprocess(picture, model.extractor.config.image)))
            stats = features_to_stats(features, model.lcas, model.extractor.backbone.patch_dim)[None]
            views = features.global_feature[None]
            parts.append((views, stats, model.head.score_views(views, stats)))
    views, stats, logits = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return Seen(views, stats, logits.astype(np.float64), np.full(len(logits), -1))


def make_candidates(trained: Sequence[Seen]) -> dict[str, Distance]:
    """Fit every candidate to the training images."""
    whole = Seen(
        *(np.concatenate([getattr(part, name) for part in trained]) for name in ("views", "stats", "logits", "labels"))
    )
    both = _log_deviation
    return {
        "mean and log deviation, one Gaussian": _one(whole, both),
        "the same, without the last store (altered copies)": _one(trained[0], both),
        "the same, photographs alone": _one(_of_class(whole, 0), both),
        "the same, with s1, s2 and s3": _one(whole, lambda seen: np.hstack([both(seen), _statistics(seen)])),
        "one Gaussian a class, shared covariance (Lee et al.)": _per_class(whole, both),
        "that less the distance to one Gaussian (Ren et al.)": _relative(whole, both),
        f"nearest neighbour number {NEIGHBOUR} (Sun et al.)": _neighbour(whole, both),
        "mean and deviation (the head's input), one Gaussian": _one(whole, _deviation),
        "mean alone, one Gaussian": _one(whole, _mean),
        "how unsure the verdict is": lambda seen: -np.abs(seen.logits - np.median(whole.logits)),
    }


def _mean(seen: Seen) -> NDArray[np.float32]:
    return seen.views.mean(1)


def _deviation(seen: Seen) -> NDArray[np.float32]:
    return np.hstack([seen.views.mean(1), seen.views.std(1, ddof=1)])


def _log_deviation(seen: Seen) -> NDArray[np.float32]:
    return view_summary(seen.views)


def _statistics(seen: Seen) -> NDArray[np.float32]:
    mean = seen.stats.mean(1)
    return np.sign(mean) * np.log1p(np.abs(mean))  # they span orders of magnitude


def _of_class(seen: Seen, label: int) -> Seen:
    chosen = seen.labels == label
    return Seen(seen.views[chosen], seen.stats[chosen], seen.logits[chosen], seen.labels[chosen])


def _one(trained: Seen, feature: Callable[[Seen], NDArray[np.float32]]) -> Distance:
    distance = fit_distance(feature(trained))
    return lambda seen: distance.of_summary(feature(seen))


def _per_class(trained: Seen, feature: Callable[[Seen], NDArray[np.float32]]) -> Distance:
    values = feature(trained).astype(np.float64)
    means = [values[trained.labels == label].mean(0) for label in (0, 1)]
    residual = values - np.where(trained.labels[:, None] == 0, *means)
    spread = residual.std(0)
    whitening = np.linalg.cholesky(LedoitWolf(assume_centered=True).fit(residual / spread).precision_) / spread[:, None]

    def nearest(seen: Seen) -> NDArray[np.float64]:
        offsets = [(feature(seen) - mean) @ whitening for mean in means]
        return np.asarray(np.min([np.linalg.norm(offset, axis=1) for offset in offsets], axis=0))

    return nearest


def _relative(trained: Seen, feature: Callable[[Seen], NDArray[np.float32]]) -> Distance:
    nearest, whole = _per_class(trained, feature), _one(trained, feature)
    return lambda seen: nearest(seen) ** 2 - whole(seen) ** 2


def _neighbour(trained: Seen, feature: Callable[[Seen], NDArray[np.float32]]) -> Distance:
    values = feature(trained)
    mean, spread = values.mean(0), values.std(0)
    index = NearestNeighbors(n_neighbors=NEIGHBOUR).fit((values - mean) / spread)
    return lambda seen: index.kneighbors((feature(seen) - mean) / spread)[0][:, -1]


def compare(distance: Distance, clean: Seen, drawn: Mapping[str, Seen], config: ModelConfig) -> dict[str, Any]:
    """Return how well a distance tells drawn pictures from photographs, and errors from right answers."""
    of_clean = distance(clean)
    photographs = of_clean[clean.labels == 0]
    reference = ood_reference(of_clean, clean.labels)
    aucs, beyond = {}, {}
    for kind, seen in drawn.items():
        found = distance(seen)
        truth = np.repeat([0, 1], [len(photographs), len(found)])
        aucs[kind] = float(roc_auc_score(truth, np.concatenate([photographs, found])))
        beyond[kind] = float(is_out_of_distribution(ood_score(found, reference), reference).mean())
    wrong = (calibrate(clean.logits, config.decision) >= 0.5) != (clean.labels == 1)
    return {
        "auc": aucs,
        "mean_auc": float(np.mean(list(aucs.values()))),
        "least_auc": min(aucs.values()),
        "beyond_limit": float(np.mean(list(beyond.values()))),
        "auc_for_errors": float(roc_auc_score(wrong, of_clean)),
    }


def of_shipped(
    config: ModelConfig,
    model: CinemaeModel,
    distance: MahalanobisDistance | None,
    clean: Seen,
    drawn: Mapping[str, Seen],
    under: Mapping[str, Path],
) -> dict[str, Any]:
    """Return what the model's own distance says of clean, corrupted and drawn pictures, and of errors."""
    if distance is None:
        raise SystemExit(f"{config.name} does not know what it has seen: run cinemae calibrate.")

    def flagged(seen: Seen, label: int | None = None) -> dict[str, Any]:
        views = seen.views if label is None else seen.views[seen.labels == label]
        beyond = is_out_of_distribution(ood_score(distance.of_summary(view_summary(views)), config.ood), config.ood)
        return rate(int(beyond.sum()), len(beyond)).to_dict()

    conditions = {"raw": clean, **{name: read_store(path, model) for name, path in under.items()}}
    return {
        "limit": config.ood.limit,
        "drawn": {kind: flagged(seen) for kind, seen in drawn.items()},
        "conditions": {
            name: {"photographs": flagged(seen, 0), "fakes": flagged(seen, 1)} for name, seen in conditions.items()
        },
        "fifths": _fifths(config, clean, distance.of_summary(view_summary(clean.views))),
    }


def _fifths(config: ModelConfig, clean: Seen, of_clean: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Return the errors of clean images in parts of equal size, nearest first."""
    generated = calibrate(clean.logits, config.decision) >= 0.5
    rows = []
    for part in np.array_split(np.argsort(of_clean, kind="stable"), PARTS):
        real, fake = part[clean.labels[part] == 0], part[clean.labels[part] == 1]
        rows.append(
            {
                "from": float(of_clean[part].min()),
                "to": float(of_clean[part].max()),
                "photographs_above_half": rate(int(generated[real].sum()), len(real)).to_dict(),
                "fakes_below_half": rate(int((~generated[fake]).sum()), len(fake)).to_dict(),
            }
        )
    return rows


if __name__ == "__main__":
    main()
