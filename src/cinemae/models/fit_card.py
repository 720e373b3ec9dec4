"""What the model card says of a fitted model before its figures."""

from __future__ import annotations

from typing import Any


def fit_section(results: dict[str, Any]) -> str:
    """Return the section on what the figures are worth; empty for a model that `cinemae fit` did not make.

    Args:
        results: Of the model; ``fit`` is what `cinemae.fit.report.FitReport.summary` gave.
    """
    found = results.get("fit")
    if found is None:
        return ""
    apart, of_format = found["comparison"], found["format_auc"]
    lines = [
        *(
            f"{'**Serious:** ' if warning['serious'] else ''}{_capital(warning['sentence'])}"
            for warning in found["warnings"]
        ),
        *(f"{_capital(split['sentence'])}." for split in found["splits"]),
        f"The bundled model ({apart['bundled']}) on the same held-out images: AUC {_interval(apart['auc_bundled'])} "
        f"against {_interval(apart['auc'])} of this one; difference, paired: {_interval(apart['difference'], '+')}.",
        "Container, size and JPEG quality alone, pixels unseen, fitted on the training files: AUC "
        f"{_interval(of_format)} on the held-out ones.",
    ]
    return "## Before you trust it\n\n" + "\n".join(f"* {line}" for line in lines) + "\n"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _interval(found: dict[str, Any], sign: str = "") -> str:
    return f"{found['value']:{sign}.3f} [{found['low']:{sign}.3f}, {found['high']:{sign}.3f}]"
