"""The paper and nothing else: what ``--preset paper`` sets, where the defaults of `cinemae.config` are ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cinemae.config import ExtractorConfig, HeadConfig, ImageConfig, LcasConfig, TrainConfig
from cinemae.errors import ConfigError


@dataclass(frozen=True)
class Preset:
    """Settings of everything that is extracted and trained.

    Attributes:
        head: Architecture.
        lcas: Weight and reduction of Eq. 4's terms.
        train: Optimiser, balance, seeds, target rates.
    """

    head: HeadConfig
    lcas: LcasConfig
    train: TrainConfig

    def extractor(self, image_size: int = 224) -> ExtractorConfig:
        """Return the settings of the frozen half, for a backbone of this image size: one view, of the centre."""
        return ExtractorConfig(image=ImageConfig.of_size(image_size))

    def changed(self) -> dict[str, Any]:
        """Return what differs from the defaults, by name.

        Example:
            >>> PAPER.changed()["class_balance"]
            'none'
        """
        parts = (self.head, HeadConfig()), (self.lcas, LcasConfig()), (self.train, TrainConfig())
        return {
            name: value
            for ours, default in parts
            for name, value in vars(ours).items()
            if value != getattr(default, name)
        }


PAPER = Preset(
    head=HeadConfig(standardize_statistics=False, standardize_global=False),
    lcas=LcasConfig(reduction="literal"),
    train=TrainConfig(class_balance="none"),
)
"""Unweighted BCE, f_global and statistics as they are, Eqs. 4 and 5 as printed (decisions 0001 and 0003)."""


def refuse_other_than_paper(config: ExtractorConfig, what: str) -> None:
    """Refuse a frozen half that departs from what the paper states; where the paper is silent all choices pass.

    Args:
        config: Its settings.
        what: What was made with them.

    Raises:
        ConfigError: If it departs; the sentence names the settings.
    """
    paper = PAPER.extractor(config.image.size)
    stated = {"image": ("views", "jpeg_quality"), "mask": ("mask_ratio", "num_passes", "scheme")}
    stated["global_feature"] = tuple(vars(paper.global_feature))
    departures = [
        f"{part}.{name} {getattr(getattr(config, part), name)!r} ({getattr(getattr(paper, part), name)!r})"
        for part, names in stated.items()
        for name in names
        if getattr(getattr(config, part), name) != getattr(getattr(paper, part), name)
    ]
    if departures:
        options = " ".join(f"--{name.replace('_', '-')}" for name in PAPER.changed())
        raise ConfigError(
            f"the preset paper trains on the paper's frozen half, and {what} has, with the paper's value in brackets, "
            f"{', '.join(departures)}: extract again with --preset paper, or leave the preset out of training and set "
            f"{options} yourself."
        )
