"""What a model's validation says of it, as typed values; `cinemae.statistics.metrics.evaluate` computes them."""

from __future__ import annotations

import msgspec

from cinemae.statistics.estimate import Estimate


class GeneratorFigures(msgspec.Struct, frozen=True):
    """One generator: its AUC against all photographs, and what its images are called."""

    generator: str
    auc: Estimate
    called_ai: Estimate
    called_real: Estimate


class SourceFigures(msgspec.Struct, frozen=True):
    """What the photographs of one source are called."""

    source: str
    false_positive_rate: Estimate
    called_real: Estimate


class Figures(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"tpr_at_fpr_1_percent": "tpr_at_fpr_0.01", "tpr_at_fpr_5_percent": "tpr_at_fpr_0.05"},
):
    """The whole table: overall, per generator and per source of photographs, each worst first."""

    n_real: int
    n_fake: int
    auc: Estimate
    mean_generator_auc: float
    average_precision: Estimate
    tpr_at_fpr_1_percent: Estimate
    tpr_at_fpr_5_percent: Estimate
    brier_score: Estimate
    calibration_error: Estimate
    false_positive_rate: Estimate
    called_ai: Estimate
    uncertain: Estimate
    per_generator: tuple[GeneratorFigures, ...]
    per_photo_source: tuple[SourceFigures, ...]


class CalledRates(msgspec.Struct, frozen=True):
    """Shares of photographs and of generated images that are called "ai" and "real"."""

    photographs_called_ai: float
    photographs_called_real: float
    fakes_called_ai: float
    fakes_called_real: float


class HeldOutRates(msgspec.Struct, frozen=True):
    """The same with intervals, each image judged by a rule chosen without it; and how many are "uncertain"."""

    photographs_called_ai: Estimate
    photographs_called_real: Estimate
    fakes_called_ai: Estimate
    fakes_called_real: Estimate
    uncertain: Estimate


class ProbabilityQuality(msgspec.Struct, frozen=True):
    """How well probabilities hold, both classes weighing half."""

    log_loss: float
    brier_score: Estimate
    calibration_error: Estimate
