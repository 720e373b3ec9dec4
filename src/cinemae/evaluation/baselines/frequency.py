"""FreDect: a linear classifier on the log-scaled DCT of a picture (Frank et al. 2020, ICML, arXiv 2003.08685).

Upsampling inside a generator leaves peaks in the spectrum. The paper takes the two-dimensional DCT-II, scales it by the
logarithm, standardises every coefficient over the training set and shows that a linear classifier is then enough. Ours
is logistic regression, so that the output is a probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from cinemae.evaluation.baselines.baseline import Baseline
from cinemae.evaluation.baselines.crops import center_square
from cinemae.evaluation.baselines.linear_probe import LinearProbe
from cinemae.evaluation.baselines.saved import Arrays
from cinemae.settings import Settings, require

_FLOOR = 1e-3  # far below the 0.3 that rounding to 8 bits leaves in a coefficient: keeps log of flat pictures finite
_GREY = np.array([0.299, 0.587, 0.114])
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class FreDectConfig(Settings):
    """What the DCT is taken of, and how the classifier is held back."""

    crop: int = 128
    color: Literal["grey", "rgb"] = "grey"
    c: float = 100.0  # inverse L2 penalty times the number of coefficients; not stated by the paper

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.crop >= 2, f"crop must be at least 2 pixels, got {self.crop}.")
        require(self.c > 0, f"c must be positive, got {self.c}.")

    @property
    def num_coefficients(self) -> int:
        """How many coefficients a picture has."""
        return self.crop**2 * (3 if self.color == "rgb" else 1)


def log_dct(pixels: NDArray[np.uint8], color: Literal["grey", "rgb"] = "grey") -> NDArray[np.float32]:
    """Return log(|DCT-II| + 0.001) of a square of pixels, in 0..255, the transform orthonormal.

    Args:
        pixels: (S, S, 3) uint8.
        color: "grey" for one transform of the luma (0.299 R + 0.587 G + 0.114 B, not rounded), "rgb" for one a channel.

    Returns:
        (S * S,) or, channel after channel, (3 * S * S,) float32.

    Example:
        >>> flat = np.full((4, 4, 3), 100, np.uint8)
        >>> [round(float(value), 2) for value in log_dct(flat)[:2]]  # log(4 * 100), then log(0.001)
        [5.99, -6.91]
    """
    channels = [pixels @ _GREY] if color == "grey" else list(np.moveaxis(pixels.astype(np.float64), 2, 0))
    spectra = [dctn(channel, type=2, norm="ortho") for channel in channels]
    logarithms: NDArray[np.float32] = np.log(np.abs(np.stack(spectra)) + _FLOOR).astype(np.float32)
    return logarithms.ravel()


class FreDect(Baseline[FreDectConfig, LinearProbe]):
    """The detector; the squares it sees are cut from the centre, unscaled (see `cinemae.evaluation.baselines.crops`).

    The optimum is unique and nothing is drawn, so the seed of `fit` is not used.

    Example:
        >>> FreDect(FreDectConfig(crop=64)).description
        'logistic regression on the log DCT of a 64x64 centre crop, grey'
    """

    name = "fredect"
    what = "logistic regression on the log DCT of a {c.crop}x{c.crop} centre crop, {c.color}"
    config_type = FreDectConfig

    def _learn(
        self, pictures: Sequence[Image.Image], labels: NDArray[np.int64], seed: int, progress: object
    ) -> LinearProbe:
        features = np.empty((len(pictures), self.config.num_coefficients), np.float32)
        for index in range(len(pictures)):
            features[index] = self._features(pictures[index])
        return LinearProbe.fit(features, labels, self.config.c)

    def predict(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """Return the probability that each RGB picture is generated, (N,).

        Raises:
            TrainingError: If the detector has not been trained.
        """
        probe, result = self._trained(), np.empty(len(images))
        for start in range(0, len(images), _ROWS_AT_ONCE):
            rows = range(start, min(start + _ROWS_AT_ONCE, len(images)))
            result[rows.start : rows.stop] = probe.score(np.stack([self._features(images[row]) for row in rows]))
        return result

    def _kept(self, learnt: LinearProbe) -> tuple[dict[str, object], Arrays]:
        return {}, learnt.arrays()

    def _restored(self, folder: Path, values: object, arrays: Arrays) -> LinearProbe:
        return LinearProbe.from_arrays(arrays, self.config.num_coefficients, folder)

    def _features(self, image: Image.Image) -> NDArray[np.float32]:
        return log_dct(center_square(image, self.config.crop), self.config.color)
