"""What looking at less costs: AUC against processor time for fewer tiles, fewer masks, 8-bit products, and both.

DATA holds real/ and fake/GENERATOR/, none of it trained on. Every contestant scores the same images on one thread;
times are processor times of the model alone, on pictures that are preprocessed already, in turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.measure import RESULTS, Record, make_parser, median_ratio, require_close, run, take_turns
from cinemae.core.preprocess import preprocess
from cinemae.models.bundle import ModelBundle
from cinemae.models.directory import INT8_FILE, ONNX_FILE, read_model_config, resolve_model
from cinemae.models.export import export_onnx
from cinemae.models.export_int8 import quantize_graph
from cinemae.models.scorers import OnnxScorer
from cinemae.pictures.image import load_image
from cinemae.sources.datasets import read_records
from cinemae.statistics.resampling import auc_apart

PLOT = RESULTS / "pareto.png"
VIEWS = {"tiles": "all tiles", "checkered": "half of the tiles"}


def measure(options: argparse.Namespace) -> Record:
    """Make the graphs, score every image by each, time them in turns, and draw the plot."""
    model = resolve_model(options.model)
    with tempfile.TemporaryDirectory() as folder:
        scorers = dict(_contestants(model, Path(folder)))
        pixels, labels, generators = _images(scorers, options.data)
        logits = {name: np.concatenate(list(_score(scorers[name], pixels))) for name in scorers}
        exact = OnnxScorer(model, num_threads=1)
        first = next(iter(scorers))
        checked = require_close(
            "logit, paper's settings", logits[first], np.concatenate(list(_score(exact, pixels))), 1e-5
        )
        few = pixels[: options.timed]
        contestants: dict[str, Callable[[], object]] = {
            name: lambda scorer=scorer: list(_score(scorer, few)) for name, scorer in scorers.items()
        }
        samples = take_turns(contestants, options.rounds, clock=time.process_time)
    figures: dict[str, float] = {}
    points = {}
    for name in scorers:
        difference, _ = auc_apart(logits[name], logits[first], labels)
        share = median_ratio(samples[name], samples[first])
        points[name] = (share, _mean_auc(logits[name], labels, generators))
        figures[f"looked at | {name} | time / paper's settings"] = share
        figures[f"looked at | {name} | AUC, mean over generators"] = points[name][1]
        figures[f"looked at | {name} | AUC over all images, gained"] = difference.value
        figures[f"looked at | {name} | 95 % interval from"] = difference.low
        figures[f"looked at | {name} | to"] = difference.high
    if options.save:
        _draw(points)
    settings = {"images": len(labels), "timed": len(few), "rounds": options.rounds, "model": exact.config.model_id}
    return Record("pareto", settings, {"logit, the shipped graph": checked}, figures, [], samples)


def _contestants(model: Path, folder: Path) -> Iterator[tuple[str, OnnxScorer]]:
    """Yield a scorer for each number of tiles, of masks, and precision; the paper's settings first."""
    config = read_model_config(model)
    extractor = config.extractor
    most = extractor.mask.num_passes
    for views, passes in itertools.product(VIEWS, sorted({most, 1}, reverse=True)):
        changed = dataclasses.replace(
            extractor,
            image=dataclasses.replace(extractor.image, views=views),
            mask=dataclasses.replace(extractor.mask, num_passes=passes),
        )
        made = folder / f"{views}-{passes}"
        bundle = ModelBundle.read(model).changed(without=(ONNX_FILE, INT8_FILE))
        dataclasses.replace(bundle, config=dataclasses.replace(config, extractor=changed)).write(made)
        export_onnx(made)
        quantize_graph(made, made)
        name = f"{VIEWS[views]}, {passes} mask{'s' if passes > 1 else ''}"
        for precision in ("fp32", "int8"):
            scorer = OnnxScorer(made, precision=precision, num_threads=1)
            yield name + (", int8" if precision == "int8" else ""), scorer


def _images(scorers: dict[str, OnnxScorer], data: Path) -> tuple[list[NDArray[np.float32]], NDArray[Any], NDArray[Any]]:
    """Return the tiles of each image, whether it is generated, and by what."""
    image = next(iter(scorers.values())).config.extractor.image
    records = [record for record in read_records(data) if record.label is not None]
    pixels = [preprocess(load_image(record.path).image, image) for record in records]
    labels = np.array([record.label for record in records])
    return pixels, labels, np.array([record.generator or "" for record in records])


def _score(scorer: OnnxScorer, pixels: list[NDArray[np.float32]]) -> Iterator[NDArray[np.float64]]:
    """Yield the logit of each image, (1,)."""
    image = scorer.config.extractor.image
    chosen = [index for index, place in enumerate(_places(image)) if place in image.tile_places]
    for tiles in pixels:
        yield scorer.score(tiles[None, chosen]).logit


def _places(image: Any) -> tuple[tuple[int, int], ...]:
    places: tuple[tuple[int, int], ...] = dataclasses.replace(image, views="tiles").tile_places
    return places


def _mean_auc(logits: NDArray[np.float64], labels: NDArray[Any], generators: NDArray[Any]) -> float:
    real = logits[labels == 0]
    found = []
    for name in sorted(set(generators[labels == 1])):
        fake = logits[(labels == 1) & (generators == name)]
        found.append(roc_auc_score([0] * len(real) + [1] * len(fake), np.concatenate([real, fake])))
    return float(np.mean(found))


def _draw(points: dict[str, tuple[float, float]]) -> None:
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for number, (name, point) in enumerate(points.items(), 1):  # the points lie too close together for their names
        rounded = name.endswith(", int8")
        axes.plot(*point, "s" if rounded else "o", color="C1" if rounded else "C0", label=f"{number}: {name}")
        axes.annotate(str(number), point, textcoords="offset points", xytext=(5, 4), fontsize=9)
    axes.set_xlabel("time of the model / that of the paper's settings in float32")
    axes.set_ylabel("AUC, mean over generators")
    axes.set_xlim(0, 1.1)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize=9)
    figure.savefig(PLOT, dpi=110, metadata={"Software": None})


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with real/ and fake/GENERATOR/")
    parser.add_argument("--model", help="a model directory; without it the bundled starter")
    parser.add_argument("--timed", type=int, default=12, help="images that are timed")
    parser.add_argument("--rounds", type=int, default=7, help="how often")
    run(measure, parser)


if __name__ == "__main__":
    main()
