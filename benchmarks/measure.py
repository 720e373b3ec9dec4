"""What every benchmark does the same way: take turns, check the answer, say what was measured where, keep the record.

Figures are compared within one run only. Contestants take turns, round by round, so that whatever else the machine does
falls on all of them, and a ratio is the median over the rounds of the ratio within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from cinemae.evaluation.versions import processor
from cinemae.sources.whole_files import replacing

ROOT = Path(__file__).resolve().parent.parent
LIKE_BUNDLED = (
    "Measured with a model made as the bundled one is, but without the fold of DALL-E 3, Stable Diffusion 1 and FLUX "
    "and of a quarter of the photographs; its pictures are of that fold, delivered as the web does. The bundled one "
    "has learnt from all pictures at hand, so that it cannot be measured on them.\n\n"
)
"""What pages say that are about the bundled model."""
RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("cinemae", "numpy", "pillow", "onnxruntime", "torch", "transformers", "pyarrow")

KILOBYTES = """
def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name + ":"))
"""
"""For programs of processes that are weighed: VmRSS, what a process holds now, or VmHWM, the most it has held."""

Samples = dict[str, list[float]]


class WrongAnswerError(Exception):
    """The fast path does not give what the exact path gives, so its speed means nothing."""


@dataclass(frozen=True)
class Target:
    """A bound that the project promises.

    Attributes:
        what: The figure, in words.
        value: What was measured.
        bound: What is promised.
        at_least: Whether the value must reach the bound, or stay at or below it.
    """

    what: str
    value: float
    bound: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether the measured value keeps the promise."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        sign = "at least" if self.at_least else "at most"
        return f"{self.what}: {self.value:.3g}, target {sign} {self.bound:g}: {'met' if self.met else 'MISSED'}"


@dataclass(frozen=True)
class Record:
    """One run of one benchmark.

    Attributes:
        benchmark: Name of its module.
        settings: What it was run with.
        checks: What was compared with the exact path, and the largest difference found.
        figures: What was measured; each name ends in its unit.
        targets: The promises, with what was measured.
        samples: Every single measurement, in seconds.
    """

    benchmark: str
    settings: dict[str, Any]
    checks: dict[str, float]
    figures: dict[str, float]
    targets: list[Target]
    samples: Samples = field(default_factory=dict)


def take_turns(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Samples:
    """Run all contestants in every round, each round begun by the next of them.

    Args:
        contestants: What to run, by name.
        rounds: How often each is timed.
        warm_up: Rounds before, not timed.
        clock: Seconds; `time.process_time` for what the processor spent on this process alone.

    Returns:
        Seconds of each run, by name.
    """
    samples: Samples = {name: [] for name in contestants}
    names = list(contestants)
    for index in range(-warm_up, rounds):
        shift = index % len(names)
        for name in names[shift:] + names[:shift]:
            begin = clock()
            contestants[name]()
            seconds = clock() - begin
            if index >= 0:
                samples[name].append(seconds)
    return samples


def median_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Return the median over the rounds of numerator / denominator.

    Example:
        >>> median_ratio([2.0, 8.0, 3.0], [1.0, 2.0, 1.0])
        3.0
    """
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def require_close(what: str, found: object, expected: object, tolerance: float) -> float:
    """Return the largest absolute difference.

    Raises:
        WrongAnswerError: If it is above `tolerance`, or not a number.
    """
    difference = float(np.abs(np.asarray(found, np.float64) - np.asarray(expected, np.float64)).max())
    if not difference <= tolerance:
        raise WrongAnswerError(f"{what}: differs from the exact path by {difference:.3g}, allowed is {tolerance:g}.")
    return difference


def describe_machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, load, versions, commit."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {
        "cpu": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "commit": _commit(),
    }


def load_average() -> float | None:
    """Return the mean number of running processes over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _commit() -> str | None:
    """Return the commit's first 12 digits, with a + if src or benchmarks differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        changes = git("status", "--porcelain", "--", "src", "benchmarks/*.py")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the option that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=(description or "").partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--save", action="store_true", help="append the record to benchmarks/results/")
    return parser


def run(measure: Callable[[argparse.Namespace], Record], parser: argparse.ArgumentParser) -> None:
    """Measure, print, and with --save keep the record. A missed target is printed; a wrong answer ends with 1."""
    options = parser.parse_args()
    when, load = datetime.now(UTC).isoformat(timespec="seconds"), load_average()
    try:
        record = measure(options)
    except WrongAnswerError as error:
        sys.exit(f"wrong answer: {error}")
    _show(record, load)
    if options.save:
        print(f"saved to {_append(record, when, load)}")


def _show(record: Record, load: float | None) -> None:
    print(f"{record.benchmark}  (load before: {load})")
    for what, difference in record.checks.items():
        print(f"  checked  {what}: largest difference {difference:.2g}")
    for name, value in record.figures.items():
        print(f"  {name:<55} {value:10.4g}")
    for target in record.targets:
        print(f"  {target}")


def _append(record: Record, when: str, load: float | None) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{record.benchmark}.json"
    records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    values = asdict(record)
    values["samples"] = {name: [round(value, 5) for value in row] for name, row in record.samples.items()}
    records.append({"when": when, "load_before": load, "machine": describe_machine(), **values})
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    return path
