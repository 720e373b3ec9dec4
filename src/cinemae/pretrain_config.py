"""The settings of pretraining, which makes a backbone and is not part of a model's own settings (`cinemae.config`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cinemae.settings import Settings, require


@dataclass(frozen=True)
class PretrainConfig(Settings):
    """MAE pretraining of a small backbone (He et al. 2022, arXiv 2111.06377, unless decision 0005 says otherwise)."""

    hidden_size: int = 256
    num_hidden_layers: int = 8
    num_attention_heads: int = 4
    decoder_hidden_size: int = 128
    decoder_num_hidden_layers: int = 2
    decoder_num_attention_heads: int = 4
    image_size: int = 224
    patch_size: int = 16
    mask_ratio: float = 0.75
    batch_size: int = 64
    learning_rate: float = 1e-3
    min_learning_rate: float = 0.0
    weight_decay: float = 0.05
    beta2: float = 0.95
    warmup_steps: int = 200
    schedule: Literal["cosine", "constant"] = "cosine"
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    min_scale: float = 0.2
    max_scale: float = 1.0
    recompress: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.image_size % self.patch_size == 0,
            f"image_size must be a multiple of patch_size, got {self.image_size} and {self.patch_size}.",
        )
        require(
            0 < self.min_scale <= self.max_scale <= 1,
            f"crop scales must satisfy 0 < min_scale <= max_scale <= 1, got {self.min_scale} and {self.max_scale}.",
        )
        require(0 <= self.recompress <= 1, f"recompress must lie in [0, 1], got {self.recompress}.")
        require(0 <= self.ema_decay < 1, f"ema_decay must lie in [0, 1), got {self.ema_decay}.")
