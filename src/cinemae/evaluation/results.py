"""Every figure of an evaluation as typed values; ``results.json`` is these written out.

msgspec reads and writes them: a field that is left out of the file is one that is None.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import msgspec
import numpy as np

from cinemae.statistics.estimate import Estimate
from cinemae.statistics.format_probe import ProbeResult
from cinemae.statistics.reliability import ReliabilityTable
from cinemae.statistics.risk_coverage import RiskCoverage
from cinemae.statistics.roc import RocCurve

_ATTRIBUTES = {"tpr_at_fpr_0.01": "tpr_at_fpr_1_percent", "tpr_at_fpr_0.05": "tpr_at_fpr_5_percent"}
_WRITTEN = {attribute: written for written, attribute in _ATTRIBUTES.items()}


class JsonStruct(msgspec.Struct, frozen=True):
    """Results that are written as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        values = msgspec.to_builtins(self, str_keys=True, enc_hook=lambda of_numpy: of_numpy.tolist())
        plain: dict[str, Any] = json.loads(json.dumps(values, allow_nan=False))
        return plain

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from `to_dict` output.

        Raises:
            msgspec.ValidationError: If a value has the wrong type; it says where.
        """
        return msgspec.convert(values, cls, str_keys=True, dec_hook=lambda _, found: np.array(found))

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - as in version 0.1, where results were plain JSON types
        """Return a value of `to_dict`, which is what version 0.1 gave in place of this."""
        kind = type(self).__name__
        warnings.warn(f"{kind}[{name!r}] is now {kind}.{name}; to_dict() has plain values", DeprecationWarning, 2)
        return self.to_dict()[name]


@dataclass(frozen=True)
class MeanOverGenerators(Estimate):
    """A mean over generators with its interval, and how far the generators lie apart.

    Attributes:
        std: Deviation over generators; None of one.
        min: Of the worst.
        max: Of the best.
    """

    std: float | None
    min: float
    max: float


class JudgedImages(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=_WRITTEN):
    """How well photographs are told from generated images; None where a figure cannot be had.

    Without a threshold there are no accuracies, without probabilities no Brier score and no calibration error, and
    under most corruptions only what their curves are drawn from.
    """

    generator: str | None = None
    num_real: int
    num_fake: int
    real_accuracy: Estimate | None = None
    fake_accuracy: Estimate | None = None
    auc: Estimate | None = None
    balanced_accuracy: Estimate | None = None
    accuracy: Estimate | None = None
    average_precision: Estimate | None = None
    tpr_at_fpr_1_percent: Estimate | None = None
    tpr_at_fpr_5_percent: Estimate | None = None
    oracle_balanced_accuracy: Estimate | None = None
    brier_score: Estimate | None = None
    calibration_error: Estimate | None = None

    def figure(self, name: str) -> Estimate | None:
        """Return a figure by the name that it has in results.json."""
        found: Estimate | None = getattr(self, _ATTRIBUTES.get(name, name))
        return found

    def with_figures(self, figures: Mapping[str, Estimate]) -> Self:
        """Return the same with some figures by the names that they have in results.json."""
        return msgspec.structs.replace(self, **{_ATTRIBUTES.get(name, name): one for name, one in figures.items()})


class OverRuns(msgspec.Struct, frozen=True):
    """One figure of several runs."""

    values: tuple[float, ...]
    mean: float
    std: float


class RunFigures(msgspec.Struct, frozen=True, omit_defaults=True):
    """AUC and, with a threshold, balanced accuracy of several runs."""

    auc: OverRuns
    balanced_accuracy: OverRuns | None = None


class Spread(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What several trainings, or several seeds of the masks, reach: the mean over generators, and each of them.

    Attributes:
        runs: The seeds.
        auc: Mean over generators.
        balanced_accuracy: The same at the threshold, if there is one.
        generators: Of each.
    """

    runs: tuple[int | None, ...]
    auc: OverRuns
    balanced_accuracy: OverRuns | None = None
    generators: dict[str, RunFigures]


class AccusedSource(msgspec.Struct, frozen=True):
    """How many photographs of one source are called generated."""

    source: str
    false_positive_rate: Estimate


class VerdictShares(msgspec.Struct, frozen=True):
    """How many images of a group get each of the three verdicts."""

    group: str
    n: int
    ai: Estimate
    uncertain: Estimate
    real: Estimate


class OneClassOnly(msgspec.Struct, frozen=True):
    """Figures where a corruption is applied to the fakes alone, and to the photographs alone."""

    fakes: JudgedImages
    photographs: JudgedImages


class ConditionResults(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All figures of one detector under one condition.

    Attributes:
        pooled: Of all images together.
        mean: Mean over generators of each figure, by name; empty for photographs alone.
        generators: Each generator against its photographs, the worst first.
        spread: By "seeds" and "mask_seeds", where there are several.
        photo_sources: The most accused first; raw and aligned only, as what follows.
        roc: The curve of all images.
        reliability: Whether stated probabilities hold.
        risk_coverage: Errors left when the least sure images go unanswered.
        verdicts: Of a detector with three verdicts.
        one_class_only: Beside a corruption of both classes.
    """

    pooled: JudgedImages
    mean: dict[str, MeanOverGenerators]
    generators: tuple[JudgedImages, ...]
    spread: dict[str, Spread]
    photo_sources: tuple[AccusedSource, ...] | None = None
    roc: RocCurve | None = None
    reliability: ReliabilityTable | None = None
    risk_coverage: RiskCoverage | None = None
    verdicts: tuple[VerdictShares, ...] | None = None
    one_class_only: OneClassOnly | None = None


class RunSeeds(msgspec.Struct, frozen=True):
    """Of one column of scores: the seed of its training, and that of its masks."""

    seed: int | None
    mask_seed: int | None


class DetectorResults(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One detector: how it decides, and its figures by condition."""

    detector: str
    outputs: str
    threshold: float | None
    threshold_rule: str
    real_below: float | None = None
    description: str
    runs: tuple[RunSeeds, ...]
    conditions: dict[str, ConditionResults]


class UnreadImage(msgspec.Struct, frozen=True):
    """A file that could not be read, and why."""

    path: str
    error_message: str


class ImageCounts(msgspec.Struct, frozen=True):
    """The test set.

    Attributes:
        num_images: All files.
        num_real: Photographs that could be read.
        num_fake: Generated images that could be read.
        num_unread: Files that could not.
        unread: The first of them.
        num_duplicates: Images that occur twice.
        fingerprint: The same for the same files with the same labels, in any order.
        photo_sources: Photographs by source.
        generators: Generated images by generator.
    """

    num_images: int
    num_real: int
    num_fake: int
    num_unread: int
    unread: tuple[UnreadImage, ...]
    num_duplicates: int
    fingerprint: str
    photo_sources: dict[str, int]
    generators: dict[str, int]


class EvaluationResults(JsonStruct, frozen=True):
    """What `cinemae.evaluation.tables.tabulate` computes.

    Attributes:
        results_version: Of the form of ``results.json``.
        about: What the predictions say of the run; free JSON.
        images: The test set.
        format_probe: What the files alone give away; None of too few images.
        conditions: Their names.
        detectors: In the order of the predictions.
    """

    results_version: int
    about: dict[str, Any]
    images: ImageCounts
    format_probe: ProbeResult | None
    conditions: tuple[str, ...]
    detectors: tuple[DetectorResults, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What is missing of a published data set, or wrong with this one."""
        return tuple(self.about.get("found", {}).get("problems", ()))
