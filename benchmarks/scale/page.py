"""Write docs/scale.md from benchmarks/results/scale.json: what was measured, then the plan past this machine."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.measure import RESULTS, ROOT
from benchmarks.scale.measured import BUSY, STAGES
from benchmarks.scale.pipeline import Cluster, Outcome, Stages, simulate
from cinemae.models.directory import STARTER, read_model_config

PAGE = ROOT / "docs" / "scale.md"
IMAGES_SIMULATED = 1500
SIZES = {"1 M": (10**6, 24.0), "100 M": (10**8, 72.0), "1 B": (10**9, 168.0)}
"""Images, and the hours within which they are to be done."""

LATENCY, NETWORK, REQUESTS = 0.03, 1.25e9, 5500.0
GET_PRICE, STORED_PRICE, CORE_PRICE, GPU_PRICE = 0.4e-6, 0.023, 0.05, 2.5
CACHE_ROW = 1000.0


@dataclass(frozen=True)
class Kind:
    """A kind of machine: its part of a cluster, its price an hour, and what is assumed of it."""

    name: str
    cluster: Cluster
    price: float
    assumed: str


def kinds(image_bytes: float) -> list[Kind]:
    """Return the machines that are planned with."""
    shared = Cluster(
        latency=LATENCY, bytes_per_s=NETWORK, requests_per_s=REQUESTS, image_bytes=image_bytes, prefetch=64
    )
    cpu = replace(shared, cores=16, workers=16)
    return [
        Kind("16 cores, bundled model", cpu, 16 * CORE_PRICE, "cores as fast as the measured one"),
        Kind(
            "16 cores + GPU, bundled model",
            replace(cpu, gpu_rate=4000.0),
            16 * CORE_PRICE + GPU_PRICE,
            "4000 images/s on the GPU: **assumed, not measured**",
        ),
        Kind(
            "16 cores + GPU, ViT-L",
            replace(cpu, gpu_rate=300.0),
            16 * CORE_PRICE + GPU_PRICE,
            "300 images/s on the GPU: **assumed, not measured**",
        ),
    ]


def render(record: dict[str, Any]) -> str:
    """Return the page."""
    figures, samples = record["figures"], record["samples"]
    stages = Stages(*(samples[f"stage {stage}{BUSY[2]}"] for stage in STAGES))  # as cores of a full machine are
    image_bytes, row_bytes = figures["an image, bytes"], figures["a row of results, bytes"]
    one_each = [(kind, simulate(stages, kind.cluster, IMAGES_SIMULATED, seed=0)) for kind in kinds(image_bytes)]
    rows = [_plan(kind, one, stages, size) for size in SIZES for kind, one in one_each]
    return "\n".join(
        [
            _INTRODUCTION,
            _measured(record),
            _SIMULATION,
            "| images | machines of | how many | hours | images/s | bottleneck | machine-hours | USD |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            _assumptions(kinds(image_bytes)),
            _MONEY,
            _storage(image_bytes, row_bytes),
            _LIMITS,
        ]
    )


def _plan(kind: Kind, one: Outcome, stages: Stages, size: str) -> str:
    images, hours = SIZES[size]
    machines = max(1, math.ceil(images / (one.rate * 3600 * hours)))
    outcome = _cluster(kind, stages, machines) if machines > 1 else one
    took = images / outcome.rate / 3600
    money = took * machines * kind.price + images * GET_PRICE
    named = {"cores": "cores", "gpu": "GPU", "network": "network", "store": "requests to the store"}
    busy = f"{named[outcome.bottleneck]} ({100 * outcome.busy[outcome.bottleneck]:.0f} % busy)"
    return (
        f"| {size} | {kind.name} | {machines} | {took:,.1f} | {outcome.rate:,.0f} | {busy} | {took * machines:,.0f} | "
        f"{money:,.0f} |"
    )


def _cluster(kind: Kind, stages: Stages, machines: int) -> Outcome:
    cluster = replace(kind.cluster, machines=machines)
    return simulate(stages, cluster, IMAGES_SIMULATED * machines, seed=0)


def _measured(record: dict[str, Any]) -> str:
    figures, machine = record["figures"], record["machine"]
    lines = [f"Measured {record['when'][:10]} on {machine['cores']} cores of {machine['cpu']},"]
    size, model = record["settings"]["size"], "the model bundled then ([which](performance.md))"
    lines += [f"load before {record['load_before']}, {size} JPEGs, {model}:", ""]
    if record["settings"]["clock"] == "cpu":
        lines += [_BUSY, ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {name} | {value:,.4g} |" for name, value in figures.items()]
    lines += ["", "| held against what was measured | off by | at most |", "|---|---|---|"]
    lines += [
        f"| {target['what'].partition(', ')[2].removesuffix(', relative')} | {100 * target['value']:.1f} % | "
        f"{100 * target['bound']:.0f} %{'' if target['value'] <= target['bound'] else ' **missed**'} |"
        for target in record["targets"]
    ]
    if any(target["value"] > target["bound"] for target in record["targets"]):
        lines += ["", _MISSED]
    return "\n".join([*lines, ""])


def _assumptions(several: list[Kind]) -> str:
    lines = [f"* {kind.name}: {kind.assumed}." for kind in several]
    lines += [
        f"* Store: {1e3 * LATENCY:g} ms until it answers, {REQUESTS:,.0f} requests a second in all (what S3 states "
        "for one prefix), 10 Gbit/s a machine. **Assumed.**",
        f"* Prices: {CORE_PRICE:g} USD a core-hour, {GPU_PRICE:g} USD a GPU-hour, {1e6 * GET_PRICE:g} USD a million "
        f"requests, {STORED_PRICE:g} USD a GB and month. **Assumed**: put in your own.",
    ]
    return "\n".join(["Assumed:", "", *lines, ""])


def _storage(image_bytes: float, row_bytes: float) -> str:
    config = read_model_config(STARTER)
    image, mask, backbone = config.extractor.image, config.extractor.mask, config.backbone
    dim = config.extractor.global_feature.dim(backbone.hidden_size)
    values = image.num_views * (dim + 2 * mask.num_passes * backbone.num_patches)
    kept = {
        "images, as measured": image_bytes,
        "results in Parquet, before compression": row_bytes,
        "score cache": CACHE_ROW,
        "feature store of the bundled model, before compression": 4.0 * values,
    }
    lines = ["| stored | an image | 1 M | 100 M | 1 B |", "|---|---|---|---|---|"]
    for name, size in kept.items():
        cells = " | ".join(f"{size * images / 1e9:,.1f} GB" for images, _ in SIZES.values())
        lines.append(f"| {name} | {size / 1e3:,.1f} kB | {cells} |")
    return "\n".join(["## Storage", "", *lines, ""])


_INTRODUCTION = """# From one folder to a billion images: what it takes

Written by `python -m benchmarks.scale.page` from `benchmarks/results/scale.json`. What was measured is said first; all
else is computed from it by a simulation, and what it assumes is marked.

## What was measured
"""
_BUSY = (
    "**These are the processor's seconds, not the wall's**, because the machine was busy with other work: seconds in\n"
    "which a worker waited for a core or for the disk are not in them. On a quiet machine run\n"
    "`python -m benchmarks.scale.measured --save` and then this page's command again."
)
_MISSED = (
    "The simulation lies outside its tolerance in the rows marked **missed**: workers hold each other up in ways that "
    "it does not know (caches, memory, other work on the machine). Read the plan below as what it is without that."
)
_SIMULATION = """## The plan

`benchmarks/scale/pipeline.py` sends images through reader → decoder → model → writer, with queues between them, cores
and GPUs that are busy or free, and a store that answers so many requests a second. It draws each image's times from
those measured while both cores were busy: neighbours share what one core alone has to itself. The number of machines is
the least that is done within about a day (1 M), three days (100 M) and a week (1 B).
"""
_MONEY = """## Money

    USD = machines x hours x price of a machine-hour + images x price of a request
          + GB kept x months x price of a GB-month

`hours = images / (3600 x rate)`, `rate` of the table. Reading out of a cloud costs more than all of this at usual
prices: score where the images are. Exact copies cost a hash in place of a score ([cache.md](cache.md)); where a share
d of the images are copies, model and decoding time fall by d.
"""
_LIMITS = """## What it leaves out

Machines that fail and are replaced; stragglers; images of other sizes than the measured ones (decoding grows with their
pixels); memory, which does not grow with the number of images but for the list of them, some hundred bytes an image: a
billion are best split by prefix into runs of some ten million. Listing a store costs a request for every 1000 objects.
"""


def main() -> None:
    """Write the page, or with --check say whether it is current."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if the page is not current")
    options = parser.parse_args()
    text = render(json.loads((RESULTS / "scale.json").read_text(encoding="utf-8"))[-1])
    if not options.check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        sys.exit(f"{PAGE} is not current: run python -m benchmarks.scale.page")


if __name__ == "__main__":
    main()
