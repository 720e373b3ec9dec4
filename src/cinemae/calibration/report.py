"""What calibration did, and what it may be trusted with: each figure on images that it was not fitted on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cinemae.calibration.decision import CrossFitted, choose_decision, cross_fit, held_out_probabilities, log_loss
from cinemae.config import DecisionConfig, TrainConfig
from cinemae.core.calibration import calibrate
from cinemae.errors import TrainingError
from cinemae.models.results import CalibrationFigures
from cinemae.statistics.figures import Figures, HeldOutRates, ProbabilityQuality
from cinemae.statistics.metrics import evaluate, rate
from cinemae.statistics.resampling import brier_of, calibration_error_of, estimate

Origin = Literal["validation", "calibration"]
_CLASSES = (("photographs", "target_fpr", '"ai"'), ("generated images", "target_fnr", '"real"'))


@dataclass(frozen=True, eq=False)
class CalibrationReport:
    """A calibration and the images that it rests on.

    Attributes:
        decision: Curve and thresholds, with the rates that cross-fitting measured.
        logits: Before calibration, (N,).
        labels: 0 real, 1 fake, (N,).
        generators: Generator of each fake, source of each photograph, "" where unknown, (N,).
        crossed: What each image gets from a decision that was chosen without it.
        seed: Of the folds.
        origin: Which images they are: those that validated training, or others given for calibration later.
        left_out: How many images were not used, by reason.
        fold: Which images are judged together; None where folds were drawn.
    """

    decision: DecisionConfig
    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    generators: NDArray[np.str_]
    crossed: CrossFitted
    seed: int
    origin: Origin = "validation"
    left_out: dict[str, int] = field(default_factory=dict)
    fold: NDArray[np.int64] | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the thresholds less sure than they look, in sentences."""
        counts = [int((self.labels == label).sum()) for label in (0, 1)]
        targets = (self.decision.target_fpr, self.decision.target_fnr)
        return tuple(
            sentence
            for (name, _, word), n, target in zip(_CLASSES, counts, targets, strict=True)
            if target is not None and (sentence := _doubt(name, word, n, target))
        )

    def to_figures(self, *, with_own: bool = False) -> CalibrationFigures:
        """Return what results.json keeps: no image is named.

        Args:
            with_own: Add the figures on the images that the decision was chosen on.
        """
        return CalibrationFigures(
            origin=self.origin,
            n_real=int((self.labels == 0).sum()),
            n_fake=int((self.labels == 1).sum()),
            left_out=self.left_out,
            seed=self.seed,
            decision=self.decision,
            held_out={name: self._quality(prob) for name, prob in self.probabilities().items()},
            rates=self._rates(),
            warnings=self.warnings,
            figures=self.figures() if with_own else None,
        )

    def probabilities(self) -> dict[str, NDArray[np.float64]]:
        """Return prob_fake of each image: uncalibrated, by either calibration and as chosen, all on held-out folds."""
        return {
            "none": calibrate(self.logits, DecisionConfig()),
            **held_out_probabilities(self.logits, self.labels, self.seed, self.fold),
            "chosen": self.crossed.prob_fake,
        }

    def figures(self) -> Figures:
        """Return `metrics.evaluate` of the decision on the images that it was chosen on: rates are flattered."""
        return evaluate(calibrate(self.logits, self.decision), self.labels, self.generators, self.decision)

    def _quality(self, prob: NDArray[np.float64]) -> ProbabilityQuality:
        figures = estimate(
            prob[self.labels == 0],
            prob[self.labels == 1],
            {"brier_score": brier_of, "calibration_error": calibration_error_of},
        )
        return ProbabilityQuality(log_loss=log_loss(prob, self.labels), **figures)

    def _rates(self) -> HeldOutRates:
        """Return the cross-fitted rates, each with its Wilson interval."""
        rows = {}
        for label, name in ((0, "photographs"), (1, "fakes")):
            chosen = self.labels == label
            for word, called in (("ai", self.crossed.called_ai), ("real", self.crossed.called_real)):
                rows[f"{name}_called_{word}"] = rate(int(called[chosen].sum()), int(chosen.sum()))
        decided = self.crossed.called_ai | self.crossed.called_real
        return HeldOutRates(**rows, uncertain=rate(int((~decided).sum()), len(decided)))


def report_calibration(
    logits: NDArray[np.float64],
    labels: NDArray[np.int64],
    generators: NDArray[np.str_],
    config: TrainConfig,
    *,
    origin: Origin = "validation",
    left_out: dict[str, int] | None = None,
    fold: NDArray[np.int64] | None = None,
    sources: NDArray[np.str_] | None = None,
) -> CalibrationReport:
    """Calibrate on images, and measure by cross-fitting what that is worth.

    Args:
        logits: (N,).
        labels: 0 real, 1 fake, (N,).
        generators: Generator of each fake, source of each photograph, (N,).
        config: Target rates, and the seed of the folds.
        origin: Which images they are.
        left_out: How many images were not used, by reason.
        fold: Which images are judged together by a decision chosen on the others, (N,); None to draw folds.
        sources: As `choose_decision` takes them.

    Raises:
        TrainingError: If there is one class only, or a logit is not finite.
    """
    crossed = cross_fit(logits, labels, config, fold, sources)
    rates = crossed.rates(labels)
    decision = replace(
        choose_decision(logits, labels, config, images=origin, sources=sources),
        measured_fpr=rates.photographs_called_ai,
        measured_fnr=rates.fakes_called_real,
    )
    return CalibrationReport(decision, logits, labels, generators, crossed, config.seed, origin, left_out or {}, fold)


def require_enough(num_real: int, num_fake: int, config: TrainConfig) -> None:
    """Refuse so few images of a class that a target rate means none of them at all.

    Raises:
        TrainingError: If there are; the sentence says how many are needed.
    """
    for (name, target, word), n in zip(_CLASSES, (num_real, num_fake), strict=True):
        share = getattr(config, target)
        if n * share < 1:
            raise TrainingError(
                f"a threshold at which {100 * share:g}% of {name} are called {word} needs at least "
                f"{math.ceil(1 / share - 1e-9)} {name}, got {n}: give more, or set a higher rate "
                f"(--{target.replace('_', '-')})."
            )


def _doubt(name: str, word: str, n: int, target: float) -> str | None:
    """Say how far off the rate may be, unless it is known to within double."""
    found = rate(int(target * n + 1e-9), n)
    if found.high <= 2 * target:
        return None
    hits = next(k for k in range(1, 1000) if rate(k, math.ceil(k / target)).high <= 2 * target)
    return (
        f"{n} {name} are few: where {100 * target:g}% of them are called {word}, in truth {100 * found.low:.1f}% to "
        f"{100 * found.high:.1f}% may be. {math.ceil(hits / target)} would keep it below double."
    )
