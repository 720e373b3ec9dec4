"""What `cinemae fit` is asked for, and the numbers at which it refuses or warns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cinemae.config import TrainConfig
from cinemae.settings import Settings, require

SplitBy = Literal["auto", "groups", "images"]

MIN_IMAGES = 50
"""Readable, different images of each class below which nothing is fitted."""
FEW_IMAGES = 200
"""Images of a class below which the user is warned."""
MIN_HELD_OUT = 10
"""Images of each class to measure on below which nothing is fitted."""
WHOLE_GROUPS_FROM = 4
"""Sources, or generators, from which on whole ones are held out: a quarter of them is at least one."""
HELD_OUT_SHARE = 0.25
STRONG_BIAS = 0.8
"""Balanced accuracy of the format probe from which on the model's own figures mean little."""


@dataclass(frozen=True)
class FitRecipe(Settings):
    """Which images, what to begin with, and how to split.

    Attributes:
        real: Sources of photographs, as `cinemae.sources.datasets.read_records` takes them.
        fake: Sources of generated images.
        val_real: Photographs to measure on; none to hold out some of `real`.
        val_fake: Generated images to measure on; none to hold out some of `fake`.
        model: Model directory or Hub id whose backbone and settings to begin with; None for the bundled one.
        backbone: A bare backbone in place of a model, with our defaults.
        paper: Whether to train by the paper and nothing else (`cinemae.preset.PAPER`) on the backbone that is begun
            with: none of the model's settings, no altered copies.
        work: Folder that keeps features between runs; None for one beside the model.
        name: Of the model; None for its folder's name.
        split_by: What is held out: whole sources and generators ("groups"), images of each of them ("images"), or
            whole ones where there are `WHOLE_GROUPS_FROM` ("auto").
        target_fpr: Share of held-out photographs that may be called "ai".
        seed: Of split and training.
        device: Where to extract, as torch names it.
    """

    real: tuple[str, ...]
    fake: tuple[str, ...]
    val_real: tuple[str, ...] = ()
    val_fake: tuple[str, ...] = ()
    model: str | None = None
    backbone: str | None = None
    paper: bool = False
    work: Path | None = None
    name: str | None = None
    split_by: SplitBy = "auto"
    target_fpr: float = TrainConfig().target_fpr
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            bool(self.real) and bool(self.fake),
            "a model learns to tell two classes apart: name at least one source of photographs (--real) and one of "
            "generated images (--fake).",
        )
        require(
            self.model is None or self.backbone is None,
            "fitting begins with a model or with a bare backbone: give --model or --backbone, not both.",
        )
        require(0 < self.target_fpr < 1, f"target_fpr must lie between 0 and 1, got {self.target_fpr}.")
        require(self.seed >= 0, f"seed must not be negative, got {self.seed}.")

    def work_folder(self, out: Path) -> Path:
        """Return the folder that keeps features between runs."""
        return self.work or out.with_name(f"{out.resolve().name}.work")
