"""What the paper's tables take: measured on this machine, and with a GPU that is assumed.

    python -m benchmarks.paper_cost facebook/vit-mae-large --images 16 --save

measures the processor's seconds, so that a busy machine will do, and keeps them in results/paper_cost.json;
benchmarks.render writes recipes/paper/COST.md from them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from benchmarks.measure import RESULTS, ROOT
from benchmarks.scale.page import CORE_PRICE, GPU_PRICE
from cinemae.evaluation.frozen_speed import FrozenSpeedConfig, measure_frozen_speed
from cinemae.evaluation.protocols.cost import Rates, cost_table

RECORD = RESULTS / "paper_cost.json"
PAGE = ROOT / "recipes" / "paper" / "COST.md"
DECODERS = 4  # as many as `cinemae.sources.stream` starts where there are cores for them
GPU_RATE = 300.0
"""Images of ViT-L a second: assumed as in docs/scale.md, not measured."""


def render() -> str:
    """Return the page: what was measured, and the tables with the assumed GPU in the frozen half's place."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    measured = Rates(**record["rates"])
    rates = dataclasses.replace(measured, survey=measured.survey / min(DECODERS, record["cores"]))
    on_gpu = dataclasses.replace(measured, survey=measured.survey / DECODERS)
    on_gpu = dataclasses.replace(on_gpu, look=max(1 / GPU_RATE, on_gpu.survey))
    slower = "The GPU would" if on_gpu.look > on_gpu.survey else "The threads that decode would"
    seconds = (
        f"{1e3 * measured.survey:.1f} ms to read, decode and hash a picture of 512x512, {rates.look:.2f} s to "
        f"make its row of a store, {1e6 * rates.head:.0f} µs to train a head on it for an epoch; a row has "
        f"{rates.row_bytes:,} bytes"
    )
    where = f"{record['device']} with {record['cores']} cores and random weights of ViT-L's shape"
    lines = [
        "# What the paper's tables take",
        "",
        "Written by `python -m benchmarks.render` from `benchmarks/results/paper_cost.json`; do not edit. Your own",
        "figures are at the end of what `cinemae bench --backbone` prints.",
        "",
        f"Measured {record['when']} on {where}, in the processor's seconds: {seconds}.",
        "",
        "## With a GPU",
        "",
        f"{GPU_RATE:g} images of ViT-L a second and its price are **assumed, not measured**, as in "
        f"[scale.md](../../docs/scale.md). {slower} set the pace; all else is as measured, with {DECODERS} threads "
        "that decode.",
        "",
        *cost_table(on_gpu, GPU_PRICE),
        "",
        f"## On {record['cores']} cores without one",
        "",
        *cost_table(rates, record["cores"] * CORE_PRICE),
    ]
    return "\n".join([*lines, ""])


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    config = FrozenSpeedConfig(
        options.device,
        batch_sizes=(options.batch_size,),
        images=options.images,
        rounds=options.rounds,
        clock="cpu",
    )
    report = measure_frozen_speed(options.backbone, config)
    print(report.to_markdown())
    return {
        "when": report.when,
        "device": report.device,
        "cores": report.cores,
        "stages": [dataclasses.asdict(stage) for stage in report.stages],
        "rates": dataclasses.asdict(report.rates),
    }


def main() -> None:
    """Measure, print the block, and keep the seconds if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbone", help="as FrozenMAE.from_pretrained takes it")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--save", action="store_true", help="keep the seconds in results/paper_cost.json")
    options = parser.parse_args()
    record = _measure(options)
    if options.save:
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
