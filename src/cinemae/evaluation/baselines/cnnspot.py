"""CNNSpot: a ResNet-50 trained on blurred and recompressed pictures (Wang et al. 2020, CVPR, arXiv 1912.11035)."""

from __future__ import annotations

from dataclasses import dataclass

from cinemae.evaluation.baselines.network_detector import ResNetConfig, ResNetDetector


@dataclass(frozen=True)
class CnnSpotConfig(ResNetConfig):
    """The paper's values: Adam 1e-4, batches of 64, crops of 224, blur and JPEG with probability 0.5 each.

    The paper lowers the learning rate tenfold when validation stops improving; here it is lowered after a fixed number
    of epochs, and `patience` ends the training. The paper begins with ImageNet weights (`backbone`).
    """

    epochs: int = 15
    batch_size: int = 64
    decay: float = 0.1
    blur: float = 0.5
    recompress: float = 0.5


class CnnSpot(ResNetDetector[CnnSpotConfig]):
    """The detector; `description` says whether training begins with ImageNet weights or from scratch.

    Example:
        >>> CnnSpot(CnnSpotConfig(crop=96)).description
        'ResNet of 3+4+6+3 blocks on 96x96 crops, blur 0.5 and JPEG 0.5 in training, from scratch'
    """

    name = "cnnspot"
    what = "{c.network} on {c.crops}, blur {c.blur:g} and JPEG {c.recompress:g} in training, {c.origin}"
    config_type = CnnSpotConfig
