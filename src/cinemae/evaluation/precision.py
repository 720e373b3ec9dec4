"""Make a model's int8 graph, measure what it changes on labelled images, and keep it only if it tells them as well."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from cinemae.config import DecisionConfig
from cinemae.core.preprocess import preprocess
from cinemae.detect.words import word_for
from cinemae.errors import EvaluationError
from cinemae.evaluation.pictures import require_both
from cinemae.evaluation.predictions import Column, Predictions
from cinemae.evaluation.run import Batch, run
from cinemae.models.bundle import ModelBundle
from cinemae.models.card import with_card
from cinemae.models.directory import BACKBONE_DIR, BACKBONE_FILE, CONFIG_FILE, HEAD_FILE, INT8_FILE, OOD_FILE
from cinemae.models.export_int8 import quantize_graph
from cinemae.models.results import PrecisionCheck
from cinemae.models.scorers import OnnxScorer
from cinemae.sources.local_files import Listing
from cinemae.sources.one_class import read_class
from cinemae.statistics.metrics import auc
from cinemae.statistics.resampling import auc_apart

MAX_AUC_DROP = 0.003
"""A graph that loses more is not written."""

CHECK_KEY = "cinemae.precision_check"  # in the graph's metadata: the figures below, as JSON


def export_int8(
    directory: Path,
    real: Sequence[str],
    fake: Sequence[str],
    *,
    listing: Listing | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PrecisionCheck:
    """Write ``model.int8.onnx`` beside ``model.onnx``, and its figures into results.json and the model card.

    Args:
        directory: A model directory with a current model.onnx.
        real: Photographs to check on, as `cinemae.sources.datasets.read_records` takes them: like those that verdicts
            will be asked for, and none that the model was trained on.
        fake: Generated images, likewise.
        listing: How folders here are listed; it counts what is left out.
        progress: Called with (images done, images in all).

    Returns:
        What was measured.

    Raises:
        ModelDirError: If the directory is incomplete or model.onnx is not current.
        SourceError: If a source is missing, empty or of the other class.
        EvaluationError: If a class has fewer than two images that can be read, or the AUC drops by more than
            `MAX_AUC_DROP`; nothing is written then.
    """
    exact = OnnxScorer(directory)
    records = [record for label, sources in enumerate((real, fake)) for record in read_class(sources, label, listing)]
    with tempfile.TemporaryDirectory(prefix=".exporting-", dir=directory) as folder:
        candidate = Path(folder)
        (candidate / BACKBONE_DIR).mkdir()
        for name in (CONFIG_FILE, HEAD_FILE, OOD_FILE, BACKBONE_FILE):  # a graph of integers reads them from the last
            if (directory / name).is_file():
                shutil.copy(directory / name, candidate / name)
        graph = quantize_graph(directory, candidate)
        both = _BothPrecisions(exact, OnnxScorer(candidate, precision="int8"))
        found = both.compare(run(records, [both], progress=progress))
        if found.auc_drop > MAX_AUC_DROP:
            raise EvaluationError(
                f"int8 may cost at most {MAX_AUC_DROP} of AUC, here it costs {found.auc_drop:.4f} "
                f"({found.auc_fp32:.4f} to {found.auc_int8:.4f} on {found.num_real} photographs and {found.num_fake} "
                "generated images): nothing was written; stay with float32."
            )
        _state(graph, found)
        made = {path.name: path for path in candidate.glob(f"{graph.stem}.*")}
        bundle = ModelBundle.read(directory).changed(without=(INT8_FILE,), files=made)
        if bundle.results is not None:  # a model without figures has no card to tell of it
            bundle = with_card(replace(bundle, results=msgspec.structs.replace(bundle.results, int8=found)))
        bundle.write(directory)
    return found


def compare_precisions(
    exact: NDArray[np.float64],
    rounded: NDArray[np.float64],
    labels: NDArray[np.int64],
    decision: DecisionConfig,
    *,
    model: str = "",
    num_unread: int = 0,
) -> PrecisionCheck:
    """Compare prob_fake of the same N images in two precisions.

    Args:
        exact: In float32, (N,).
        rounded: In int8, (N,).
        labels: 0 real, 1 fake, (N,), at least two of each.
        decision: Where verdicts change.
        model: See `PrecisionCheck`.
        num_unread: See `PrecisionCheck`.

    Raises:
        EvaluationError: If a class has fewer than two images.
    """
    num_real, num_fake = int((labels == 0).sum()), int((labels == 1).sum())
    if min(num_real, num_fake) < 2:
        raise EvaluationError(
            f"to check a graph takes two photographs and two generated images at least, got {num_real} and {num_fake}."
        )
    apart = np.abs(exact - rounded)
    changes = [word_for(a, decision) != word_for(b, decision) for a, b in zip(exact, rounded, strict=True)]
    of_exact, of_rounded = (auc(scores[labels == 0], scores[labels == 1]).value for scores in (exact, rounded))
    drop, _ = auc_apart(exact, rounded, labels)
    return PrecisionCheck(
        model=model,
        num_real=num_real,
        num_fake=num_fake,
        num_unread=num_unread,
        mean_deviation=float(apart.mean()),
        p99_deviation=float(np.quantile(apart, 0.99)),
        max_deviation=float(apart.max()),
        verdict_changes=sum(changes),
        auc_fp32=of_exact,
        auc_int8=of_rounded,
        auc_drop=drop.value,
        auc_drop_low=drop.low,
        auc_drop_high=drop.high,
    )


class _BothPrecisions:
    """Two scorers of one model, each picture preprocessed once."""

    def __init__(self, *scorers: OnnxScorer) -> None:
        self._scorers = scorers
        self.fingerprint: str | None = scorers[0].config.fingerprint
        self.columns = tuple(Column(scorer.precision) for scorer in scorers)

    def score(self, batch: Batch) -> NDArray[np.float64]:
        """Return prob_fake of each picture by each scorer, (n, number of scorers)."""
        image = self._scorers[0].config.extractor.image
        pixel_values = np.stack([preprocess(picture, image) for picture in batch.pictures])
        return np.stack([scorer.score(pixel_values).prob_fake for scorer in self._scorers], axis=1)

    def compare(self, predictions: Predictions) -> PrecisionCheck:
        """Say what became of the images that could be read."""
        images, exact = predictions.images, self._scorers[0]
        read = images.readable
        require_both(images.label[read], "the check")
        of_exact, of_rounded = (predictions.of(column)[read] for column in self.columns)
        return compare_precisions(
            of_exact,
            of_rounded,
            images.label[read],
            exact.config.decision,
            model=exact.model_id,
            num_unread=int((~read).sum()),
        )


def _state(path: Path, found: PrecisionCheck) -> None:
    """Write the figures into the graph's own metadata; its weights stay where they are."""
    graph = onnx.load(path, load_external_data=False)
    known = {item.key: item.value for item in graph.metadata_props}
    helper.set_model_props(graph, {**known, CHECK_KEY: json.dumps(asdict(found))})
    onnx.save(graph, path)
