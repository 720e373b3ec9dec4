"""Images to calibrate on, and what a model gives for each: logit and the features that tell how unlike others it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from cinemae.core.features import Features, features_to_stats
from cinemae.core.mahalanobis import view_summary
from cinemae.core.model import CinemaeModel
from cinemae.errors import TrainingError
from cinemae.features.extract import extract_rows
from cinemae.features.extract_job import DEFAULT_BATCH_SIZE
from cinemae.sources.records import ImageRecord
from cinemae.stores.store_format import StoreRow


@dataclass(frozen=True, eq=False)
class ScoredImages:
    """What a model gives for N images, each of another content.

    Attributes:
        logits: Before calibration, (N,).
        summary: `cinemae.core.mahalanobis.view_summary`, (N, F).
        labels: 0 real, 1 fake, (N,).
        generators: Generator of each fake, source of each photograph, "" where unknown, (N,).
        content_hashes: SHA-256 of each.
        paths: Where each lies.
        unreadable: A sentence for each image that could not be read.
        num_duplicates: Files left out because another of the same class has the same content.
    """

    logits: NDArray[np.float64]
    summary: NDArray[np.float32]
    labels: NDArray[np.int64]
    generators: NDArray[np.str_]
    content_hashes: tuple[str, ...]
    paths: tuple[str, ...]
    unreadable: tuple[str, ...]
    num_duplicates: int

    @property
    def left_out(self) -> dict[str, int]:
        """How many images were not used, by reason."""
        return {"unreadable": len(self.unreadable), "duplicates": self.num_duplicates}


def score_images(
    records: Sequence[ImageRecord],
    model: CinemaeModel,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    progress: Callable[[int, int], None] | None = None,
) -> ScoredImages:
    """Run a model over labelled images, each content once; an image that cannot be read is counted and left out.

    Args:
        records: The images, labelled.
        model: Backbone and head, on the device to use.
        batch_size: Images for each call of the model.
        progress: Called with (images done, images in all), at the start and after every batch.

    Raises:
        TrainingError: If a content is in both classes, an image's logit is not finite, or no image can be read.
    """
    tell = progress or (lambda done, total: None)
    tell(0, len(records))
    done, seen = 0, dict[str, StoreRow]()
    logits: list[NDArray[np.float32]] = []
    summary: list[NDArray[np.float32]] = []
    unreadable: list[str] = []
    for rows in extract_rows(records, model.extractor, batch_size=batch_size):
        done += len(rows)
        unreadable += [f"{row.path}: {row.error_message}" for row in rows if row.error_message is not None]
        if new := [row for row in rows if row.error_message is None and _add_new(row, seen)]:
            of_logits, of_summary = _run_head(new, model)
            logits.append(of_logits)
            summary.append(of_summary)
        tell(done, len(records))
    if not seen:
        raise TrainingError(f"none of the {len(records)} images could be read, the first: {unreadable[0]}")
    kept = list(seen.values())
    return ScoredImages(
        logits=np.concatenate(logits).astype(np.float64),
        summary=np.concatenate(summary),
        labels=np.array([row.label for row in kept], np.int64),
        generators=np.array([row.generator or "" for row in kept], np.str_),
        content_hashes=tuple(seen),
        paths=tuple(row.path for row in kept),
        unreadable=tuple(unreadable),
        num_duplicates=done - len(kept) - len(unreadable),
    )


def _add_new(row: StoreRow, seen: dict[str, StoreRow]) -> bool:
    """Remember an image without its features, unless its content is known; refuse a content of both classes."""
    digest = str(row.content_hash)
    before = seen.get(digest)
    if before is not None and before.label != row.label:
        raise TrainingError(
            f"an image is a photograph or a generated image, but {before.path} and {row.path} have the same content: "
            "take it out of one class."
        )
    if before is None:
        seen[digest] = replace(row, global_feature=None, deviation=None, fidelity=None)
    return before is None


def _run_head(rows: Sequence[StoreRow], model: CinemaeModel) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return logit (n,) and `view_summary` (n, F) of images whose features are known."""
    device, patch_dim = model.extractor.mean.device, model.extractor.backbone.patch_dim
    columns = ([getattr(row, name) for row in rows] for name in ("global_feature", "deviation", "fidelity"))
    global_feature, deviation, fidelity = (torch.from_numpy(np.stack(column)).to(device) for column in columns)
    features = Features(global_feature.flatten(0, 1), deviation.flatten(0, 1), fidelity.flatten(0, 1))
    with torch.inference_mode():
        stats = features_to_stats(features, model.lcas, patch_dim).unflatten(0, global_feature.shape[:2])
        logit = model.head.score_views(global_feature, stats)
    if not logit.isfinite().all():
        broken = rows[int(logit.isfinite().logical_not().nonzero()[0])]
        raise TrainingError(f"the model gives {broken.path} a logit that is no number: it is damaged, fetch it again.")
    return logit.cpu().numpy(), view_summary(global_feature.cpu().numpy(), model.head.config.joins_views_side_by_side)
