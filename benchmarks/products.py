"""Rates of matrix products on this machine: a large one, and those that the method's layers ask for.

By oneDNN, which `FrozenMAE` uses, and by torch as it comes. Rows are the tokens of one image and of eight, the whole
image and two masked passes packed; widths are those of ViT-L's encoder and decoder.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.measure import Record, make_parser, require_close, run, take_turns
from cinemae.core.linear import use_onednn

SHAPES = {
    "large": (4096, 4096, 4096),
    **{
        f"encoder, batch {n}, {a} to {b}": (297 * n, a, b)
        for n in (1, 8)
        for a, b in ((1024, 1024), (1024, 4096), (4096, 1024))
    },
    **{
        f"decoder, batch {n}, {a} to {b}": (394 * n, a, b)
        for n in (1, 8)
        for a, b in ((512, 512), (512, 2048), (2048, 512))
    },
}


def measure(options: argparse.Namespace) -> Record:
    """Check that both libraries agree, then time them in turns, shape by shape."""
    checks, figures, samples = {}, {}, {}
    for name, (rows, inputs, outputs) in SHAPES.items():
        torch.manual_seed(0)
        plain = nn.Linear(inputs, outputs).requires_grad_(False)
        fast = nn.Sequential(plain)
        use_onednn(fast)
        x = torch.randn(rows, inputs)
        checks[name] = require_close(name, fast(x), plain(x), 1e-4)
        ways: dict[str, Callable[[], object]] = {
            "oneDNN": lambda fast=fast, x=x: fast(x),  # type: ignore[misc]
            "torch": lambda plain=plain, x=x: plain(x),  # type: ignore[misc]
        }
        for way, seconds in take_turns(ways, options.rounds).items():
            figures[f"product | {name} | {way}, GFLOP/s"] = 2e-9 * rows * inputs * outputs / statistics.median(seconds)
            samples[f"{name}, {way}"] = seconds
    return Record(
        "products", {"rounds": options.rounds, "threads": torch.get_num_threads()}, checks, figures, [], samples
    )


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="how often each is timed")
    run(measure, parser)


if __name__ == "__main__":
    main()
