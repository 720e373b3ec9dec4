"""Cold start: a whole process of `cinemae detect one.jpg` against one of `python -c "import torch"`.

Cold means a new process; the files come from the disk cache, as they do from the second call on.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys

from benchmarks.measure import (
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


def measure(options: argparse.Namespace) -> Record:
    """Check the verdict of the command line and what it imports, then time the three processes in turns."""
    model = ["--model", options.model] if options.model else []
    detect = ["-m", "cinemae", "detect", options.image, *model]
    checks = _check(detect, options)
    commands = {DETECT: detect, TORCH: ["-c", "import torch"], HELP: ["-m", "cinemae", "--help"]}
    samples = take_turns({name: lambda line=line: _python(*line) for name, line in commands.items()}, options.rounds)
    ratio = median_ratio(samples[DETECT], samples[TORCH])
    return Record(
        benchmark="cold_start",
        settings={"rounds": options.rounds, "model": options.model or "the bundled starter"},
        checks=checks,
        figures={
            **{f"{name}, s": statistics.median(seconds) for name, seconds in samples.items()},
            "detect / import torch": ratio,
            "help / import torch": median_ratio(samples[HELP], samples[TORCH]),
        },
        targets=[Target("cold detect / import torch", ratio, 1.0, at_least=False)],
        samples=samples,
    )


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise WrongAnswerError(f"{shlex.join(arguments)} ended with {done.returncode}: {done.stderr[-500:]}")
    return done


def _check(detect: list[str], options: argparse.Namespace) -> dict[str, float]:
    """Compare the score with the library's and with torch's; see that neither torch nor transformers was imported."""
    from cinemae import Detector
    from cinemae.data.model_dir import resolve_model
    from cinemae.scorers import TorchScorer

    done = _python("-X", "importtime", *detect, "--format", "jsonl")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    if heavy := imported & {"torch", "transformers"}:
        raise WrongAnswerError(f"cinemae detect imports {' and '.join(sorted(heavy))}, which the light install lacks.")
    found = json.loads(done.stdout)["prob_fake"]
    library = Detector.from_pretrained(options.model).detect(options.image)
    torch = Detector(TorchScorer(resolve_model(options.model), device="cpu")).detect(options.image)
    return {
        "prob_fake, command line and library": require_close("prob_fake", found, library.prob_fake, 1e-6),
        "prob_fake, command line and torch": require_close("prob_fake", found, torch.prob_fake, 1e-4),
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
