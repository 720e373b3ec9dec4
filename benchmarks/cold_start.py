"""Cold start: a whole process of `cinemae detect one.jpg` against one of `python -c "import torch"`.

Cold means a new process; files come from the disk cache and modules are compiled, as from the second call on.
`python -X importtime` says which packages the imports' time goes to; it slows them down, so its figures are for
comparison with each other. Memory is the most that the process of `cinemae detect` held at once, as
the system counts it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from unittest import mock

from benchmarks.measure import (
    KILOBYTES,
    ROOT,
    Record,
    Target,
    WrongAnswerError,
    make_parser,
    median_ratio,
    require_close,
    run,
    take_turns,
)

DETECT = "cinemae detect one.jpg"
TORCH = 'python -c "import torch"'
HELP = "cinemae --help"
LISTED = 8  # packages, the slowest to import
MOST_MEMORY = 400.0
"""Megabytes that scoring one image may take."""
_WITH_PEAK = f"""
import atexit, runpy, sys
{KILOBYTES}
atexit.register(lambda: print(kilobytes("VmHWM"), file=sys.stderr))
sys.argv[0] = "cinemae"
runpy.run_module("cinemae", run_name="__main__")
"""


def measure(options: argparse.Namespace) -> Record:
    """Check the verdict of the command line and what it imports, then time the three processes in turns."""
    with tempfile.TemporaryDirectory() as compiled, mock.patch.dict(os.environ, PYTHONPYCACHEPREFIX=compiled):
        return _measure(options)


def _measure(options: argparse.Namespace) -> Record:
    model = ["--model", options.model] if options.model else []
    detect = ["-m", "cinemae", "detect", options.image, *model]
    checks = _check(detect, options)
    commands = {DETECT: detect, TORCH: ["-c", "import torch"], HELP: ["-m", "cinemae", "--help"]}
    samples = take_turns({name: lambda line=line: _python(*line) for name, line in commands.items()}, options.rounds)
    memory = max(_peak_megabytes(*detect[2:]) for _ in range(3))
    ratio, of_help = (median_ratio(samples[name], samples[TORCH]) for name in (DETECT, HELP))
    return Record(
        benchmark="cold_start",
        settings={"rounds": options.rounds, "model": options.model or "the bundled starter"},
        checks=checks,
        figures={
            **{f"{name}, s": statistics.median(seconds) for name, seconds in samples.items()},
            "detect / import torch": ratio,
            "help / import torch": of_help,
            f"{DETECT}, memory at most, MB": memory,
            **_import_times(DETECT, detect, options.rounds),
            **_import_times(HELP, commands[HELP], options.rounds),
        },
        targets=[
            Target("cold detect / import torch", ratio, 0.5, at_least=False),
            Target("help / import torch", of_help, 0.25, at_least=False),
            Target(f"memory of {DETECT} at most, MB", memory, MOST_MEMORY, at_least=False),
        ],
        samples=samples,
    )


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise WrongAnswerError(f"{shlex.join(arguments)} ended with {done.returncode}: {done.stderr[-500:]}")
    return done


def _peak_megabytes(*arguments: str) -> float:
    return int(_python("-c", _WITH_PEAK, *arguments).stderr.split()[-1]) * 1024 / 1e6


def _import_times(name: str, arguments: list[str], rounds: int) -> dict[str, float]:
    """Return the milliseconds that the slowest packages take to import, each without what it imports from others."""
    runs = []
    for _ in range(rounds):
        spent: Counter[str] = Counter()
        for line in _python("-X", "importtime", *arguments).stderr.splitlines():
            own, _, module = (part.strip() for part in line.removeprefix("import time:").rpartition("|"))
            microseconds = own.partition("|")[0].strip()
            if microseconds.isdigit():
                package = module.partition(".")[0]
                spent["the standard library" if package in sys.stdlib_module_names else package] += int(microseconds)
        runs.append(spent)
    medians = {package: statistics.median(run[package] for run in runs) / 1e3 for package in runs[0]}
    slowest = sorted(medians, key=lambda package: -medians[package])[:LISTED]
    return {f"imports of {name} | {package} | ms": medians[package] for package in slowest}


def _check(detect: list[str], options: argparse.Namespace) -> dict[str, float]:
    """Compare the score with the library's and with torch's; see that neither torch nor transformers was imported."""
    from cinemae import Detector
    from cinemae.models.directory import resolve_model
    from cinemae.models.scorers import TorchScorer

    done = _python("-X", "importtime", *detect, "--format", "jsonl")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    if heavy := imported & {"torch", "transformers"}:
        raise WrongAnswerError(f"cinemae detect imports {' and '.join(sorted(heavy))}, which the light install lacks.")
    found = json.loads(done.stdout)["prob_fake"]
    library = Detector.from_pretrained(options.model).detect(options.image)
    exact = Detector.from_pretrained(options.model, precision="fp32").detect(options.image)
    torch = Detector(TorchScorer(resolve_model(options.model), device="cpu")).detect(options.image)
    return {
        "prob_fake, command line and library": require_close("prob_fake", found, library.prob_fake, 1e-6),
        "prob_fake in float32, and torch": require_close("prob_fake", exact.prob_fake, torch.prob_fake, 1e-4),
    }


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="how often each process is timed")
    parser.add_argument("--model", help="a model directory; without it the bundled starter")
    parser.add_argument("--image", default=str(ROOT / "examples" / "astronaut.jpg"), help="the photograph to score")
    run(measure, parser)


if __name__ == "__main__":
    main()
