"""What NPR and CNNSpot share: a network trained from labelled pictures, asked for probabilities, saved and loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit

from cinemae.evaluation.baselines.linear_probe import not_trained, require_labels
from cinemae.evaluation.baselines.network_training import EpochDone, NetworkConfig, predict_logits, train_network
from cinemae.evaluation.baselines.networks import LogitResNet, ResNetShape
from cinemae.evaluation.baselines.options import settings_from_options
from cinemae.evaluation.baselines.saved import misfit, read_detector, read_settings, write_detector

ConfigT = TypeVar("ConfigT", bound=NetworkConfig)


class NetworkDetector(ABC, Generic[ConfigT]):
    """A detector that is one network. Pictures are never resized: training and asking cut squares of `config.crop`.

    Attributes:
        config: Its settings.
    """

    name: ClassVar[str]
    outputs: ClassVar[Literal["probability", "score"]] = "probability"
    threshold: ClassVar[float] = 0.5
    config_type: ClassVar[type[NetworkConfig]]

    def __init__(self, config: ConfigT) -> None:
        self.config = config
        self._network: LogitResNet | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Build from settings in text, as in ``{"epochs": "3", "crop": "96"}``.

        Raises:
            ConfigError: If a name is unknown or a value is refused.
        """
        return cls(settings_from_options(cls.config_type, options, detector=cls.name))  # type: ignore[arg-type]

    @property
    @abstractmethod
    def description(self) -> str:
        """What the detector is and where its weights begin, in a line."""

    @abstractmethod
    def new_network(self, seed: int) -> LogitResNet:
        """Return the network that training begins with."""

    @abstractmethod
    def empty_network(self, shape: ResNetShape) -> LogitResNet:
        """Return a network of this shape, its weights about to be read."""

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
            seed: Of fresh weights, order and crops.
            progress: Called after every epoch.

        Raises:
            TrainingError: If labels and pictures do not match, a class is missing, or training diverges.
            CheckpointError: If the weights to begin with cannot be read.
        """
        require_labels(pictures, labels)
        network = self.new_network(seed)
        train_network(network, pictures, labels, self.config, seed=seed, progress=progress)
        self._network = network

    def predict(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """Return the probability that each RGB picture is generated, (N,), from its centre crop.

        Raises:
            TrainingError: If the detector has not been trained.
        """
        result: NDArray[np.float64] = expit(predict_logits(self._trained(), images, self.config.crop))
        return result

    def save(self, folder: Path) -> None:
        """Write settings, architecture and weights.

        Raises:
            TrainingError: If the detector has not been trained.
        """
        network = self._trained()
        values = {"config": self.config.to_dict(), "network": network.shape.to_dict(), "description": self.description}
        weights = {name: weight.numpy() for name, weight in network.state_dict().items()}
        write_detector(folder, self.name, values, weights)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ModelDirError: If the folder does not hold a saved detector of this kind.
        """
        values, arrays = read_detector(folder, cls.name)
        detector = cls(read_settings(folder, values, "config", cls.config_type))  # type: ignore[arg-type]
        network = detector.empty_network(read_settings(folder, values, "network", ResNetShape))
        try:
            network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        except RuntimeError as error:
            raise misfit(folder, " ".join(str(error).split())[:200]) from error
        detector._network = network.eval()
        return detector

    def _trained(self) -> LogitResNet:
        if self._network is None:
            raise not_trained(self.name)
        return self._network
