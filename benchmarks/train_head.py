"""Training a head from a feature store: 25 epochs on 10,000 stored images.

The store is a real one of ViT-L sizes (D = 1024, K = 2, L = 196) with drawn features, written with
`cinemae.stores.features` before the clock starts. Timed is what `cinemae train` does for one seed: open, read, train,
choose the threshold, save.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from benchmarks.measure import Record, Samples, Target, WrongAnswerError, make_parser, require_close, run
from cinemae.config import BackboneInfo, ExtractorConfig, HeadConfig, LcasConfig, TrainConfig
from cinemae.core.masking import noise_from_config, num_visible
from cinemae.features.training_set import TrainingSet
from cinemae.models.directory import HEAD_FILE, RESULTS_FILE, TRAINING_PLOT
from cinemae.models.results import Results
from cinemae.statistics.plot_style import to_png
from cinemae.stores.features import FeatureStore, prepare_store, write_shard
from cinemae.stores.store_format import StoreHeader, StoreRow
from cinemae.training.samples import sample_weights
from cinemae.training.train import TrainReport, fit_head, plot_history, seeded_head, train

BACKBONE = BackboneInfo(content_hash="0" * 64, patch_size=16, num_patches=196, hidden_size=1024)
EXTRACTOR = ExtractorConfig()
LCAS = LcasConfig()
SHARD_SIZE = 1000
LIMIT_SECONDS = 60.0


def measure(options: argparse.Namespace) -> Record:
    """Write the stores, check what is read and one short training, then time the whole."""
    with tempfile.TemporaryDirectory() as folder:
        stores = Path(folder, "train"), Path(folder, "val")
        drawn = DrawnFeatures(seed=0, prefix="train", num_rows=options.images)
        drawn.write(stores[0])
        DrawnFeatures(seed=1, prefix="val", num_rows=max(options.images // 5, 16)).write(stores[1])
        data = TrainingSet.from_stores([FeatureStore.open(stores[0])], LCAS)
        checks = {**_check_reading(data, drawn), **_check_training(data)}
        samples: Samples = {"read": [], "train": [], "save": [], "whole": []}
        aucs = []
        for _ in range(options.rounds):
            report = _train_once(stores, Path(folder, "model"), options.epochs, samples)
            aucs.append(report.history[-1].val_auc)
    seconds = {name: statistics.median(values) for name, values in samples.items()}
    if min(aucs) < 0.7:
        raise WrongAnswerError(f"validation AUC is {min(aucs):.3f}, though the drawn classes can be told apart.")
    steps = options.epochs * -(-options.images // TrainConfig().batch_size)
    full = options.images == 10_000 and options.epochs == 25
    return Record(
        benchmark="train_head",
        settings={name: getattr(options, name) for name in ("images", "epochs", "rounds")},
        checks=checks,
        figures={
            **{f"{name}, s": value for name, value in seconds.items()},
            "steps per second": steps / seconds["train"],
            "validation AUC of the drawn classes": min(aucs),
        },
        targets=[Target("25 epochs on 10,000 images, s", seconds["whole"], LIMIT_SECONDS, at_least=False)] * full,
        samples=samples,
    )


@dataclass(frozen=True)
class DrawnFeatures:
    """Features from a seed: normal noise, fakes shifted a little, half of the images fake."""

    seed: int
    prefix: str
    num_rows: int

    def row(self, index: int) -> StoreRow:
        """Draw one image's features; each row is its own, whatever rows were drawn before."""
        rng = np.random.default_rng((self.seed, index))
        label = index % 2
        generators = (f"{self.prefix}-camera", f"{self.prefix}-generator-{index // 2 % 4}")
        shift = label * 0.05
        maps = rng.gamma(2.0, 0.5 - shift, (2, 1, *_HIDDEN.shape)).astype(np.float32)
        return StoreRow(
            path=f"{self.prefix}/{index:05d}.png",
            label=label,
            generator=generators[label],
            content_hash=f"{index:064x}",
            source_format="PNG",
            width=512,
            height=512,
            num_bytes=1,
            global_feature=rng.normal(shift, 1.0, (1, BACKBONE.hidden_size)).astype(np.float32),
            deviation=np.where(_HIDDEN, maps[0], np.float32(np.nan)),
            fidelity=np.where(_HIDDEN, maps[1], np.float32(np.nan)),
        )

    def write(self, folder: Path) -> None:
        """Write the store, shard by shard."""
        header = StoreHeader(
            fingerprint=EXTRACTOR.fingerprint(BACKBONE.content_hash),
            extractor=EXTRACTOR,
            backbone=BACKBONE,
            dtype="float32",
            shard_size=SHARD_SIZE,
            num_rows=self.num_rows,
            records_hash=f"{self.seed:064x}",
        )
        for shard in prepare_store(folder, header):
            write_shard(folder, header, shard, [self.row(index) for index in header.rows_of(shard)])


def _hidden_patches() -> NDArray[np.bool_]:
    """Return which patches each of the K passes hides, (K, L)."""
    noise = noise_from_config(EXTRACTOR.mask, BACKBONE.num_patches)
    return np.argsort(np.argsort(noise, axis=1), axis=1) >= num_visible(BACKBONE.num_patches, EXTRACTOR.mask.mask_ratio)


_HIDDEN = _hidden_patches()


def _save(report: TrainReport, out: Path) -> None:
    """Write what training itself gives: head, figures and plot."""
    out.mkdir(parents=True, exist_ok=True)
    save_file(report.head.state_dict(), out / HEAD_FILE)
    (out / RESULTS_FILE).write_text(json.dumps(Results(training=report.results).to_dict()))
    (out / TRAINING_PLOT).write_bytes(to_png(plot_history(report.history)))


def _train_once(stores: tuple[Path, Path], out: Path, epochs: int, samples: Samples) -> TrainReport:
    times = [time.perf_counter()]
    training, validation = (TrainingSet.from_stores([FeatureStore.open(path)], LCAS) for path in stores)
    times.append(time.perf_counter())
    report = train(training, validation, HeadConfig(), TrainConfig(epochs=epochs, num_seeds=1))
    times.append(time.perf_counter())
    _save(report, out)
    times.append(time.perf_counter())
    for name, seconds in zip(("read", "train", "save"), np.diff(times).tolist(), strict=True):
        samples[name].append(seconds)
    samples["whole"].append(times[-1] - times[0])
    return report


def _check_reading(data: TrainingSet, drawn: DrawnFeatures) -> dict[str, float]:
    """Compare what was read with what was drawn, and the statistics with the formulas in plain numpy."""
    chosen = np.linspace(0, drawn.num_rows - 1, 50).astype(int)
    rows = [drawn.row(index) for index in chosen]
    features = np.stack([row.global_feature for row in rows])
    scores = np.stack([row.deviation + LCAS.fidelity_weight * row.fidelity for row in rows]).astype(np.float64)
    spread = (np.nanmax(scores, -1) - np.nanmin(scores, -1)).mean(-1)
    overall = np.nanmean(scores, (-2, -1))
    sensitivity = np.abs(np.nanmean(scores, -1) - overall[..., None]).mean(-1)
    expected = np.stack([spread, overall, sensitivity], -1)
    return {
        "global features read from the store": require_close(
            "global_feature", data.global_feature[chosen], features, 0.0
        ),
        "s1, s2, s3 and the formulas in numpy": require_close("stats", data.stats[chosen], expected, 1e-4),
    }


def _check_training(data: TrainingSet) -> dict[str, float]:
    """Compare the weights after two epochs on some images with those of a textbook loop."""
    part, config = data[np.arange(min(len(data), 1000))], TrainConfig(epochs=2)
    found = fit_head(part, part, HeadConfig(), config, 0, [])
    plain = seeded_head(HeadConfig(), 0)
    plain.load_state_dict({name: value.clone() for name, value in found.named_buffers()}, strict=False)
    inputs = torch.from_numpy(part.global_feature[:, 0]), torch.from_numpy(part.stats[:, 0])
    labels = torch.from_numpy(part.labels).float()
    weights = torch.from_numpy(sample_weights(part, config.class_balance)).float()
    optimizer = torch.optim.Adam(plain.parameters(), lr=config.learning_rate, foreach=False)
    generator = torch.Generator().manual_seed(0)
    for _ in range(config.epochs):
        for chosen in torch.randperm(len(labels), generator=generator).split(config.batch_size):
            logits = plain(*(values[chosen] for values in inputs))
            losses = nn.functional.binary_cross_entropy_with_logits(logits, labels[chosen], reduction="none")
            optimizer.zero_grad()
            (losses * weights[chosen]).mean().backward()
            optimizer.step()
    with torch.inference_mode():
        difference = require_close("logits after training", found(*inputs), plain.eval()(*inputs), 1e-3)
    return {"logits after two epochs and a textbook loop": difference}


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="in the training store")
    parser.add_argument("--epochs", type=int, default=25, help="of one seed")
    parser.add_argument("--rounds", type=int, default=3, help="how often the whole is timed")
    run(measure, parser)


if __name__ == "__main__":
    main()
