"""What a model card says of calibration: before and after, thresholds chosen later, and images unlike the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cinemae.config import ModelConfig
from cinemae.statistics.estimate import Estimate

PLOTS = {
    "reliability.png": "Does the probability hold? On held-out folds, before and after calibration.",
    "risk-coverage.png": "Errors left when the least sure images go unanswered, on held-out folds.",
}
"""Names of the plots that the command line leaves in a model directory, and what each shows."""

KINDS = {
    "none": "logit as it is",
    "platt": "Platt scaling",
    "isotonic": "centred isotonic regression",
    "chosen": "the better of the two, chosen without the fold",
}
"""What each way from logit to probability is called, by its name in `CalibrationReport.to_dict`."""


def calibration_section(config: ModelConfig, results: dict[str, Any], directory: Path) -> str:
    """Return the section on the calibration that the model has now; empty for models of before there was a report.

    Args:
        config: The model's settings.
        results: ``calibration`` from training, ``recalibration`` from `calibration.recalibrate`, the later one counts.
        directory: The model directory, where the plots may lie.
    """
    again = "recalibration" in results
    found = results["recalibration"] if again else results.get("calibration")
    if found is None or found["decision"]["threshold"] != config.decision.threshold:
        return ""
    parts = [
        "## Calibration\n",
        _again(config, found) if again else "",
        _quality(found),
        "\n".join(f"* {sentence}" for sentence in found["warnings"]) + "\n" if found["warnings"] else "",
        _outliers(config),
        *(f"![{text}]({name})\n" for name, text in PLOTS.items() if (directory / name).is_file()),
    ]
    return "\n".join(part for part in parts if part)


def _again(config: ModelConfig, found: dict[str, Any]) -> str:
    decision, rates, figures = config.decision, found["rates"], found["figures"]
    rows = "\n".join(
        f"| {words} | {_interval(rates[name])} |"
        for words, name in (
            ('photographs called "ai" (false accusations)', "photographs_called_ai"),
            ('generated images called "ai"', "fakes_called_ai"),
            ('photographs called "real"', "photographs_called_real"),
            ('generated images called "real"', "fakes_called_real"),
            ('all images called "uncertain"', "uncertain"),
        )
    )
    reasons = ", ".join(f"{number} {reason}" for reason, number in found["left_out"].items() if number)
    left_out = f" ({reasons} left out)" if reasons else ""
    return f"""\
**Calibrated again after training**, on {found["n_real"]} photographs and {found["n_fake"]} generated
images{left_out}. Since then: "ai" from {decision.threshold:.4f}, "real" below {decision.real_below:.4f}.
Rule: {decision.rule}.
The AUC on these images is {_interval(figures["auc"])}.

| share, each image judged by a rule chosen without it | with 95 % interval |
|---|---|
{rows}

{_groups(figures)}"""


def _groups(figures: dict[str, Any]) -> str:
    lines = ['| images of | n | called "ai" | called "real" |', "|---|---|---|---|"]
    for row in figures["per_photo_source"]:
        called = _interval(row["false_positive_rate"]), _interval(row["called_real"])
        lines.append(
            f"| {row['source'] or '(unnamed)'}, photographs | {row['called_real']['n']} | {' | '.join(called)} |"
        )
    for row in figures["per_generator"]:
        called = _interval(row["called_ai"]), _interval(row["called_real"])
        lines.append(
            f"| {row['generator'] or '(unnamed)'}, generated | {row['called_ai']['n']} | {' | '.join(called)} |"
        )
    return "\n".join(lines) + "\n"


def _quality(found: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {words} | {quality['log_loss']:.3f} | {_interval(quality['brier_score'])} | "
        f"{_interval(quality['calibration_error'])} |"
        for kind, words in KINDS.items()
        if (quality := found["held_out"][kind])
    )
    chosen = KINDS[found["decision"]["calibration"]]
    return f"""\
From logit to probability by {chosen}: the lower log loss on held-out folds of {found["n_real"]} photographs and
{found["n_fake"]} generated images, both classes weighing half. Chance alone keeps a calibration error above 0.

| on held-out folds | log loss (a coin: 0.693) | Brier score (a coin: 0.25) | expected calibration error, ten bins |
|---|---|---|---|
{rows}
"""


def _outliers(config: ModelConfig) -> str:
    if not config.ood.levels:
        return ""
    return (
        f"An image that lies farther from the training images than {config.ood.limit:.0%} of these photographs is said "
        "to be out of distribution: little like it was seen.\n"
    )


def _interval(found: dict[str, Any]) -> str:
    value = Estimate(**found)
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
