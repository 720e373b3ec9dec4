"""Write the pages of docs/ that hold figures: speed, benchmarks, robustness, calibration, stability, false positives.

All of it follows from what lies in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import Any

from benchmarks import calibration_page, robustness_page, stability
from benchmarks.false_positives import page as accusations
from benchmarks.measure import RESULTS, ROOT, Target
from cinemae.evaluation.protocols.reproduce import Reproduced

SPEED_PAGE = ROOT / "docs" / "performance.md"
ACCURACY_PAGE = ROOT / "docs" / "benchmarks.md"
PROTOCOLS = RESULTS / "protocols"
BENCHMARKS = {
    "cold_start": "A cold `cinemae detect one.jpg`: a whole process, scored with the bundled model, against a process "
    'that only runs `python -c "import torch"`.',
    "packed_pass": "Whole image and K masked passes as one packed pass, against separate plain Hugging Face calls on "
    "the same weights. The ratio says how many times as fast the packed pass is. Most of it comes from computing "
    "linear layers with oneDNN (decision 0008): with torch's products in their place, packing gains what the last "
    "ratio says.",
    "train_head": "`cinemae train` for one seed on a feature store of ViT-L sizes: open, read, train, choose the "
    "threshold, save.",
    "folder": "A folder of 12-megapixel JPEGs scored with the bundled model, and the share of each stage: reading and "
    "decoding, preprocessing, model.",
    "rebuild_report": "`cinemae report`, a whole process: every number, plot and page of a robustness run from stored "
    "predictions (drawn ones, of its usual sizes).",
    "onnx_parity": "The bundled model's graph against torch on the pictures that its thresholds were chosen on: "
    "`python -m benchmarks.onnx_parity FOLDER`.",
}
SPEED_HEAD = """# Speed

Written by `python -m benchmarks.render` from `benchmarks/results/`; do not edit. `benchmarks/README.md` says how to run
them. Every benchmark checks its answer against the exact path first, and times what it compares in turns within one
run: the ratios carry over to other machines better than the seconds do.
"""
ACCURACY_HEAD = """# Benchmarks

Written by `python -m benchmarks.render` from `benchmarks/results/protocols/`; do not edit. Each part is a table or
figure of the paper, run by `cinemae reproduce NAME --data ROOT`; [the commands](../benchmarks/README.md) say with which
options.

**Nothing here was measured on the paper's data sets, nor with its backbone.** GenImage, AIGCDetectBenchmark, Chameleon
and the ViT-L weights were not at hand. What stands beside the paper's figures was measured on a small, old set of
images, described in [the model card](../src/cinemae/starter/README.md), with the bundled starter's encoder of 2.7
million parameters and a head trained anew. The starter's settings were chosen on these very test images, which flatters
our rows. NPR and CNNSpot were trained far shorter than published, CNNSpot without ImageNet weights: their rows say what
that reaches, not what the methods can do.

A cell holds the mean over trainings, the 95 % interval over images in brackets, after ± the deviation over
trainings, and n, the images behind it. Copied figures are the paper's; "measured here" names what was re-measured.
"""


def render_speed() -> str:
    """Return the page on speed."""
    return "\n".join([SPEED_HEAD, *(_section(name, text) for name, text in BENCHMARKS.items())])


def render_accuracy() -> str:
    """Return the page on accuracy: every protocol with a committed result, in the paper's order."""
    names = sorted((path.stem for path in PROTOCOLS.glob("*.json")), key=_place)
    parts = [ACCURACY_HEAD.strip()]
    for name in names:
        values = json.loads((PROTOCOLS / f"{name}.json").read_text(encoding="utf-8"))
        parts.append(Reproduced.from_dict(values).to_markdown().strip())
        plots = sorted(PROTOCOLS.glob(f"{name}-*.png"))
        parts += [f"![{path.stem}](../{path.relative_to(ROOT).as_posix()})" for path in plots]
        versions = ", ".join(f"{package} {version}" for package, version in values["versions"].items())
        parts.append(f"Versions: {versions}.")
    return "\n\n".join(parts) + "\n"


def _place(name: str) -> tuple[int, int, str]:
    """Sort tables before figures before ablations of ours, each by number."""
    kind = next(index for index, word in enumerate(("table", "figure", "")) if name.startswith(word))
    number = re.search(r"\d+", name)
    return kind, int(number.group()) if number else 0, name


def _section(name: str, text: str) -> str:
    path = RESULTS / f"{name}.json"
    records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    parts = [f"## {name}", text]
    if not records:
        return "\n\n".join([*parts, "Not measured yet.", ""])
    record = records[-1]
    if record["targets"]:
        rows = ["| target | measured | bound | met |", "|---|---:|---:|---|"]
        for values in record["targets"]:
            target = Target(**values)
            sign = "≥" if target.at_least else "≤"
            met = "yes" if target.met else "no"
            rows.append(f"| {target.what} | {_number(target.value)} | {sign} {target.bound:g} | {met} |")
        parts.append("\n".join(rows))
    figures = [f"| {what} | {_number(value)} |" for what, value in record["figures"].items()]
    parts.append("\n".join(["| figure | median |", "|---|---:|", *figures]))
    checks = [f"{what} {value:.1e}" for what, value in record["checks"].items()]
    parts.append(f"Largest differences from the exact path: {'; '.join(checks)}.")
    parts.append(_conditions(record))
    return "\n\n".join([*parts, ""])


def _conditions(record: dict[str, Any]) -> str:
    machine = record["machine"]
    versions = ", ".join(f"{name} {text}" for name, text in machine["versions"].items() if text)
    settings = ", ".join(f"{name} {_plain(value)}" for name, value in record["settings"].items())
    return (
        f"Settings: {settings}. Measured {record['when'][:10]} at commit {machine['commit']} on {machine['cores']} "
        f"cores of {machine['cpu']} ({machine['system']}), load before {record['load_before']}; "
        f"Python {machine['python']}, {versions}."
    )


def _plain(value: object) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list) else str(value)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    """Write the pages, or with --check only compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; end with 1 if a page is not current")
    check = parser.parse_args().check
    pages = (
        (SPEED_PAGE, render_speed()),
        (ACCURACY_PAGE, render_accuracy()),
        (accusations.PAGE, accusations.render()),
        (robustness_page.PAGE, robustness_page.render()),
        (calibration_page.PAGE, calibration_page.render()),
        (stability.PAGE, stability.render()),
    )
    for path, page in pages:
        if not check:
            path.write_text(page, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != page:
            sys.exit(f"{path.relative_to(ROOT)} is not what the records give: run python -m benchmarks.render")


if __name__ == "__main__":
    main()
