"""What detectors that are one network share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit
from torch import nn

from cinemae.evaluation.baselines.baseline import Baseline
from cinemae.evaluation.baselines.network_training import (
    EpochDone,
    NetworkConfig,
    channels_last,
    predict_logits,
    train_network,
)
from cinemae.evaluation.baselines.networks import (
    LogitResNet,
    ResNetShape,
    basic_shape,
    bottleneck_shape,
    load_resnet,
)
from cinemae.evaluation.baselines.saved import Arrays, misfit, read_settings

ConfigT = TypeVar("ConfigT", bound=NetworkConfig)


class NetworkDetector(Baseline[ConfigT, nn.Module]):
    """A detector that is one network, of which the settings tell everything but the weights.

    Pictures are never resized: training and asking cut squares of `config.crop`.
    """

    @abstractmethod
    def new_network(self, seed: int) -> nn.Module:
        """Return the network that training begins with: pixels (N, 3, crop, crop) in [0, 1] to logits (N,).

        Raises:
            CheckpointError: If it begins with given weights, and those cannot be read or have another shape.
        """

    def _learn(
        self,
        pictures: Sequence[Image.Image],
        labels: NDArray[np.int64],
        seed: int,
        progress: Callable[[EpochDone], None] | None,
    ) -> nn.Module:
        network = self.new_network(seed)
        train_network(network, pictures, labels, self.config, seed=seed, progress=progress)
        return network

    def predict(self, images: Sequence[Image.Image]) -> NDArray[np.float64]:
        """Return the probability that each RGB picture is generated, (N,), from its centre crop.

        Raises:
            TrainingError: If the detector has not been trained.
        """
        result: NDArray[np.float64] = expit(predict_logits(self._trained(), images, self.config.crop))
        return result

    def _kept(self, learnt: nn.Module) -> tuple[dict[str, Any], Arrays]:
        weights = {name: weight.cpu().numpy() for name, weight in learnt.state_dict().items()}
        return {"description": self.description, **self._architecture(learnt)}, weights

    def _restored(self, folder: Path, values: Mapping[str, Any], arrays: Arrays) -> nn.Module:
        network = self._empty_network(folder, values)
        try:
            network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        except RuntimeError as error:
            raise misfit(folder, " ".join(str(error).split())[:200]) from error
        return channels_last(network).eval()  # as it was trained

    def _architecture(self, network: nn.Module) -> dict[str, Any]:
        """Return what of the network the settings do not tell, as JSON types."""
        return {}

    def _empty_network(self, folder: Path, values: Mapping[str, Any]) -> nn.Module:
        """Return the network that was saved with these values to a folder, its weights about to be read."""
        return self.new_network(0)


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
    def network(self) -> str:
        """What the network is, in words."""
        return "ResNet" if self.backbone else f"ResNet of {self.blocks} blocks"


ResNetConfigT = TypeVar("ResNetConfigT", bound=ResNetConfig)


class ResNetDetector(NetworkDetector[ResNetConfigT]):
    """A detector whose network is a ResNet or built around one, and may begin with ImageNet weights."""

    network_type: ClassVar[type[LogitResNet]] = LogitResNet

    def new_network(self, seed: int) -> LogitResNet:
        """Return the given network with a fresh classifier, or a fresh one."""
        if self.config.backbone:
            return load_resnet(Path(self.config.backbone), self.network_type, seed=seed)
        return self.network_type(self.config.shape(), seed=seed)

    def _architecture(self, network: nn.Module) -> dict[str, Any]:
        return {"network": network.shape.to_dict()} if isinstance(network, LogitResNet) else {}

    def _empty_network(self, folder: Path, values: Mapping[str, Any]) -> LogitResNet:
        return self.network_type(read_settings(folder, values, "network", ResNetShape), seed=0)
