"""Scores with labels and generators, checked once: what the analyses are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinemae.errors import EvaluationError


@dataclass(frozen=True, eq=False)
class ScoredSet:
    """One score an image; both classes are there, and every number is finite.

    Attributes:
        scores: (N,) float64. What higher means is said by whoever uses it.
        labels: 0 real, 1 fake, (N,).
        generators: Generator of each fake, source of each photograph, (N,).

    Raises:
        EvaluationError: If lengths differ, a class is empty, a label is neither 0 nor 1, or a score is not finite.

    Example:
        >>> data = ScoredSet(np.array([0.2, 0.9]), np.array([0, 1]), np.array(["camera", "gan"]))
        >>> data.generator_names, data.real, data.of("gan")
        (('gan',), array([0.2]), array([0.9]))
    """

    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    generators: NDArray[np.str_]

    def __post_init__(self) -> None:
        scores = finite_scores(self.scores, "the scores")
        labels = binary_labels(self.labels, len(scores))
        generators = np.asarray(self.generators).astype(np.str_)
        if generators.shape != scores.shape:
            raise EvaluationError(f"each image has one generator, got {len(generators)} for {len(scores)} images.")
        for name, value in (("scores", scores), ("labels", labels), ("generators", generators)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def real(self) -> NDArray[np.float64]:
        """Scores of the photographs."""
        return np.asarray(self.scores[self.labels == 0], np.float64)

    @property
    def fake(self) -> NDArray[np.float64]:
        """Scores of all generated images."""
        return np.asarray(self.scores[self.labels == 1], np.float64)

    @property
    def generator_names(self) -> tuple[str, ...]:
        """Generators of the fakes, sorted."""
        return tuple(sorted({str(name) for name in self.generators[self.labels == 1]}))

    def of(self, generator: str) -> NDArray[np.float64]:
        """Return the scores of one generator's images.

        Raises:
            EvaluationError: If it made none of them.
        """
        chosen: NDArray[np.float64] = self.scores[(self.labels == 1) & (self.generators == generator)]
        if not len(chosen):
            raise EvaluationError(f"no image is of generator {generator}; there are {', '.join(self.generator_names)}.")
        return chosen


def finite_scores(values: NDArray[Any], name: str) -> NDArray[np.float64]:
    """Return a row of at least one finite number as float64.

    Args:
        values: (N,).
        name: What the error sentence calls them.

    Raises:
        EvaluationError: If they are not such a row.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1 or not numbers.size:
        raise EvaluationError(f"{name} must be one number an image, of one image at least; got shape {numbers.shape}.")
    broken = int((~np.isfinite(numbers)).sum())
    if broken:
        raise EvaluationError(
            f"{name} must be finite numbers, {broken} of {len(numbers)} are not: leave out the images that failed, "
            "and say how many."
        )
    return numbers


def binary_labels(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Return labels of `count` images, both classes among them.

    Args:
        labels: 0 real, 1 fake, (N,).
        count: N, the number of images that are scored.

    Raises:
        EvaluationError: If their number differs, another label occurs, or a class is empty.
    """
    numbers = np.asarray(labels)
    if numbers.shape != (count,):
        raise EvaluationError(f"each image has one label, got labels of shape {numbers.shape} for {count} images.")
    unknown = numbers[(numbers != 0) & (numbers != 1)]
    if len(unknown):
        raise EvaluationError(f"a label is 0 (real) or 1 (fake), got {unknown[0]}: leave out unlabelled images.")
    fakes = int((numbers == 1).sum())
    if fakes in (0, count):
        raise EvaluationError(
            f"photographs and generated images are both needed, got {count - fakes} and {fakes}: add the missing class."
        )
    return numbers.astype(np.int64)
