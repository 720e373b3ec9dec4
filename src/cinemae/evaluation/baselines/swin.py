"""Swin-T as a plain classifier (Liu et al. 2021, ICCV, arXiv 2103.14030)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cinemae.evaluation.baselines.network_detector import NetworkDetector
from cinemae.evaluation.baselines.network_training import NetworkConfig
from cinemae.evaluation.baselines.networks import LogitSwin, SwinShape, load_swin
from cinemae.settings import require


@dataclass(frozen=True)
class SwinTConfig(NetworkConfig):
    """Swin-T on crops of 224. `backbone` is a local folder with an ImageNet Swin of the same shape to begin with."""

    epochs: int = 15
    decay: float = 0.1
    backbone: str = ""
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    width: int = 96
    window: int = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            len(self.depths) == len(self.heads) > 0 and min(*self.depths, *self.heads) >= 1,
            f"depths and heads need a number of at least 1 a stage, got {self.depths} and {self.heads}.",
        )
        require(
            all(self.width * 2**stage % heads == 0 for stage, heads in enumerate(self.heads)),
            f"a stage's width ({self.width} * 2^stage) must be a multiple of its heads, got {self.heads}.",
        )

        least = 4 * 2 ** (len(self.depths) - 1) * self.window
        require(
            self.crop >= least,
            f"crop must be at least {least}, or the last stage holds no window of {self.window}, got {self.crop}.",
        )

    def shape(self) -> SwinShape:
        """Return the architecture."""
        return SwinShape(self.crop, self.depths, self.heads, self.width, self.window)


class SwinT(NetworkDetector[SwinTConfig]):
    """The detector.

    Example:
        >>> SwinT(SwinTConfig(crop=256)).description
        'Swin of 2+2+6+2 blocks on 256x256 crops, from scratch'
    """

    name = "swin"
    what = "Swin of {c.blocks} blocks on {c.crops}, {c.origin}"
    config_type = SwinTConfig

    def new_network(self, seed: int) -> LogitSwin:
        """Return the given network with a fresh classifier, or a fresh one."""
        if self.config.backbone:
            return load_swin(Path(self.config.backbone), self.config.shape(), seed=seed)
        return LogitSwin(self.config.shape(), seed=seed)

    def _empty_network(self, folder: Path, values: Mapping[str, Any]) -> LogitSwin:
        return LogitSwin(self.config.shape(), seed=0)
