"""What detectors that are one network share: trained from labelled pictures, asked for probabilities, saved, loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit
from torch import nn

from cinemae.evaluation.baselines.linear_probe import not_trained, require_labels
from cinemae.evaluation.baselines.network_training import EpochDone, NetworkConfig, predict_logits, train_network
from cinemae.evaluation.baselines.networks import (
    LogitResNet,
    ResNetShape,
    basic_shape,
    bottleneck_shape,
    load_resnet,
)
from cinemae.evaluation.baselines.options import settings_from_options
from cinemae.evaluation.baselines.saved import misfit, read_detector, read_settings, write_detector

ConfigT = TypeVar("ConfigT", bound=NetworkConfig)


class NetworkDetector(ABC, Generic[ConfigT]):
    """A detector that is one network, of which the settings tell everything but the weights.

    Pictures are never resized: training and asking cut squares of `config.crop`.

    Attributes:
        config: Its settings.
    """

    name: ClassVar[str]
    outputs: ClassVar[Literal["probability", "score"]] = "probability"
    threshold: ClassVar[float] = 0.5
    config_type: ClassVar[type[NetworkConfig]]

    def __init__(self, config: ConfigT | None = None) -> None:
        self.config: ConfigT = config or self.config_type()  # type: ignore[assignment]
        self._network: nn.Module | None = None

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
    def new_network(self, seed: int) -> nn.Module:
        """Return the network that training begins with: pixels (N, 3, crop, crop) in [0, 1] to logits (N,)."""

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
        values = {"config": self.config.to_dict(), "description": self.description, **self._architecture(network)}
        weights = {name: weight.cpu().numpy() for name, weight in network.state_dict().items()}
        write_detector(folder, self.name, values, weights)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ModelDirError: If the folder does not hold a saved detector of this kind.
        """
        values, arrays = read_detector(folder, cls.name)
        detector = cls(read_settings(folder, values, "config", cls.config_type))  # type: ignore[arg-type]
        network = detector._empty_network(folder, values)
        try:
            network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        except RuntimeError as error:
            raise misfit(folder, " ".join(str(error).split())[:200]) from error
        detector._network = network.eval()
        return detector

    def _architecture(self, network: nn.Module) -> dict[str, Any]:
        """Return what of the network the settings do not tell, as JSON types."""
        return {}

    def _empty_network(self, folder: Path, values: Mapping[str, Any]) -> nn.Module:
        """Return the network that was saved with these values to a folder, its weights about to be read."""
        return self.new_network(0)

    def _trained(self) -> nn.Module:
        if self._network is None:
            raise not_trained(self.name)
        return self._network


@dataclass(frozen=True)
class ResNetConfig(NetworkConfig):
    """A ResNet of `depths` blocks a stage, and how it is trained.

    `backbone` is a local folder with an ImageNet ResNet to begin with; empty for fresh weights, of the architecture
    that `depths`, `width` and `block` name.
    """

    backbone: str = ""
    depths: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    block: Literal["bottleneck", "basic"] = "bottleneck"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.shape()

    def shape(self) -> ResNetShape:
        """Return the architecture that is named."""
        return (basic_shape if self.block == "basic" else bottleneck_shape)(self.depths, self.width)

    @property
    def network_text(self) -> str:
        """What the network is, in words."""
        return "ResNet" if self.backbone else f"ResNet of {'+'.join(map(str, self.depths))} blocks"

    @property
    def origin_text(self) -> str:
        """Where its weights begin, in words."""
        return f"from the weights in {Path(self.backbone).name}" if self.backbone else "from scratch"


ResNetConfigT = TypeVar("ResNetConfigT", bound=ResNetConfig)


class ResNetDetector(NetworkDetector[ResNetConfigT]):
    """A detector whose network is a ResNet or built around one, and may begin with ImageNet weights."""

    network_type: ClassVar[type[LogitResNet]] = LogitResNet

    def new_network(self, seed: int) -> LogitResNet:
        """Return the given network with a fresh classifier, or a fresh one.

        Raises:
            CheckpointError: If the given one cannot be read.
        """
        if self.config.backbone:
            return load_resnet(Path(self.config.backbone), self.network_type, seed=seed)
        return self.network_type(self.config.shape(), seed=seed)

    def _architecture(self, network: nn.Module) -> dict[str, Any]:
        return {"network": network.shape.to_dict()} if isinstance(network, LogitResNet) else {}

    def _empty_network(self, folder: Path, values: Mapping[str, Any]) -> LogitResNet:
        return self.network_type(read_settings(folder, values, "network", ResNetShape), seed=0)
