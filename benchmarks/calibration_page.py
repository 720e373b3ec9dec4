"""The page on calibration, from what `benchmarks.calibration` and `benchmarks.outliers` measured."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.measure import LIKE_BUNDLED, RESULTS, ROOT
from cinemae.models.card import KINDS

PAGE = ROOT / "docs" / "calibration.md"
FOLDER = RESULTS / "calibration"
LEVELS = ("0.01", "0.02", "0.05")

HEAD = f"""# Calibration and doubt

{LIKE_BUNDLED}Written by `python -m benchmarks.render` from `benchmarks/results/calibration/`; do not edit.
[The commands](../benchmarks/README.md#calibration) say how it was measured; decision records
[0006](decisions/0006-decision-rule.md) and [0011](decisions/0011-calibration-and-doubt.md) say what was chosen and why.

A verdict rests on three numbers. **`prob_fake`** is a probability: of the images that get 0.8, eight in ten should be
generated, if half of all images are. **Two thresholds** make three words of it: at most 2 % of photographs (of the
bundled model 1 %, each source counting alike) are to be called "ai", at most 10 % of generated images "real", and
what lies between is "uncertain". **`ood_score`** says how unlike the training images the image is. `cinemae calibrate`
sets all three for one's own images.

On this page curve and thresholds are chosen anew: on {{n_real}} photographs and {{n_fake}} generated images, each
judged by what was chosen on the other four fifths of them, as `cinemae calibrate` does with one's own. Corrupted images
are judged by what the clean ones of the other folds chose. 95 % intervals in brackets: they are wide, for the images
are few. What curve and thresholds of the bundled model reach, by cross-fitting over all pictures:
[starter.md](starter.md).
"""
BEFORE_AFTER = """## Before and after

The calibration error (ECE, ten bins, both classes weighing half) is the mean difference between stated probability and
share of generated images; chance alone keeps it above 0. `cinemae train` and `cinemae calibrate` take Platt scaling or
centred isotonic regression, whichever has the lower log loss on held-out images.
"""
UNSEEN = """The folds are one draw of many: five others give errors after calibration of {least:.3f} to {most:.3f}.
Where each fake is judged by a curve that saw no image of its generator, the error is {error} and the Brier score
{brier}.
"""
CORRUPTED = """## Under corruptions

"Before" is the sigmoid of the logit as it is, "after" is calibrated on clean images.
"""
VERDICTS = """The verdicts, by thresholds that were chosen on clean images; the last column is the share of wrong ones
among "ai" and "real".
"""
COVERAGE = """## Risk and coverage

How many images can be answered if only so many answers may be wrong? The surest are answered first; sure is far from
0.5. **Own images**: the largest coverage that keeps the error on these very images, which nobody can know beforehand
and which flatters where it is small. **Set on clean**: answer what is as sure as kept the error on clean images of
other folds, and see what coverage and error come of it.
"""
POOR = """**Where detail is lost, generated images pass for photographs**: a third of them cropped to half or saved as
JPEG or WebP of quality 30, a quarter under 20 levels of noise, by thresholds that were set on clean images.
Photographs are accused no more often than on clean images, beyond chance.
"""
OUTLIERS = """## Unlike anything seen

`ood_score` is the share of the photographs calibrated on that lie nearer to the training images than the picture does,
by Mahalanobis's distance of the global feature ([0011](decisions/0011-calibration-and-doubt.md),
[0023](decisions/0023-whole-native.md)); above 0.99 a picture is said to be out of distribution. The AUC of telling
wrong answers (at 0.5) from right ones by it is {auc:.2f}, where 0.5 is chance: a great distance says that a picture is
of another kind, not that the verdict is wrong.
"""


def render() -> str:
    """Return the page."""
    measured = json.loads((FOLDER / "calibration.json").read_text(encoding="utf-8"))
    outliers = json.loads((FOLDER / "outliers.json").read_text(encoding="utf-8"))
    clean, unseen = measured["clean"], measured["unseen_generators"]
    parts = [
        HEAD.format(n_real=clean["n_real"], n_fake=clean["n_fake"]),
        BEFORE_AFTER,
        _kinds(clean),
        _plot("reliability.png", "Reliability before and after calibration"),
        UNSEEN.format(
            least=min(measured["other_folds"]),
            most=max(measured["other_folds"]),
            error=_number(unseen["calibration_error"]),
            brier=_number(unseen["brier_score"]),
        ),
        CORRUPTED,
        _by_condition(measured["conditions"]),
        VERDICTS,
        _verdicts(measured["conditions"]),
        COVERAGE,
        _coverage(measured["conditions"]),
        _plot("risk-coverage.png", "Risk and coverage, clean and under the stronger corruptions"),
        POOR,
        OUTLIERS.format(auc=outliers["auc_for_errors"]),
        _fifths(outliers["fifths"]),
        f"Said to be out of distribution, {outliers['pictures']} of each drawn kind. The distance knows pictures as "
        "the web delivers them, not the poor copies that the head has learnt from beside:\n",
        _flagged(outliers),
        _about(measured, outliers),
    ]
    return "\n".join(parts)


def _kinds(clean: dict[str, Any]) -> str:
    chosen = clean["decision"]["calibration"]
    rows = [
        [
            f"**{words}**" if kind == chosen else words,
            f"{found['log_loss']:.3f}",
            _number(found["brier_score"]),
            _number(found["calibration_error"]),
        ]
        for kind, words in KINDS.items()
        if (found := clean["held_out"][kind])
    ]
    return _table(["on held-out folds", "log loss", "Brier score", "ECE"], rows)


def _by_condition(conditions: dict[str, Any]) -> str:
    rows = [
        [
            name,
            f"{row['auc']['value']:.3f}",
            f"{row['before']['calibration_error']['value']:.3f}",
            _number(row["after"]["calibration_error"]),
            f"{row['before']['brier_score']['value']:.3f}",
            _number(row["after"]["brier_score"]),
        ]
        for name, row in conditions.items()
    ]
    return _table(["condition", "AUC", "ECE before", "ECE after", "Brier before", "Brier after"], rows)


def _verdicts(conditions: dict[str, Any]) -> str:
    shown = {
        "photographs_called_ai": 'photographs "ai"',
        "photographs_called_real": 'photographs "real"',
        "fakes_called_ai": 'fakes "ai"',
        "fakes_called_real": 'fakes "real"',
        "uncertain": "uncertain",
        "error_of_verdicts": "wrong verdicts",
    }
    rows = [[name, *(_percent(row["rates"][rate]) for rate in shown)] for name, row in conditions.items()]
    return _table(["condition", *shown.values()], rows)


def _coverage(conditions: dict[str, Any]) -> str:
    rows = []
    for name, row in conditions.items():
        own = [_percent(row["coverage_at"][level]) for level in LEVELS]
        pairs = [row["set_on_clean"][level] for level in LEVELS]
        told = [
            f"{pair['coverage']['value']:.1%}, {pair['error']['value']:.1%} wrong" if pair["error"] else "none"
            for pair in pairs
        ]
        rows.append([name, f"{row['aurc']['value']:.3f}", *own, *told])
    head = ["condition", "area under the curve"]
    head += [f"own images, {float(level):.0%} error" for level in LEVELS]
    head += [f"set on clean for {float(level):.0%}" for level in LEVELS]
    return _table(head, rows)


def _fifths(rows: list[dict[str, Any]]) -> str:
    cells = [
        [
            f"{row['from']:.2f} to {row['to']:.2f}",
            _percent(row["photographs_above_half"]),
            _percent(row["fakes_below_half"]),
        ]
        for row in rows
    ]
    return _table(["`ood_score`, a fifth each", "photographs above 0.5", "generated images below 0.5"], cells)


def _flagged(outliers: dict[str, Any]) -> str:
    rows = [[f"drawn: {kind}", _percent(found), ""] for kind, found in outliers["drawn"].items()]
    rows += [
        [name, _percent(found["photographs"]), _percent(found["fakes"])]
        for name, found in outliers["conditions"].items()
    ]
    return _table(["pictures", "flagged (of photographs, where there are both)", "of generated images"], rows)


def _about(measured: dict[str, Any], outliers: dict[str, Any]) -> str:
    names = dict.fromkeys((measured["model"], outliers["model"]))
    days = dict.fromkeys((measured["when"][:10], outliers["when"][:10]))
    machine = measured["machine"]
    versions = ", ".join(f"{name} {text}" for name, text in machine["versions"].items() if text)
    return f"Scores of {' and '.join(names)}, measured {' and '.join(days)}; Python {machine['python']}, {versions}.\n"


def _plot(name: str, text: str) -> str:
    return f"![{text}](../{(FOLDER / name).relative_to(ROOT).as_posix()})\n"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _number(found: dict[str, Any]) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _percent(found: dict[str, Any] | None) -> str:
    return "none" if found is None else f"{found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"
