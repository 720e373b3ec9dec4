"""What all baselines share: settings from text, trained from labelled pictures, asked for scores, saved, loaded."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cinemae.errors import TrainingError
from cinemae.evaluation.baselines.linear_probe import require_labels
from cinemae.evaluation.baselines.options import settings_from_options
from cinemae.evaluation.baselines.saved import Arrays, read_detector, read_settings, write_detector
from cinemae.settings import Settings

if TYPE_CHECKING:
    from cinemae.evaluation.baselines.network_training import EpochDone

ConfigT = TypeVar("ConfigT", bound=Settings)
LearntT = TypeVar("LearntT")


class Baseline(ABC, Generic[ConfigT, LearntT]):
    """A detector, of which the settings tell everything but what it has learnt.

    Args:
        config: Its settings; None for the defaults.

    Attributes:
        name: What ``--detector`` takes.
        what: Its description, with settings (``c``) in braces.
        outputs: Whether it states probabilities.
        threshold: From which on a picture is called generated.
        config: Its settings.
    """

    name: ClassVar[str]
    what: ClassVar[str]
    config_type: ClassVar[type[Settings]]
    outputs: Literal["probability", "score"] = "probability"
    threshold: float = 0.5

    def __init__(self, config: ConfigT | None = None) -> None:
        self.config: ConfigT = config or self.config_type()  # type: ignore[assignment]
        self._learnt: LearntT | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Build from settings in text, as in ``{"epochs": "3", "crop": "96"}``.

        Raises:
            ConfigError: If a name is unknown or a value is refused.
        """
        return cls(settings_from_options(cls.config_type, options, detector=cls.name))  # type: ignore[arg-type]

    @property
    def description(self) -> str:
        """What the detector is, in a line; of a network also where its weights begin."""
        return self.what.format(c=self.config)

    def fit(
        self,
        pictures: Sequence[Image.Image],
        labels: NDArray[np.int64],
        *,
        seed: int,
        progress: Callable[[EpochDone], None] | None = None,
    ) -> None:
        """Train anew from labelled pictures.

        Args:
            pictures: RGB; may decode when indexed.
            labels: (N,), 0 real, 1 fake.
            seed: Of all that is drawn: fresh weights, order, crops and alterations.
            progress: Called after every epoch of a network.

        Raises:
            TrainingError: If labels and pictures do not match, a class is missing, or training diverges.
            CheckpointError: If the weights to begin with cannot be read.
        """
        require_labels(pictures, labels)
        self._learnt = self._learn(pictures, labels, seed, progress)

    @abstractmethod
    def _learn(
        self,
        pictures: Sequence[Image.Image],
        labels: NDArray[np.int64],
        seed: int,
        progress: Callable[[EpochDone], None] | None,
    ) -> LearntT:
        """Return what there is to learn from pictures of both classes."""

    @abstractmethod
    def predict(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """Return the probability that each RGB picture is generated, or a score where `outputs` says so, (N,).

        Raises:
            TrainingError: If the detector has not been trained.
        """

    def save(self, folder: Path) -> None:
        """Write the settings and what was learnt.

        Raises:
            TrainingError: If the detector has not been trained.
        """
        values, arrays = self._kept(self._trained())
        write_detector(folder, self.name, {"config": self.config.to_dict(), **values}, arrays)

    @classmethod
    def load(cls, folder: Path, **changes: Any) -> Self:  # noqa: ANN401 - of any setting
        """Read what `save` wrote.

        Args:
            folder: The folder that was saved to.
            **changes: Settings in place of those saved: `backbone`, where an encoder lies now.

        Raises:
            ModelDirError: If the folder does not hold a saved detector of this kind.
        """
        values, arrays = read_detector(folder, cls.name)
        config: Any = read_settings(folder, values, "config", cls.config_type)
        detector = cls(dataclasses.replace(config, **changes))
        detector._learnt = detector._restored(folder, values, arrays)
        return detector

    @abstractmethod
    def _kept(self, learnt: LearntT) -> tuple[dict[str, Any], Arrays]:
        """Return what else is to be saved: JSON types, and arrays by name."""

    @abstractmethod
    def _restored(self, folder: Path, values: Mapping[str, Any], arrays: Arrays) -> LearntT:
        """Return what was learnt from what `_kept` returned, read from `folder`."""

    def _trained(self) -> LearntT:
        if self._learnt is None:
            raise TrainingError(f"{self.name} has not been trained: call fit first, or load a saved one.")
        return self._learnt
