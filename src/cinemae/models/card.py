"""The model card: README.md of a model directory, every figure taken from the model's results."""

from __future__ import annotations

from typing import Any

from cinemae.config import DecisionConfig, ModelConfig
from cinemae.models.bundle import ModelBundle
from cinemae.models.directory import CALIBRATION_PLOTS, CARD_FILE, INT8_FILE
from cinemae.models.results import CalibrationFigures, FitFigures, PrecisionCheck, Results, TrainingResults
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.figures import Figures
from cinemae.statistics.format_probe import ALARM

_PLOT_TEXTS = (
    "Does the probability hold? On held-out folds, before and after calibration.",
    "Errors left when the least sure images go unanswered, on held-out folds.",
)
KINDS = {
    "none": "logit as it is",
    "platt": "Platt scaling",
    "isotonic": "centred isotonic regression",
    "chosen": "the better of the two, chosen without the fold",
}
"""What each way from logit to probability is called, by its name in `CalibrationFigures.held_out`."""

MUST_NOT = """\
## What it must not be used for

* To accuse a person, to grade, to moderate without a human look, or as the only evidence of anything. A score is a
  signal, not proof.
* On pictures unlike those below: other generators, screenshots, drawings, scans, heavy edits. It was not measured there.
* As a map of "fake regions". The heat map shows what is hard to predict from its surroundings; photographs and
  generated images both have such parts.
"""


def with_card(bundle: ModelBundle) -> ModelBundle:
    """Return the bundle with the card that its settings, figures and plots make."""
    return bundle.changed(files={CARD_FILE: model_card(bundle).encode()})


def model_card(bundle: ModelBundle) -> str:
    """Return the text of README.md.

    Args:
        bundle: The model; its config's `provenance` may hold "data" (rows of set, images, origin), "recipe" (lines),
            "licence" and "notes" (lines).
    """
    config, results = bundle.config, bundle.results or Results()
    parts = [
        f"# {config.name}\n",
        "Tells AI-generated images from photographs by the method of CINEMAE (arXiv 2511.06325). The figures below are "
        "this model's own, on its own validation images; they are not the paper's.\n",
        _fit(results.fit) if results.fit else "",
        *_of_training(config, results),
        _calibration(bundle, results),
        _precision(config, results.int8) if results.int8 and INT8_FILE in bundle.files else "",
        MUST_NOT,
        _recipe(config),
        _data(config.provenance),
    ]
    return "\n".join(part for part in parts if part)


def _fit(found: FitFigures) -> str:
    """Say what the figures of a model that `cinemae fit` made are worth."""
    apart = found.comparison
    lines = [
        *(f"{'**Serious:** ' if warning.serious else ''}{_capital(warning.sentence)}" for warning in found.warnings),
        *(f"{_capital(split.sentence)}." for split in found.splits),
        f"The bundled model ({apart.bundled}) on the same held-out images: AUC {apart.auc_bundled:.3f} "
        f"against {apart.auc:.3f} of this one; difference, paired: {apart.difference:+.3f}.",
        "Container, size and JPEG quality alone, pixels unseen, fitted on the training files: AUC "
        f"{found.format_auc:.3f} on the held-out ones.",
    ]
    return "## Before you trust it\n\n" + "\n".join(f"* {line}" for line in lines) + "\n"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _of_training(config: ModelConfig, results: Results) -> list[str]:
    found = results.training
    if found is None:
        return ["## Results\n\nThe figures of training do not lie in this directory.\n"]
    measured_at = results.decision if results.recalibration and results.decision else config.decision
    later = results.recalibration is not None
    return [
        _headline(found, measured_at, later),
        _per_generator(found),
        _per_source(found),
        _spread(found),
        _probe(found),
    ]


def _headline(found: TrainingResults, decision: DecisionConfig, later: bool) -> str:
    fitted, since = found.cross_fitted, ""
    if later:
        since = " The model was calibrated again since: the thresholds it goes by now stand under Calibration."
    return f"""\
## Results

Validation: {found.n_real} photographs, {found.n_fake} generated images ({found.split}). 95 % intervals in
brackets: Wilson for rates at a threshold, bootstrap for the rest. AUC does not depend on the thresholds; the rates at the thresholds do, and
those, like the calibration, were chosen on these same images, so the cross-fitted column (up to 5 folds, each judged by thresholds chosen on the
others) is the honest one.

| figure | value | cross-fitted |
|---|---|---|
| AUC, mean over generators | {found.mean_generator_auc:.3f} | |
| AUC, all images pooled | {found.auc:.3f} | |
| average precision, both classes weighing half | {found.average_precision:.3f} | |
| generated images found where 1 % of photographs are accused | {found.tpr_at_fpr_1_percent:.3f} | |
| generated images found where 5 % of photographs are accused | {found.tpr_at_fpr_5_percent:.3f} | |
| Brier score of the probability (0.25: a coin) | {found.brier_score:.3f} | |
| expected calibration error, ten bins | {found.calibration_error:.3f} | |
| photographs called "ai" (false accusations) | {found.false_positive_rate:.3f} | {fitted.photographs_called_ai:.3f} |
| generated images called "ai" | {found.called_ai:.3f} | {fitted.fakes_called_ai:.3f} |
| photographs called "real" | | {fitted.photographs_called_real:.3f} |
| generated images called "real" | | {fitted.fakes_called_real:.3f} |
| all images called "uncertain" | {found.uncertain:.3f} | |

Rule: {decision.rule}. Thresholds: "ai" from {decision.threshold:.4f}, "real" below
{decision.real_below:.4f}.{since}
{_at_half(found)}"""


def _at_half(found: TrainingResults) -> str:
    half = found.at_half
    if half is None:
        return ""
    return f"""
At 0.5 of the probability before calibration, where papers mostly judge: balanced accuracy {half.balanced_accuracy:.3f},
photographs called generated {half.false_positive_rate:.3f}, generated images called so {half.called_ai:.3f}.
"""


def _per_generator(found: TrainingResults) -> str:
    rows = "\n".join(
        f"| {row.generator or '(unnamed)'} | {row.auc.n - found.n_real} | {row.auc:.3f} | {row.called_ai:.3f} | "
        f"{row.called_real:.3f} |"
        for row in found.per_generator
    )
    return f"""\
### By generator, worst first

| generator | n | AUC against all photographs | called "ai" | called "real" |
|---|---|---|---|---|
{rows}
"""


def _per_source(found: TrainingResults) -> str:
    rows = "\n".join(
        f"| {row.source or '(unnamed)'} | {row.false_positive_rate.n} | {row.false_positive_rate:.3f} | "
        f"{row.called_real:.3f} |"
        for row in found.per_photo_source
    )
    return f"""\
### Photographs by source, most falsely accused first

| source | n | called "ai" | called "real" |
|---|---|---|---|
{rows}
"""


def _spread(found: TrainingResults) -> str:
    seeds = found.mean_generator_auc_over_seeds
    if seeds.std is None:
        return "One training seed only; no spread was measured.\n"
    values = ", ".join(f"{value:.3f}" for value in seeds.values)
    return (
        f"Over {len(seeds.values)} training seeds the mean-over-generators AUC is {seeds.mean:.3f} ± "
        f"{seeds.std:.3f} ({values}); the first seed ships, whatever it reached.\n"
    )


def _probe(found: TrainingResults) -> str:
    figures = "; ".join(f"{name} images {estimate:.3f}" for name, estimate in found.format_probe.items())
    warning = (
        " **More than 0.6: the figures above may say how the pictures were saved, not how they were made.**"
        if any(estimate.value > ALARM for estimate in found.format_probe.values())
        else ""
    )
    return (
        "Format probe, the balanced accuracy of a random forest that knows only container, width and height of the files "
        f"(0.5 is chance): {figures or 'too few images'}.{warning}\n"
    )


def _calibration(bundle: ModelBundle, results: Results) -> str:
    """Describe the calibration that the model has now; empty for models of before there was a report."""
    config, later = bundle.config, results.recalibration
    found = later or (results.training.calibration if results.training else None)
    if found is None or found.decision.threshold != config.decision.threshold:
        return ""
    parts = [
        "## Calibration\n",
        _after_training(found, found.figures) if later and found.figures else "",
        _quality(found),
        "\n".join(f"* {sentence}" for sentence in found.warnings) + "\n" if found.warnings else "",
        _outliers(config),
        *(
            f"![{text}]({name})\n"
            for name, text in zip(CALIBRATION_PLOTS, _PLOT_TEXTS, strict=True)
            if name in bundle.files
        ),
    ]
    return "\n".join(part for part in parts if part)


def _after_training(found: CalibrationFigures, figures: Figures) -> str:
    decision, rates = found.decision, found.rates
    rows = "\n".join(
        f"| {words} | {share:.3f} |"
        for words, share in (
            ('photographs called "ai" (false accusations)', rates.photographs_called_ai),
            ('generated images called "ai"', rates.fakes_called_ai),
            ('photographs called "real"', rates.photographs_called_real),
            ('generated images called "real"', rates.fakes_called_real),
            ('all images called "uncertain"', rates.uncertain),
        )
    )
    reasons = ", ".join(f"{number} {reason}" for reason, number in found.left_out.items() if number)
    left_out = f" ({reasons} left out)" if reasons else ""
    return f"""\
**Calibrated again after training**, on {found.n_real} photographs and {found.n_fake} generated
images{left_out}. Since then: "ai" from {decision.threshold:.4f}, "real" below {decision.real_below:.4f}.
Rule: {decision.rule}.
The AUC on these images is {figures.auc:.3f}.

| share, each image judged by a rule chosen without it | with 95 % interval |
|---|---|
{rows}

{_groups(figures)}"""


def _groups(figures: Figures) -> str:
    rows: list[tuple[str, Estimate, Estimate]] = [
        (f"{row.source or '(unnamed)'}, photographs", row.false_positive_rate, row.called_real)
        for row in figures.per_photo_source
    ]
    rows += [
        (f"{row.generator or '(unnamed)'}, generated", row.called_ai, row.called_real) for row in figures.per_generator
    ]
    lines = ['| images of | n | called "ai" | called "real" |', "|---|---|---|---|"]
    lines += [f"| {name} | {ai.n} | {ai:.3f} | {real:.3f} |" for name, ai, real in rows]
    return "\n".join(lines) + "\n"


def _quality(found: CalibrationFigures) -> str:
    rows = "\n".join(
        f"| {words} | {quality.log_loss:.3f} | {quality.brier_score:.3f} | {quality.calibration_error:.3f} |"
        for kind, words in KINDS.items()
        if (quality := found.held_out[kind])
    )
    return f"""\
From logit to probability by {KINDS[found.decision.calibration]}: the lower log loss on held-out folds of {found.n_real} photographs and
{found.n_fake} generated images, both classes weighing half. Chance alone keeps a calibration error above 0.

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


def _precision(config: ModelConfig, found: PrecisionCheck) -> str:
    """Say what the int8 graph changes on labelled images."""
    if found.model != config.model_id:
        return (
            "## In int8\n\nThe model was calibrated again since its int8 graph was measured: run cinemae export "
            "--precision int8 again.\n"
        )
    return f"""\
## In int8

`--precision int8` runs `{INT8_FILE}`: the products of the backbone in 8-bit integers, the rest in float32. On
{found.num_real} photographs and {found.num_fake} generated images, against float32:

| figure | value |
|---|---|
| difference of the probability, mean | {found.mean_deviation:.4f} |
| difference of the probability, 99 % of images below | {found.p99_deviation:.4f} |
| difference of the probability, largest | {found.max_deviation:.4f} |
| images with another verdict | {found.verdict_changes} |
| AUC, all images pooled, float32 | {found.auc_fp32:.4f} |
| AUC, all images pooled, int8 | {found.auc_int8:.4f} |
| loss of AUC, with 95 % interval | {found.auc_drop:.4f} [{found.auc_drop_low:.4f}, {found.auc_drop_high:.4f}] |
"""


def _recipe(config: ModelConfig) -> str:
    extractor, head, lcas = config.extractor, config.head, config.lcas
    layers, taken = extractor.global_feature.cls_layers, extractor.global_feature.token_statistics
    scaled = f"{extractor.image.resize} to {extractor.image.resize_to}, {extractor.image.num_views} view(s)"
    if extractor.image.views == "whole_native":
        scaled = "the whole picture and its native centre (whole_native)"
    lines = [
        f"* image: {extractor.image.size} pixels, {scaled}",
        f"* masks: K = {extractor.mask.num_passes}, ratio {extractor.mask.mask_ratio}, {extractor.mask.scheme}, "
        f"seed {extractor.mask.seed}",
        *([f"* global feature: [CLS] of layers {', '.join(map(str, layers))}"] if layers and taken == ("cls",) else []),
        *(
            [
                f"* global feature: {', '.join(taken)} of the tokens of layers {', '.join(map(str, layers)) or 'the last'}"
            ]
            if taken != ("cls",)
            else []
        ),
        *(["* beside it the block spectrum of each view"] if extractor.global_feature.block_spectrum else []),
        f"* LCAS: lambda {lcas.fidelity_weight}, reduction {lcas.reduction}, {extractor.deviation.pixel_space} pixels",
        f"* head: {head.fusion} ({head.fusion_level}), statistics {', '.join(head.statistics) or 'none'}, views joined by "
        f"{head.view_pooling}",
        *_preset(config.provenance.get("preset")),
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


def _preset(stated: object) -> list[str]:
    if not (isinstance(stated, dict) and set(stated) == {"name", "beside_it"}):  # none, or somebody's own note
        return []
    beside = ", ".join(f"{name} {value}" for name, value in stated["beside_it"].items())
    return [f"* training by the preset {stated['name']}" + (f"; set beside it: {beside}" if beside else "")]


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
