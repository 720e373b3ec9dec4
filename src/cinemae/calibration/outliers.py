"""What the training images look like, so that an image unlike them can be told (decision 0011)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, LeaveOneGroupOut

from cinemae.config import OodReference
from cinemae.core.mahalanobis import MahalanobisDistance, view_summary
from cinemae.errors import TrainingError
from cinemae.features.training_set import row_slices

LEVELS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0)
_FOLDS = 5
_LEAST_SPREAD = 1e-6
WIDEST = 4096
"""Values of a summary beyond which its covariance is not built: a matrix of 6,912 columns takes 382 MB."""
COMPONENTS = 64
"""Principal components that are looked at in place of the values of so wide a summary."""
_ROUNDS = 8  # of subspace iteration; more move the distance by less than the choice of images does


def learn_outliers(
    trained: NDArray[np.float32], validated: NDArray[np.float32], labels: NDArray[Any], side_by_side: bool = False
) -> tuple[MahalanobisDistance, OodReference]:
    """Learn what the training images look like, and how far from them validation images lie.

    Args:
        trained: [CLS] of each view of the training images, (N, V, D).
        validated: Of the validation images, (M, V, D).
        labels: Of the validation images, (M,).
        side_by_side: How the views of an image are summarised.
    """
    summarise = partial(view_summary, side_by_side=side_by_side)
    distance = replace(fit_distance(trained, summarise), side_by_side=side_by_side)
    rows = row_slices(len(validated), validated)
    found = [distance.of_summary(summarise(validated[some])) for some in rows]
    return distance, ood_reference(np.concatenate(found), labels)


def fit_distance(
    images: NDArray[np.float32], summarise: Callable[[NDArray[np.float32]], NDArray[np.float32]] = np.asarray
) -> MahalanobisDistance:
    """Fit one Gaussian to images, its covariance shrunk as Ledoit and Wolf (2004) say.

    Of summaries of more than `WIDEST` values it is one of their first `COMPONENTS` principal components. The images are
    gone through a few at a time, so that they may lie in a file.

    Args:
        images: What `summarise` takes of N images; N may be smaller than F.
        summarise: Gives `view_summary` of some of them, (n, F); by default they are given so.

    Raises:
        TrainingError: If there are fewer than two images, or a feature is not finite.
    """

    def parts() -> Iterator[NDArray[np.float64]]:
        return (summarise(images[rows]).astype(np.float64) for rows in row_slices(len(images), images))

    mean, spread = _moments(parts())

    def scaled() -> Iterator[NDArray[np.float64]]:
        return ((part - mean) / spread for part in parts())

    if len(mean) <= WIDEST:
        whitening = _whitening(scaled())
    else:
        components = _principal_components(scaled, len(mean))
        whitening = _whitening(part @ components for part in scaled()) @ components.T
    return MahalanobisDistance(mean.astype(np.float32), (whitening / spread).astype(np.float32))


def _moments(parts: Iterator[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and deviation of each column, (F,)."""
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for part in parts:
        total, difference = count + len(part), part.mean(0) - mean
        squares = squares + part.var(0) * len(part) + difference**2 * (count * len(part) / total)
        mean, count = mean + difference * (len(part) / total), total
    if count < 2 or not np.isfinite(squares).all():
        raise TrainingError(
            f"what training images look like is learnt from two images or more with finite features, got {count}: "
            "extract them again."
        )
    return mean, np.maximum(np.sqrt(squares / count), _LEAST_SPREAD)


def _whitening(parts: Iterator[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return W with W'W the inverse of the shrunk covariance of rows whose mean is 0."""
    count, products, fourth = 0, np.zeros(()), 0.0
    for part in parts:
        count += len(part)
        products = products + part.T @ part
        fourth += float(((part**2).sum(1) ** 2).sum())
    return np.asarray(np.linalg.cholesky(np.linalg.inv(_shrunk(products / count, fourth / count, count))).T)


def _principal_components(parts: Callable[[], Iterator[NDArray[np.float64]]], width: int) -> NDArray[np.float64]:
    """Return orthonormal directions of most variance, (F, R), by subspace iteration: no F x F matrix is built."""
    found = np.linalg.qr(np.random.default_rng(0).normal(size=(width, COMPONENTS)))[0]
    for _ in range(_ROUNDS):
        found = np.linalg.qr(sum((part.T @ (part @ found) for part in parts()), np.zeros(())))[0]
    return found


def _shrunk(covariance: NDArray[np.float64], fourth: float, count: int) -> NDArray[np.float64]:
    """Shrink a covariance as Ledoit and Wolf (2004) do, from the mean of ||x||^4 in place of the images x."""
    width = len(covariance)
    level = np.trace(covariance) / width
    squared = float((covariance**2).sum())
    away = (squared - 2 * level * np.trace(covariance) + width * level**2) / width
    noise = min((fourth - squared) / (width * count), away)
    share = 0.0 if noise == 0 else noise / away
    return np.asarray((1 - share) * covariance + share * level * np.eye(width))


def cross_fitted_distances(
    summary: NDArray[np.float32], *, seed: int = 0, fold: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Return the distance of each image to a Gaussian of the other folds, (N,): what a new image would be at.

    An image that was fitted on lies nearer than a new one, the more so the fewer images there are.

    Args:
        summary: `view_summary` of N images, (N, F).
        seed: Of the folds that are drawn.
        fold: Which images are judged together, (N,); None to draw folds.
    """
    found = np.zeros(len(summary))
    drawn = KFold(min(_FOLDS, len(summary) // 2), shuffle=True, random_state=seed)
    folds = drawn if fold is None else LeaveOneGroupOut()
    for fitted, judged in folds.split(summary, groups=fold):
        found[judged] = fit_distance(summary[fitted]).of_summary(summary[judged])
    return found


def ood_reference(ood_distance: NDArray[Any], labels: NDArray[Any]) -> OodReference:
    """Return the quantiles of `LEVELS` of the distance over the photographs among calibration images.

    Photographs alone: a warning is to be rare on them, and how far out fakes lie depends on which generators are there.

    Args:
        ood_distance: (N,).
        labels: 0 real, 1 fake, (N,).

    Example:
        >>> found = ood_reference(np.array([1.0, 3.0, 99.0]), np.array([0, 0, 1]))
        >>> found.values[0], found.values[5], found.values[-1]
        (1.0, 2.0, 3.0)
    """
    values = np.quantile(np.asarray(ood_distance, np.float64)[labels == 0], LEVELS)
    return OodReference(levels=LEVELS, values=tuple(values.tolist()))
