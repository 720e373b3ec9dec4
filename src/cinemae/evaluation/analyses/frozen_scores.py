"""What the frozen half alone says of each image, before anything is trained: NLL, LCAS and s1, s2, s3 (Secs. 3-4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray

from cinemae.config import LcasConfig
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.features import terms_to_lcas
from cinemae.errors import EvaluationError
from cinemae.features.training_set import require_one_fingerprint
from cinemae.statistics.scored_set import ScoredSet
from cinemae.stores.features import FeatureStore

FrozenScore = Literal["nll", "lcas"]
_TEXTS = ("generator", "path", "content_hash")


@dataclass(frozen=True, eq=False)
class FrozenScores:
    """Scores of N labelled images; all of them say how hard an image is to predict from its context.

    Photographs are expected to have the HIGHER `nll` and `lcas` (Sec. 3): as the score of a detector, where higher
    means more likely generated, use the negative, as `as_detector` does.

    Attributes:
        nll: NLL_approx of Eq. 2 with sigma = 1 in the units of the extractor's pixel space, averaged over masked
            patches, passes and views, (N,) float64.
        stats: s1, s2, s3 averaged over the views, (N, 3) float64.
        labels: 0 real, 1 fake, (N,).
        generators: Generator of each fake, source of each photograph, "" where unknown, (N,).
        paths: As given to extract, (N,).
        content_hashes: SHA-256 of each file, "" where unknown, (N,).
    """

    nll: NDArray[np.float64]
    stats: NDArray[np.float64]
    labels: NDArray[np.int64]
    generators: NDArray[np.str_]
    paths: NDArray[np.str_]
    content_hashes: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: NDArray[Any]) -> FrozenScores:
        """Return the chosen images, by mask or index."""
        return FrozenScores(
            self.nll[chosen],
            self.stats[chosen],
            self.labels[chosen],
            self.generators[chosen],
            self.paths[chosen],
            self.content_hashes[chosen],
        )

    @property
    def lcas(self) -> NDArray[np.float64]:
        """LCAS averaged over masked patches, passes and views, (N,): every pass masks as many patches, so it is s2."""
        return self.stats[:, 1]

    def values(self, score: FrozenScore) -> ScoredSet:
        """Return NLL or LCAS as it is: higher means harder to predict from context.

        Raises:
            EvaluationError: If a class is empty.
        """
        return ScoredSet({"nll": self.nll, "lcas": self.lcas}[score], self.labels, self.generators)

    def as_detector(self, score: FrozenScore) -> ScoredSet:
        """Return the negative of NLL or LCAS: higher means more likely generated, if the paper's order holds.

        Raises:
            EvaluationError: If a class is empty.
        """
        return ScoredSet(-self.values(score).scores, self.labels, self.generators)

    @classmethod
    def from_stores(cls, stores: Sequence[FeatureStore], lcas: LcasConfig) -> Self:
        """Read the readable, labelled rows of stores that were made by the same frozen half.

        Args:
            stores: At least one.
            lcas: Weight and reduction of Eq. 4's terms; NLL does not depend on them.

        Raises:
            FingerprintMismatchError: If two stores differ in backbone or extractor settings.
            EvaluationError: If no store or no labelled row came, or a score is not finite.
        """
        if not stores:
            raise EvaluationError("scores of the frozen half are read from at least one feature store, got none.")
        require_one_fingerprint(stores)
        first = stores[0]
        parts = [_read(store, lcas) for store in stores]
        result = cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        if not len(result):
            raise EvaluationError(f"no readable image in {first.path} carries a label: name folders real/ and fake/.")
        if not (np.isfinite(result.nll).all() and np.isfinite(result.stats).all()):
            raise EvaluationError(f"a feature of {first.path} or its fellows is not finite: extract the stores again.")
        return result


def _read(store: FeatureStore, lcas: LcasConfig) -> tuple[NDArray[Any], ...]:
    columns = store.load(("label", "generator", "path", "content_hash", "deviation", "fidelity"))
    labelled = columns["label"] >= 0
    deviation, fidelity = (torch.from_numpy(columns[name][labelled]).double() for name in ("deviation", "fidelity"))
    patch_dim = store.backbone.patch_dim
    scores = terms_to_lcas(deviation, fidelity, lcas, patch_dim)
    stats = anomaly_stats(scores.flatten(0, 1)).unflatten(0, scores.shape[:2]).mean(1)
    # The store keeps the squared error averaged over a patch's values; Eq. 2 sums it and divides by 2 sigma^2.
    nll = (patch_dim / 2) * fidelity.nanmean((-3, -2, -1))
    texts = (np.array([text or "" for text in columns[name]], np.str_)[labelled] for name in _TEXTS)
    return (nll.numpy(), stats.numpy(), columns["label"][labelled].astype(np.int64), *texts)
