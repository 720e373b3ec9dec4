"""results.json of a model directory, typed: figures of training and of what was done with the model later.

msgspec reads and checks it: it builds dataclasses and structs alike, says where in the file a value is wrong, and takes
milliseconds to import, so the light install can copy a model without anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import msgspec

from cinemae.config import DecisionConfig
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.figures import CalledRates, Figures, HeldOutRates, ProbabilityQuality


class CalibrationFigures(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A calibration, the images that it rests on by number, and what it is worth.

    Attributes:
        origin: "validation", or "calibration" for images given later.
        n_real: Photographs.
        n_fake: Generated images.
        left_out: How many images were not used, by reason.
        seed: Of the folds.
        decision: Curve and thresholds.
        held_out: By "none", "platt", "isotonic" and "chosen": probabilities of the logit as it is, of either
            calibration fitted on other folds, and of the choice between the two made on other folds.
        rates: Each image judged by a rule chosen without it.
        warnings: What makes the thresholds less sure than they look, in sentences.
        figures: On these images themselves, which flatters the rates; for a calibration after training.
    """

    origin: str
    n_real: int
    n_fake: int
    left_out: dict[str, int]
    seed: int
    decision: DecisionConfig
    held_out: dict[str, ProbabilityQuality]
    rates: HeldOutRates
    warnings: tuple[str, ...]
    figures: Figures | None = None


@dataclass(frozen=True)
class EpochLine:
    """One epoch of one seed.

    Attributes:
        seed: Which run.
        epoch: From 1.
        train_loss: Mean weighted BCE over the epoch.
        val_loss: BCE on validation, both classes weighed alike.
        val_accuracy: Balanced accuracy on validation at logit 0.
        val_auc: Mean over validation generators of the AUC against all photographs.
    """

    seed: int
    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    val_auc: float


class SeedSpread(msgspec.Struct, frozen=True):
    """The AUC, mean over generators, of each training seed; `std` is None for one seed."""

    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float
    std: float | None


class HalfFigures(msgspec.Struct, frozen=True):
    """What comes of 0.5 as the threshold of sigmoid(logit), before any calibration: no image is "uncertain".

    Attributes:
        balanced_accuracy: Mean of both classes' accuracy.
        false_positive_rate: Share of photographs that reach 0.5.
        called_ai: Share of generated images that do.
    """

    balanced_accuracy: Estimate
    false_positive_rate: Estimate
    called_ai: Estimate


class TrainingResults(Figures, frozen=True, kw_only=True, omit_defaults=True):
    """Validation figures of a training, what they rest on, and its epochs.

    Attributes:
        mean_generator_auc_over_seeds: The spread.
        split: How validation was chosen, in words.
        format_probe: How well container and size of the files alone tell the classes apart, by set.
        cross_fitted: Rates by thresholds chosen on other folds.
        at_half: Beside the chosen thresholds; None for older models.
        calibration: None for older models, and where every image is called "uncertain".
        history: Every epoch of every seed.
        finetune: Settings of fine-tuning, and the steps of each seed.
        unreadable: Images left out of each side as they could not be read; fine-tuning only.
        unlabelled: Images left out as nothing says what they are; fine-tuning only.
    """

    mean_generator_auc_over_seeds: SeedSpread
    split: str = ""
    format_probe: dict[str, Estimate] = msgspec.field(default_factory=dict)
    cross_fitted: CalledRates
    at_half: HalfFigures | None = None
    calibration: CalibrationFigures | None = None
    history: tuple[EpochLine, ...] = ()
    finetune: dict[str, Any] | None = None
    unreadable: dict[str, int] | None = None
    unlabelled: dict[str, int] | None = None


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images.

    Attributes:
        bundled: The bundled model's id.
        auc: Of the fitted model.
        auc_bundled: Of the bundled one.
        difference: Fitted less bundled, with a paired bootstrap interval.
        false_positive_rate: Share of photographs that the bundled model calls "ai", at its own threshold.
        called_ai: Share of generated images that it calls "ai".
    """

    bundled: str
    auc: Estimate
    auc_bundled: Estimate
    difference: Estimate
    false_positive_rate: Estimate
    called_ai: Estimate

    @property
    def verdict(self) -> str:
        """Whether the fitted model is "better" or "worse", or "undecided": the interval holds 0."""
        return "better" if self.difference.low > 0 else "worse" if self.difference.high < 0 else "undecided"


@dataclass(frozen=True)
class FitWarning:
    """One thing to know of a fitted model.

    Attributes:
        name: For programs, such as "few_photographs".
        sentence: For people.
        serious: Whether the model's figures mean little because of it.
    """

    name: str
    sentence: str
    serious: bool = False


class SplitFigures(msgspec.Struct, frozen=True):
    """How one class was split; see `cinemae.fit.split.ClassSplit`, whose sentence this holds too."""

    label: int
    kind: str
    groups: tuple[str, ...]
    held_out: tuple[str, ...]
    num_train: int
    num_held_out: int
    sentence: str


class FitFigures(msgspec.Struct, frozen=True):
    """What `cinemae fit` found: the same for the same images, whatever was extracted before."""

    splits: tuple[SplitFigures, ...]
    format_probe: Estimate | None
    format_auc: Estimate
    comparison: Comparison
    warnings: tuple[FitWarning, ...]


@dataclass(frozen=True)
class PrecisionCheck:
    """What int8 changes on some labelled images, none of which the graph was made from.

    Attributes:
        model: `ModelConfig.model_id` of the model.
        num_real: Photographs.
        num_fake: Generated images.
        num_unread: Images left out because they could not be read.
        mean_deviation: Mean of abs(prob_fake in int8 - prob_fake in float32).
        p99_deviation: 99 % of the images differ by less.
        max_deviation: The largest.
        verdict_changes: Images that get another verdict.
        auc_fp32: Area under the ROC curve in float32.
        auc_int8: The same in int8.
        auc_drop: The former less the latter.
        auc_drop_low: Where its 95 % interval begins, over resamples of the same images for both.
        auc_drop_high: Where it ends.
    """

    model: str
    num_real: int
    num_fake: int
    num_unread: int
    mean_deviation: float
    p99_deviation: float
    max_deviation: float
    verdict_changes: int
    auc_fp32: float
    auc_int8: float
    auc_drop: float
    auc_drop_low: float
    auc_drop_high: float


class Results(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All figures of a model.

    Attributes:
        training: None where they do not lie in the directory.
        decision: What the rates of training were measured at, if the model was calibrated since.
        recalibration: Of the last calibration after training.
        fit: For a model that `cinemae fit` made.
        int8: For a model with an int8 graph.
    """

    training: TrainingResults | None = None
    decision: DecisionConfig | None = None
    recalibration: CalibrationFigures | None = None
    fit: FitFigures | None = None
    int8: PrecisionCheck | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; the figures of training stand beside the other sections, not in one."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return {**values.pop("training", {}), **values}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from `to_dict` output, or from what an older version wrote.

        Raises:
            msgspec.ValidationError: If a value has the wrong type; it says where.
        """
        training = {"training": values} if "auc" in values else {}
        return msgspec.convert({**values, **training}, cls)
