"""Settings of fine-tuning: which parts of the backbone are unfrozen (Tab. 5a), towards which loss, and for how long.

Imports nothing heavy, so that the command line can read its defaults from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cinemae.config import ExtractorConfig, HeadConfig, LcasConfig, Provenance, TrainConfig
from cinemae.settings import Settings, require

if TYPE_CHECKING:
    from cinemae.sources.records import ImageRecord

Unfreeze = Literal["none", "encoder", "decoder", "both"]
Objective = Literal["bce", "reconstruction"]
Masks = Literal["fixed", "fresh"]
Reconstructed = Literal["both", "real", "fake"]

FINETUNE_SEEDS = 1
"""How often fine-tuning is run: every run trains the backbone anew, which takes hours where a head takes seconds."""


@dataclass(frozen=True)
class FinetuneConfig(Settings):
    """What fine-tuning adds to `TrainConfig`; but for the choice of parts the paper states nothing (decision 0003).

    Attributes:
        unfreeze: Which parts of the backbone learn. The fixed position embeddings never do.
        objective: "bce": backbone and head together by the classification loss. "reconstruction": the backbone alone by
            the masked squared error of Eq. 1, without a head, to follow the NLL of Eq. 2 on held-out images (Fig. 2).
        backbone_learning_rate: Of Adam, for the unfrozen parts; 1e-4 is the one rate that the paper states. The head
            has the rate of `TrainConfig`.
        masks: Of "bce" in training: "fixed" takes the K masks that images are scored with, "fresh" draws K others
            anew at each step. Images are always scored with the fixed ones. "reconstruction" draws a mask for each view
            at each step, as in pretraining.
        reconstructed: Which training images "reconstruction" learns to redraw.
        fresh_decoder: Begin "reconstruction" with a decoder of random weights in place of the trained one.
        measure_every: Steps between two measurements of the NLL in "reconstruction".
        max_steps: End a run after so many steps, whatever the epochs; None for no limit.
        max_seconds: End a run at the first step past so many seconds, measurements included; None for no limit. With
            it, two runs of one seed need not end alike.
    """

    unfreeze: Unfreeze = "none"
    objective: Objective = "bce"
    backbone_learning_rate: float = 1e-4
    masks: Masks = "fixed"
    reconstructed: Reconstructed = "both"
    fresh_decoder: bool = False
    measure_every: int = 50
    max_steps: int | None = None
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("backbone_learning_rate", "measure_every", "max_steps", "max_seconds"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{name} must be positive, got {value}.")
        require(
            self.objective == "bce" or self.unfreeze != "none",
            'the objective "reconstruction" trains the backbone, and unfreeze is "none": choose "encoder", "decoder" '
            'or "both".',
        )
        require(
            not self.fresh_decoder or (self.objective == "reconstruction" and "decoder" in self.parts),
            f'a fresh decoder has to learn to redraw: set unfreeze to "decoder" or "both" and the objective to '
            f'"reconstruction", got {self.unfreeze!r} and {self.objective!r}.',
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """The unfrozen parts: "encoder", "decoder", both, or none."""
        return {"none": (), "both": ("encoder", "decoder")}.get(self.unfreeze, (self.unfreeze,))


@dataclass(frozen=True)
class FinetuneRecipe:
    """Everything that fine-tuning needs.

    Attributes:
        training: Images to fit; those without a label are left out.
        validation: Images to measure on and to choose thresholds on; their generators should not be in `training`.
        backbone: What to begin with, as `FrozenMAE.from_pretrained` takes it.
        extractor: Image, mask and deviation settings; None for the paper's, at the backbone's image size.
        name: Of the model.
        head: Architecture; `global_dim` is taken from the backbone.
        lcas: Weight and reduction of Eq. 4's terms.
        train: Optimiser, balance, seeds and target rates.
        finetune: What is unfrozen, and how it learns.
        allow_overlap: Accept validation images whose files are in `training` as well, which would flatter every figure.
        device: Where to train: "cpu", "cuda", "mps".
        provenance: Free notes for config.json and the model card, such as data sources and licences.
    """

    training: Sequence[ImageRecord]
    validation: Sequence[ImageRecord]
    backbone: str | Path
    extractor: ExtractorConfig | None = None
    name: str = "cinemae"
    head: HeadConfig = field(default_factory=HeadConfig)
    lcas: LcasConfig = field(default_factory=LcasConfig)
    train: TrainConfig = field(default_factory=lambda: TrainConfig(num_seeds=FINETUNE_SEEDS))
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    allow_overlap: bool = False
    device: str = "cpu"
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        if self.finetune.objective == "bce":
            require(
                "decoder" not in self.finetune.parts or bool(self.head.statistics),
                "the decoder reaches the head through the statistics alone, and the head takes none: unfreeze the "
                "encoder, or let a statistic enter.",
            )


@dataclass(frozen=True)
class StepLine:
    """One optimiser step, told to whoever waits.

    Attributes:
        seed: Which run.
        step: From 1, in this run.
        num_steps: Steps of a run, unless the clock ends it.
        loss: Of this step.
    """

    seed: int
    step: int
    num_steps: int
    loss: float
