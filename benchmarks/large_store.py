"""`cinemae train` on a feature store larger than the memory it takes: time and peak memory as the store grows.

Memory is what the system cannot take back: pages of the mapped file, which it can, are not counted.

The stores are drawn: a narrow feature (D = 64, one view, 2 passes over 32 patches), values of float16 kept as a store
keeps them, half of the images fake, five generators of which validation holds other ones. Training runs in a process of
its own, by the functions that the command calls, once for each size; its memory is looked at 20 times a second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Record, Target, WrongAnswerError, make_parser, run
from cinemae.calibration.outliers import learn_outliers
from cinemae.config import BackboneInfo, ExtractorConfig, HeadConfig, LcasConfig, MaskConfig, TrainConfig
from cinemae.features.training_set import TrainingSet
from cinemae.stores.features import _PARQUET, _SCHEMA, FeatureStore, prepare_store
from cinemae.stores.store_format import StoreHeader
from cinemae.training.train import train

BACKBONE = BackboneInfo(content_hash="0" * 64, patch_size=16, num_patches=32, hidden_size=64)
EXTRACTOR = ExtractorConfig(mask=MaskConfig(num_passes=2))
SHARD_ROWS = 50_000
HEAD = HeadConfig(global_dim=64, agg_hidden=32, cls_hidden=(64,))
LEAST_GAIN = 4.0
_BYTES_OF_ROW = 4 * (BACKBONE.hidden_size + 2 * 2 * BACKBONE.num_patches)


def measure(options: argparse.Namespace) -> Record:
    """Draw the stores, check mapped training against training in memory on the small one, then measure each size."""
    figures: dict[str, float] = {}
    with nullcontext(options.folder) if options.folder else tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        val = draw_store(folder / f"val-{options.val_rows}", options.val_rows, seed=1)
        peaks: dict[int, float] = {}
        for rows in options.rows:
            store = draw_store(folder / f"train-{rows}", rows, seed=0)
            label = f"{rows / 1e6:g} M rows"
            figures[f"{label}, on disk, MB"] = sum(file.stat().st_size for file in store.iterdir()) / 1e6
            figures[f"{label}, features in memory would be, MB"] = rows * _BYTES_OF_ROW / 1e6
            for how in ("mapped", "in memory") if rows == options.rows[0] else ("mapped",):
                found = _in_a_process(store, val, how, options)
                figures |= {f"{label}, {how}, {key}": value for key, value in found.items()}
                peaks[rows] = found["peak memory, MB"] if how == "mapped" else peaks[rows]
    small, large = f"{options.rows[0] / 1e6:g} M rows", f"{options.rows[-1] / 1e6:g} M rows"
    difference = abs(figures[f"{small}, mapped, AUC"] - figures[f"{small}, in memory, AUC"])
    if difference > 0.005:
        raise WrongAnswerError(f"mapped training reaches another AUC than training in memory, by {difference:.4f}")
    size = figures[f"{large}, features in memory would be, MB"]
    grown = peaks[options.rows[-1]] - peaks[options.rows[0]]
    more = size - figures[f"{small}, features in memory would be, MB"]
    return Record(
        benchmark="large_store",
        settings={
            "rows": options.rows,
            "validation rows": options.val_rows,
            "epochs": options.epochs,
            "batch": options.batch_size,
            "feature": "D = 64, K = 2, L = 32, one view",
        },
        checks={f"AUC, mapped and in memory, {small}": difference},
        figures={**figures, "peak memory grows by, bytes a row": 1e6 * grown / (options.rows[-1] - options.rows[0])},
        targets=[
            Target(f"features / peak memory, {large}", size / peaks[options.rows[-1]], LEAST_GAIN, at_least=True),
            Target("growth of peak memory / growth of the features", grown / more, 0.05, at_least=False),
        ],
    )


def draw_store(folder: Path, rows: int, *, seed: int) -> Path:
    """Write a store of drawn features, a shard at a time."""
    header = StoreHeader(
        fingerprint=EXTRACTOR.fingerprint(BACKBONE.content_hash),
        extractor=EXTRACTOR,
        backbone=BACKBONE,
        dtype="float32",
        shard_size=SHARD_ROWS,
        num_rows=rows,
        records_hash=f"{seed:064x}",
    )
    schema = _SCHEMA.with_metadata({"cinemae.job": header.job})
    for shard in prepare_store(folder, header):
        table = pa.table(_draw_shard(header.rows_of(shard), seed), schema=schema)
        pq.write_table(table, folder / f"shard-{shard:05d}.parquet", **_PARQUET)
    return folder


def _draw_shard(rows: range, seed: int) -> dict[str, Any]:
    rng, count = np.random.default_rng((seed, rows.start)), len(rows)
    labels = rng.integers(0, 2, count)
    generators = np.where(
        labels == 1, np.char.add(f"generator-{seed}-", rng.integers(0, 5, count).astype(str)), "camera"
    )
    direction = np.where(np.arange(BACKBONE.hidden_size) % 2 == 0, 0.08, -0.08)
    features = (rng.standard_normal((count, BACKBONE.hidden_size), np.float32) + np.outer(labels, direction)).astype(
        "f2"
    )
    maps = rng.standard_gamma(2.0, (2, count, 2, BACKBONE.num_patches), np.float32).astype("f2").astype("f4")
    maps[..., 0, :4] = maps[..., 1, 4:8] = np.nan
    sides = rng.integers(200, 2000, (2, count)).astype("i4")
    texts = {"source_format": ["PNG"] * count, "status": ["ok"] * count, "error_message": [None] * count}
    return {
        "content_hash": [f"{seed:032x}{row * 2654435761 % 2**64:032x}" for row in rows],
        "path": [f"{seed}/{row:08d}.png" for row in rows],
        "label": labels.astype("i1"),
        "generator": generators.tolist(),
        "width": sides[0],
        "height": sides[1],
        "num_bytes": np.ones(count, "i8"),
        "warnings": [[]] * count,
        "global_feature": _lists(features.astype("f4")),
        "deviation": _lists(maps[0].reshape(count, -1)),
        "fidelity": _lists(maps[1].reshape(count, -1)),
        **texts,
    }


def _lists(values: np.ndarray[Any, Any]) -> pa.Array:
    offsets = np.arange(0, values.size + 1, values.shape[1], dtype="i4")
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()))


def _in_a_process(store: Path, val: Path, how: str, options: argparse.Namespace) -> dict[str, float]:
    arguments = [str(store), str(val), how, str(options.epochs), str(options.batch_size)]
    command = [sys.executable, "-m", "benchmarks.large_store", "--child", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


class _Watch(threading.Thread):
    """Looks at this process's own memory until the process ends."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mb = 0.0
        self.start()

    def run(self) -> None:
        while True:
            status = Path("/proc/self/status").read_text()
            kilobytes = int(status.partition("RssAnon:")[2].split()[0])
            self.peak_mb = max(self.peak_mb, kilobytes / 1e3)
            time.sleep(0.05)


def _train_here(store: Path, val: Path, how: str, epochs: int, batch_size: int) -> None:
    """Train one head and learn what training images look like, as `cinemae train` does; print what it took."""
    begin = time.perf_counter()
    watch = _Watch()
    training, validation = (
        TrainingSet.from_stores([FeatureStore.open(path)], LcasConfig(), mapped=how == "mapped")
        for path in (store, val)
    )
    listed = time.perf_counter()
    config = TrainConfig(epochs=epochs, batch_size=batch_size, num_seeds=1, learning_rate=1e-3)
    report = train(training, validation, HEAD, config)
    trained = time.perf_counter()
    learn_outliers(training.global_feature, validation.global_feature, validation.labels)
    found = {
        "opening, s": listed - begin,
        "training and calibration, s": trained - listed,
        "what training images look like, s": time.perf_counter() - trained,
        "AUC": report.history[-1].val_auc,
        "peak memory, MB": watch.peak_mb,
    }
    print(json.dumps(found))


def main() -> None:
    """Run the benchmark from the command line."""
    if sys.argv[1:2] == ["--child"]:
        store, val, how, epochs, batch_size = sys.argv[2:]
        _train_here(Path(store), Path(val), how, int(epochs), int(batch_size))
        return
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 5_000_000], help="of the stores, ascending")
    parser.add_argument("--val-rows", type=int, default=20_000, help="of the validation store")
    parser.add_argument("--epochs", type=int, default=1, help="passes over the training images")
    parser.add_argument("--batch-size", type=int, default=1024, help="images a step")
    parser.add_argument("--folder", help="keeps the stores and goes on with what is there")
    run(measure, parser)


if __name__ == "__main__":
    main()
