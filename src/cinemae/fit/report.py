"""What came of a fit, for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from cinemae.fit.compare import Comparison
from cinemae.fit.split import ClassSplit
from cinemae.fit.warnings import FitWarning
from cinemae.statistics.estimate import Estimate
from cinemae.training.train import TrainReport


@dataclass(frozen=True)
class FitReport:
    """What came of a fit.

    Attributes:
        model_id: Of the fitted model.
        training: Head, decision, and every figure on held-out images.
        splits: Of photographs and of generated images.
        format_probe: Balanced accuracy of container, size and JPEG quality alone, on all images, cross-fitted.
        format_auc: What they reach on the held-out images, fitted on the training images.
        comparison: With the bundled model.
        warnings: What to know before trusting the model, serious ones first.
        unread: Path and reason of every file that could not be read.
        num_reused: Images whose features an earlier run had left in the work folder.
        num_extracted: Images looked at in this run.
    """

    model_id: str
    training: TrainReport
    splits: tuple[ClassSplit, ClassSplit]
    format_probe: Estimate | None
    format_auc: Estimate
    comparison: Comparison
    warnings: tuple[FitWarning, ...]
    unread: tuple[tuple[str, str], ...]
    num_reused: int
    num_extracted: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        values = {
            "model_id": self.model_id,
            **self.summary(),
            "decision": self.training.decision.to_dict(),
            "results": self.training.results,
            "unread": [{"path": path, "reason": reason} for path, reason in self.unread],
            "num_reused": self.num_reused,
            "num_extracted": self.num_extracted,
        }
        return json.loads(json.dumps(values))  # type: ignore[no-any-return]

    def summary(self) -> dict[str, Any]:
        """Return what the model directory keeps: the same for the same images, whatever was extracted before."""
        values = {
            "splits": [{**asdict(split), "sentence": split.sentence()} for split in self.splits],
            "format_probe": self.format_probe.to_dict() if self.format_probe else None,
            "format_auc": self.format_auc.to_dict(),
            "comparison": self.comparison.to_dict(),
            "warnings": [warning.to_dict() for warning in self.warnings],
        }
        return json.loads(json.dumps(values))  # type: ignore[no-any-return]
