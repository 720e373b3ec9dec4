"""Logistic regression on a frozen encoder's [CLS]: the simplest strong detector, with whichever encoder is at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cinemae.evaluation.baselines.networks import ClipEncoder, FrozenEncoder, load_encoder
from cinemae.evaluation.baselines.univfd import UnivFd, UnivFdConfig
from cinemae.settings import require


@dataclass(frozen=True)
class FrozenProbeConfig(UnivFdConfig):
    """Which encoder, on native squares of `crop` pixels: centre crops when asked, random ones in training, unaltered.

    `backbone` is a local folder in the Hub's layout (DINOv2, DINOv3, ViT, CLIP, MAE) or one that `cinemae backbone
    convert` wrote. A ViT and a converted encoder take the one size that their config.json names, CLIP always its own.
    """

    blur: float = 0.0
    recompress: float = 0.0
    crop: int = 224

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.crop >= 14, f"crop must be at least 14 pixels, got {self.crop}.")


class FrozenProbe(UnivFd):
    """The detector, which is UnivFD's with another encoder."""

    name = "linear-probe"
    what = "{c.classifier} on the frozen [CLS] of {c.encoder}"
    config_type = FrozenProbeConfig
    repository: ClassVar[str] = "facebook/dinov2-small"
    _needs: ClassVar[str] = "a frozen encoder"

    config: FrozenProbeConfig

    def _read_encoder(self) -> ClipEncoder | FrozenEncoder:
        return load_encoder(Path(self.config.backbone), self.config.crop)
