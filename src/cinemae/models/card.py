"""The model card: README.md of a model directory, every figure taken from the model's results.

Its text is ``card.md.j2`` beside this file.
"""

from __future__ import annotations

from jinja2 import Environment, PackageLoader

from cinemae.models.bundle import ModelBundle
from cinemae.models.directory import CALIBRATION_PLOTS, CARD_FILE, INT8_FILE
from cinemae.models.results import CalibrationFigures, Results
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
"""  # noqa: E501 - a line of Markdown


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
    training, later = results.training, results.recalibration is not None
    calibration, probes = _calibration(bundle, results), training.format_probe if training else {}
    preset = config.provenance.get("preset")
    if not (isinstance(preset, dict) and set(preset) == {"name", "beside_it"}):  # none, or somebody's own note
        preset = None
    text = _environment().get_template("card.md.j2")
    return text.render(
        config=config,
        provenance=config.provenance,
        preset=preset,
        beside=", ".join(f"{name} {value}" for name, value in preset["beside_it"].items()) if preset else "",
        fit=results.fit,
        training=training,
        measured_at=results.decision if later and results.decision else config.decision,
        later=later,
        probes="; ".join(f"{name} images {estimate:.3f}" for name, estimate in probes.items()),
        alarm=any(estimate.value > ALARM for estimate in probes.values()),
        calibration=calibration,
        left_out=", ".join(f"{n} {reason}" for reason, n in (calibration.left_out if calibration else {}).items() if n),
        kinds=KINDS,
        plots={name: text for name, text in zip(CALIBRATION_PLOTS, _PLOT_TEXTS, strict=True) if name in bundle.files},
        int8=results.int8 if INT8_FILE in bundle.files else None,
        int8_file=INT8_FILE,
        must_not=MUST_NOT,
    )


def _calibration(bundle: ModelBundle, results: Results) -> CalibrationFigures | None:
    """Return the calibration that the model has now; None for models of before there was a report."""
    found = results.recalibration or (results.training.calibration if results.training else None)
    if found is None or found.decision.threshold != bundle.config.decision.threshold:
        return None
    return found


def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("cinemae.models", ""),
        autoescape=False,  # noqa: S701 - Markdown is plain text
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["f"] = lambda value, spec: format(value, spec)
    found.filters["f3"], found.filters["f4"] = (lambda value: f"{value:.3f}"), (lambda value: f"{value:.4f}")
    found.filters["capital"] = lambda text: text[:1].upper() + text[1:]
    return found
