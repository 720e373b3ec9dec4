"""CNNSpot: a ResNet-50 trained on blurred and recompressed pictures (Wang et al. 2020, CVPR, arXiv 1912.11035)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cinemae.evaluation.baselines.network_detector import NetworkDetector
from cinemae.evaluation.baselines.network_training import NetworkConfig
from cinemae.evaluation.baselines.networks import LogitResNet, ResNetShape, bottleneck_shape, load_resnet


@dataclass(frozen=True)
class CnnSpotConfig(NetworkConfig):
    """The paper's values: Adam 1e-4, batches of 64, crops of 224, blur and JPEG with probability 0.5 each.

    The paper lowers the learning rate tenfold when validation stops improving; `fit` is given no validation pictures,
    so it is lowered after a fixed number of epochs instead. `backbone` is a local folder with an ImageNet ResNet, as
    the paper begins with; empty for fresh weights, of the architecture that `depths` and `width` name.
    """

    epochs: int = 15
    batch_size: int = 64
    decay: float = 0.1
    blur: float = 0.5
    recompress: float = 0.5
    backbone: str = ""
    depths: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        bottleneck_shape(self.depths, self.width)


class CnnSpot(NetworkDetector[CnnSpotConfig]):
    """The detector; `description` says whether training begins with ImageNet weights or from scratch.

    Example:
        >>> CnnSpot(CnnSpotConfig(crop=96)).description
        'ResNet of 3+4+6+3 blocks on 96x96 crops, blur 0.5 and JPEG 0.5 in training, from scratch'
    """

    name: ClassVar[str] = "cnnspot"
    config_type = CnnSpotConfig

    def __init__(self, config: CnnSpotConfig | None = None) -> None:
        super().__init__(config or CnnSpotConfig())

    @property
    def description(self) -> str:
        """What the detector is and where its weights begin, in a line."""
        config = self.config
        origin = f"from the weights in {Path(config.backbone).name}" if config.backbone else "from scratch"
        kind = "ResNet" if config.backbone else f"ResNet of {'+'.join(map(str, config.depths))} blocks"
        altered = f"blur {config.blur:g} and JPEG {config.recompress:g} in training"
        return f"{kind} on {config.crop}x{config.crop} crops, {altered}, {origin}"

    def new_network(self, seed: int) -> LogitResNet:
        """Return the given network with a fresh classifier, or a fresh one.

        Raises:
            CheckpointError: If the given one cannot be read.
        """
        if self.config.backbone:
            return load_resnet(Path(self.config.backbone), seed=seed)
        return LogitResNet(bottleneck_shape(self.config.depths, self.config.width), seed=seed)

    def empty_network(self, shape: ResNetShape) -> LogitResNet:
        """Return a network of this shape."""
        return LogitResNet(shape, seed=0)
