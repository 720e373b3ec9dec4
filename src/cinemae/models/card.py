"""The model card: README.md of a model directory, every figure taken from the training results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cinemae.config import DecisionConfig, ModelConfig
from cinemae.models.calibration_card import calibration_section
from cinemae.models.directory import RESULTS_FILE, read_model_config
from cinemae.models.fit_card import fit_section
from cinemae.models.precision_card import precision_section
from cinemae.statistics.format_probe import ALARM

MUST_NOT = """\
## What it must not be used for

* To accuse a person, to grade, to moderate without a human look, or as the only evidence of anything. A score is a
  signal, not proof.
* On pictures unlike those below: other generators, screenshots, drawings, scans, heavy edits. It was not measured there.
* As a map of "fake regions". The heat map shows what is hard to predict from its surroundings; photographs have more
  of that, not less.
"""


def write_model_card(config: ModelConfig, results: dict[str, Any], directory: Path) -> None:
    """Write README.md.

    Args:
        config: The model's settings; `provenance` may hold "data" (rows of set, images, origin), "recipe" (lines),
            "licence" and "notes" (lines).
        results: As `statistics.metrics.evaluate`, `training.train` and `calibration.recalibrate` give them.
        directory: The model directory; plots that lie there are shown.
    """
    parts = [
        f"# {config.name}\n",
        "Tells AI-generated images from photographs by the method of CINEMAE (arXiv 2511.06325). The figures below are "
        "this model's own, on its own validation images; they are not the paper's.\n",
        fit_section(results),
        *_of_training(config, results),
        calibration_section(config, results, directory),
        precision_section(config, results, directory),
        MUST_NOT,
        _recipe(config),
        _data(config.provenance),
    ]
    (directory / "README.md").write_text("\n".join(part for part in parts if part), encoding="utf-8")


def _of_training(config: ModelConfig, results: dict[str, Any]) -> list[str]:
    if "auc" not in results:
        return ["## Results\n\nThe figures of training do not lie in this directory.\n"]
    parts = [_per_generator(results), _per_source(results), _spread(results), _format_probe(results)]
    return [_headline(config, results), *parts]


def refresh_model_card(directory: Path) -> None:
    """Write README.md anew from the config.json and results.json of a model directory, and the plots that lie there."""
    results = json.loads((directory / RESULTS_FILE).read_text(encoding="utf-8"))
    write_model_card(read_model_config(directory), results, directory)


def _headline(config: ModelConfig, results: dict[str, Any]) -> str:
    fitted = results["cross_fitted"]
    decision, since = config.decision, ""
    if "recalibration" in results:
        decision = DecisionConfig.from_dict(results["decision"])
        since = " The model was calibrated again since: the thresholds it goes by now stand under Calibration."
    return f"""\
## Results

Validation: {results["n_real"]} photographs, {results["n_fake"]} generated images ({results["split"]}). 95 % intervals in
brackets: Wilson for rates at a threshold, bootstrap for the rest. AUC does not depend on the thresholds; the rates at the thresholds do, and
those, like the calibration, were chosen on these same images, so the cross-fitted column (up to 5 folds, each judged by thresholds chosen on the
others) is the honest one.

| figure | value | cross-fitted |
|---|---|---|
| AUC, mean over generators | {results["mean_generator_auc"]:.3f} | |
| AUC, all images pooled | {_with_interval(results["auc"])} | |
| average precision, both classes weighing half | {_with_interval(results["average_precision"])} | |
| generated images found where 1 % of photographs are accused | {_with_interval(results["tpr_at_fpr_0.01"])} | |
| generated images found where 5 % of photographs are accused | {_with_interval(results["tpr_at_fpr_0.05"])} | |
| Brier score of the probability (0.25: a coin) | {_with_interval(results["brier_score"])} | |
| expected calibration error, ten bins | {_with_interval(results["calibration_error"])} | |
| photographs called "ai" (false accusations) | {_with_interval(results["false_positive_rate"])} | {fitted["photographs_called_ai"]:.3f} |
| generated images called "ai" | {_with_interval(results["called_ai"])} | {fitted["fakes_called_ai"]:.3f} |
| photographs called "real" | | {fitted["photographs_called_real"]:.3f} |
| generated images called "real" | | {fitted["fakes_called_real"]:.3f} |
| all images called "uncertain" | {_with_interval(results["uncertain"])} | |

Rule: {decision.rule}. Thresholds: "ai" from {decision.threshold:.4f}, "real" below
{decision.real_below:.4f}.{since}
"""


def _per_generator(results: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {row['generator'] or '(unnamed)'} | {row['auc']['n'] - results['n_real']} | {_with_interval(row['auc'])} | "
        f"{_with_interval(row['called_ai'])} | {_with_interval(row['called_real'])} |"
        for row in results["per_generator"]
    )
    return f"""\
### By generator, worst first

| generator | n | AUC against all photographs | called "ai" | called "real" |
|---|---|---|---|---|
{rows}
"""


def _per_source(results: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {row['source'] or '(unnamed)'} | {row['false_positive_rate']['n']} | "
        f"{_with_interval(row['false_positive_rate'])} | {_with_interval(row['called_real'])} |"
        for row in results["per_photo_source"]
    )
    return f"""\
### Photographs by source, most falsely accused first

| source | n | called "ai" | called "real" |
|---|---|---|---|
{rows}
"""


def _spread(results: dict[str, Any]) -> str:
    seeds = results["mean_generator_auc_over_seeds"]
    if seeds["std"] is None:
        return "One training seed only; no spread was measured.\n"
    values = ", ".join(f"{value:.3f}" for value in seeds["values"])
    return (
        f"Over {len(seeds['values'])} training seeds the mean-over-generators AUC is {seeds['mean']:.3f} ± "
        f"{seeds['std']:.3f} ({values}); the first seed ships, whatever it reached.\n"
    )


def _format_probe(results: dict[str, Any]) -> str:
    found = results["format_probe"]
    figures = "; ".join(f"{name} images {_with_interval(estimate)}" for name, estimate in found.items())
    alarm = any(estimate["value"] > ALARM for estimate in found.values())
    warning = (
        " **More than 0.6: the figures above may say how the pictures were saved, not how they were made.**"
        if alarm
        else ""
    )
    return (
        "Format probe, the balanced accuracy of a random forest that knows only container, width and height of the files "
        f"(0.5 is chance): {figures or 'too few images'}.{warning}\n"
    )


def _recipe(config: ModelConfig) -> str:
    extractor, head, lcas = config.extractor, config.head, config.lcas
    layers = extractor.global_feature.cls_layers
    lines = [
        f"* image: {extractor.image.size} pixels, {extractor.image.resize} to {extractor.image.resize_to}, "
        f"{extractor.image.num_views} view(s)",
        f"* masks: K = {extractor.mask.num_passes}, ratio {extractor.mask.mask_ratio}, {extractor.mask.scheme}, "
        f"seed {extractor.mask.seed}",
        *([f"* global feature: [CLS] of layers {', '.join(map(str, layers))}"] if layers else []),
        f"* LCAS: lambda {lcas.fidelity_weight}, reduction {lcas.reduction}, {extractor.deviation.pixel_space} pixels",
        f"* head: {head.fusion} ({head.fusion_level}), statistics {', '.join(head.statistics) or 'none'}, views joined by "
        f"{head.view_pooling}",
        *(
            f"* beside the training images an altered copy of each: crop of at least {copy['min_crop']}, mirrored "
            f"{copy['mirror']:.0%}, blurred {copy['blur']:.0%} (radius up to {copy['max_blur_radius']}), JPEG "
            f"{copy['recompress']:.0%} (quality {copy['min_quality']}-{copy['max_quality']}), seed {copy['seed']}"
            for copy in config.provenance.get("altered_copies", ())
        ),
        *(f"* {line}" for line in config.provenance.get("recipe", ())),
        f"* backbone SHA-256 {config.backbone.content_hash}; fingerprint {config.fingerprint}",
    ]
    return "## Recipe\n\n" + "\n".join(lines) + "\n"


def _data(provenance: dict[str, Any]) -> str:
    rows = provenance.get("data", ())
    notes = [*provenance.get("notes", ())]
    if not rows:
        return "## Data\n\nWhoever trained this model did not state its data.\n"
    table = "\n".join(f"| {row['set']} | {row['images']} | {row['origin']} |" for row in rows)
    licence = provenance.get("licence", "not stated")
    text = (
        f"## Data and licences\n\nWeights: {licence}\n\n| set | images | origin and terms |\n|---|---|---|\n{table}\n"
    )
    return text + ("\n" + "\n".join(f"* {note}" for note in notes) + "\n" if notes else "")


def _with_interval(estimate: dict[str, Any]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
