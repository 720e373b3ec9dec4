"""``docs/robustness.md``: the kept evaluations, each with what stands out and its whole report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.keep_evaluation import EVALUATIONS
from benchmarks.measure import ROOT
from cinemae.evaluation.predictions import ALIGNED, RAW
from cinemae.evaluation.report import PLOTS_DIR, RESULTS_FILE, to_markdown
from cinemae.evaluation.results import ConditionResults, EvaluationResults
from cinemae.evaluation.section import show
from cinemae.evaluation.sections import build_sections

PAGE = ROOT / "docs" / "robustness.md"
HEAD = """# Robustness

Written by `python -m benchmarks.render` from `benchmarks/results/evaluation/`; do not edit. Each part is the report of
one `cinemae evaluate`: raw and aligned files side by side, every generator, every corruption of the standard grid on
both classes and on one class alone. [The commands](../benchmarks/README.md#robustness) say how it was measured, and
[evaluation.md](evaluation.md) what the figures mean. The predictions are kept: `cinemae report
benchmarks/results/evaluation/NAME/predictions.parquet --out DIR` rebuilds every number.

**bundled-without-fold-2** is a model made as the bundled one is, but without the fold of DALL-E 3, Stable Diffusion 1
and FLUX and of a quarter of the photographs; the bundled one has learnt from all pictures at hand, so that it cannot be
measured on them. The pictures are 75 of either class, of at most 6 megapixels, delivered as the web does before
anything else is done to them, so that "raw" is a delivered picture, not an original;
**bundled-without-fold-2-untouched** is the same model on the originals of these very pictures. The intervals are wide.
The paper's Fig. 6, on its own data and backbone, finds 0.14 points of accuracy lost at JPEG 50 and 3.8 in grayscale;
[benchmarks.md](benchmarks.md) holds the protocol of that figure.
"""
_MOST_NAMED = 5


def render() -> str:
    """Return the page as the kept evaluations give it."""
    parts = [HEAD]
    for path in sorted(EVALUATIONS.glob(f"*/{RESULTS_FILE}")):
        results = EvaluationResults.from_dict(json.loads(path.read_text(encoding="utf-8")))
        plots = Path("..") / (path.parent / PLOTS_DIR).relative_to(ROOT)
        report = to_markdown(build_sections(results), plots_at=plots.as_posix(), deeper=1)
        stands_out = "\n".join(f"* {line}" for line in in_short(results))
        parts += [f"## {path.parent.name}", stands_out, report]
    if len(parts) == 1:
        parts.append("Nothing was measured yet.")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def in_short(results: EvaluationResults) -> Iterator[str]:
    """Yield what stands out, in sentences, detector by detector."""
    for detector in results.detectors:
        conditions = detector.conditions
        raw, name = conditions[RAW], detector.detector
        sentence = f"{name}: mean AUC over generators {show(raw.mean['auc'], 'auc')}"
        if ALIGNED in conditions:
            sentence += f", aligned {show(conditions[ALIGNED].mean['auc'], 'auc')}"
        worst = min(raw.generators, key=lambda row: 0.0 if row.auc is None else row.auc.value)
        yield f"{sentence}; worst generator {worst.generator or 'not stated'}, {show(worst.auc, 'auc')}."
        if raw.pooled.real_accuracy is not None:
            found, accused = raw.pooled.fake_accuracy, 1 - raw.pooled.real_accuracy.value
            yield (
                f"{name}: at its threshold it finds {show(found, 'x')} of the generated images and accuses "
                f"{100 * accused:.1f} % of the photographs."
            )
        yield from _falls(name, conditions)


def _falls(name: str, conditions: dict[str, ConditionResults]) -> Iterator[str]:
    """Yield which corruptions cost more than the interval without one, the worst first."""
    whole = conditions[RAW].mean["auc"]
    altered = {one: found.mean["auc"].value for one, found in conditions.items() if one not in (RAW, ALIGNED)}
    lost = sorted((value, one) for one, value in altered.items() if value < whole.low)
    if lost:
        named = ", ".join(f"{one} ({value:.3f})" for value, one in lost[:_MOST_NAMED])
        more = f" and {len(lost) - _MOST_NAMED} more" if len(lost) > _MOST_NAMED else ""
        yield f"{name}: the mean AUC falls below its interval without a corruption under {named}{more}."
    elif altered:
        yield f"{name}: under none of {len(altered)} corruptions does the mean AUC fall below its interval without one."
