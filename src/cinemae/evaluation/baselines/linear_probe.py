"""Logistic regression on standardised features: the classifier of FreDect and of UnivFD's linear mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from cinemae.errors import TrainingError
from cinemae.evaluation.baselines.saved import Arrays, misfit

_MAX_ITERATIONS = 1000
_CONSTANT = 1e-6  # a feature that varies less than this, beside its mean, does so by rounding alone
_COLUMNS_AT_ONCE = 1024  # in double precision, beside the features themselves


def require_labels(pictures: Sequence[Any], labels: NDArray[np.int64]) -> None:
    """Check what a detector is to be trained on.

    Raises:
        TrainingError: If there is not one label a picture, a label is neither 0 nor 1, or a class is missing.
    """
    if labels.shape != (len(pictures),):
        raise TrainingError(f"training needs one label a picture, got {len(pictures)} pictures, labels {labels.shape}.")
    unknown = sorted(set(labels.tolist()) - {0, 1})
    if unknown:
        raise TrainingError(f"a label is 0 (real) or 1 (fake), got {unknown[0]}.")
    counts = [int((labels == label).sum()) for label in (0, 1)]
    if min(counts) == 0:
        raise TrainingError(f"training needs both classes, got {counts[0]} real and {counts[1]} fake: add the other.")


@dataclass(frozen=True)
class LinearProbe:
    """probability = sigmoid(weight . (x - mean) / scale + bias).

    Attributes:
        mean, scale, weight: (D,) float64; scale is 1 where a feature never varies.
        bias: (1,) float64.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def fit(cls, features: NDArray[np.float32], labels: NDArray[np.int64], c: float) -> Self:
        """Standardise each feature, then fit by L-BFGS, both classes weighed alike.

        The optimum is unique, so nothing is drawn. On 1600 rows of 16384 features it took under a second on one core.

        Args:
            features: (N, D); overwritten, as they may be large.
            labels: (N,), 0 or 1.
            c: Inverse of the L2 penalty: scikit-learn's C times D, so that one value suits every D.
        """
        mean, scale = np.empty(features.shape[1]), np.empty(features.shape[1])
        for start in range(0, features.shape[1], _COLUMNS_AT_ONCE):
            columns = slice(start, start + _COLUMNS_AT_ONCE)
            block = features[:, columns].astype(np.float64)
            mean[columns], scale[columns] = block.mean(0), block.std(0)
            scale[columns][scale[columns] <= _CONSTANT * np.abs(mean[columns])] = 1.0
            features[:, columns] = (block - mean[columns]) / scale[columns]
        model = LogisticRegression(C=c / features.shape[1], class_weight="balanced", max_iter=_MAX_ITERATIONS)
        model.fit(features, labels)
        return cls(mean, scale, model.coef_[0].astype(np.float64), model.intercept_.astype(np.float64))

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability of fake, (N,), of features (N, D)."""
        standardised = (features - self.mean) / self.scale
        result: NDArray[np.float64] = expit(standardised @ self.weight + self.bias[0])
        return result

    def arrays(self) -> Arrays:
        """Return the four arrays by name, to be saved."""
        return {"mean": self.mean, "scale": self.scale, "weight": self.weight, "bias": self.bias}

    @classmethod
    def from_arrays(cls, arrays: Arrays, dim: int | None, folder: Path) -> Self:
        """Rebuild from saved arrays.

        Args:
            arrays: As `arrays` returned them.
            dim: How many features there are; None to take the number of weights.
            folder: Where they were read, for the sentence.

        Raises:
            ModelDirError: If one is missing or has another shape.
        """
        try:
            probe = cls(*(arrays[name] for name in ("mean", "scale", "weight", "bias")))
        except KeyError as error:
            raise misfit(folder, f"there is no {error.args[0]}") from error
        expected = len(probe.weight) if dim is None else dim
        for array, length in (
            (probe.mean, expected),
            (probe.scale, expected),
            (probe.weight, expected),
            (probe.bias, 1),
        ):
            if array.shape != (length,):
                raise misfit(folder, f"an array has shape {array.shape} where ({length},) is due")
        return probe
