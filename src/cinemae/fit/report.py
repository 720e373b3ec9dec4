"""What came of a fit, for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from cinemae.fit.split import ClassSplit
from cinemae.models.results import Comparison, FitFigures, FitWarning, Results, SplitFigures
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
        figures = self.figures()
        return {
            "model_id": self.model_id,
            **msgspec.to_builtins(figures),
            "comparison": {**asdict(figures.comparison), "verdict": figures.comparison.verdict},
            "decision": self.training.decision.to_dict(),
            "results": Results(training=self.training.results).to_dict(),
            "unread": [{"path": path, "reason": reason} for path, reason in self.unread],
            "num_reused": self.num_reused,
            "num_extracted": self.num_extracted,
        }

    def figures(self) -> FitFigures:
        """Return what the model directory keeps: the same for the same images, whatever was extracted before."""
        splits = (SplitFigures(**asdict(split), sentence=split.sentence()) for split in self.splits)
        return FitFigures(tuple(splits), self.format_probe, self.format_auc, self.comparison, self.warnings)
