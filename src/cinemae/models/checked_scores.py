"""What a model gave the labelled images that it was checked on: with which a score is compared.

It lies in calibration.json. A model that was calibrated before this was kept has none, and nothing is compared then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from cinemae.errors import ModelDirError
from cinemae.models.directory import CALIBRATION_FILE, read_json

_STEPS = 100


class CheckedScores(msgspec.Struct, frozen=True):
    """Quantiles of the logit by class, at levels evenly spaced from 0 to 1, and what cross-fitting measured.

    Attributes:
        n_real: Photographs.
        n_fake: Generated images.
        real: Quantiles of the logit over the photographs.
        fake: Quantiles of the logit over the generated images.
        uncertain: Share of all of them that a rule chosen without them called "uncertain"; None if it is not known.
    """

    n_real: int
    n_fake: int
    real: tuple[float, ...]
    fake: tuple[float, ...]
    uncertain: float | None = None

    def __post_init__(self) -> None:
        if min(len(self.real), len(self.fake)) < 2 or any(list(x) != sorted(x) for x in (self.real, self.fake)):
            raise ValueError("quantiles of checked scores are two or more a class, and ascend")

    @classmethod
    def of(cls, logits: NDArray[Any], labels: NDArray[Any], uncertain: float | None = None) -> Self:
        """Summarise the logits of labelled images.

        Args:
            logits: (N,).
            labels: 0 real, 1 fake, (N,); both occur.
            uncertain: As the attribute.
        """
        levels = np.linspace(0, 1, _STEPS + 1)
        real, fake = (tuple(np.quantile(logits[labels == label], levels).tolist()) for label in (0, 1))
        return cls(int((labels == 0).sum()), int((labels == 1).sum()), real, fake, uncertain)

    def photographs_below(self, logit: float) -> float:
        """Return the share of the photographs that scored lower.

        Example:
            >>> CheckedScores(9, 9, real=(-4.0, 0.0), fake=(0.0, 4.0)).photographs_below(-1.0)
            0.75
        """
        return _share_below(logit, self.real)

    def generated_above(self, logit: float) -> float:
        """Return the share of the generated images that scored higher."""
        return 1 - _share_below(logit, self.fake)


def read_checked_scores(directory: Path) -> CheckedScores | None:
    """Read them from a model directory; None where there are none.

    Raises:
        ModelDirError: If they cannot be used.
    """
    path = directory / CALIBRATION_FILE
    if not path.is_file():
        return None
    kept = read_json(path).get("checked_scores")
    try:
        return None if kept is None else msgspec.convert(kept, CheckedScores)
    except msgspec.ValidationError as error:
        raise ModelDirError(f"{path} cannot be used ({error}): restore it, or delete it to go without.") from error


def _share_below(logit: float, quantiles: tuple[float, ...]) -> float:
    return float(np.interp(logit, quantiles, np.linspace(0, 1, len(quantiles))))
