"""What the simulation starts from: seconds of each stage on one core, and whole runs with one and with two workers.

The pictures are photographs of 1024x768 from `benchmarks.folder`, scored by the bundled model with one thread. A worker
is a process that reads, decodes, scores and writes verdicts one after the other, as a bulk run's does. Stages are timed
in one worker alone and in two at once, from which a run of two is simulated. Of each run the fastest round counts: on a
machine that others use, slower rounds measure the others. `--clock cpu` counts the processor's seconds instead: for a
busy machine, and blind to workers that wait.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.folder import write_photograph
from benchmarks.measure import Record, Samples, Target, make_parser, run
from benchmarks.scale.pipeline import Cluster, Outcome, Stages, simulate
from cinemae.core.preprocess import preprocess
from cinemae.detect.detector import Detector
from cinemae.evidence.image_warnings import image_warnings
from cinemae.evidence.provenance import read_provenance
from cinemae.pictures.image import load_image
from cinemae.stores.results import RESULT_SCHEMA

SIZE = (1024, 768)
STAGES = ("read", "decode", "model", "write")
BUSY = {1: "", 2: ", both cores busy"}
"""What is said of a stage that was timed in so many workers at once: two may share what a core alone has to itself."""
TOLERANCE = 0.15


def measure(options: argparse.Namespace) -> Record:
    """Time stages and whole runs in turns, simulate both runs from the stages, and hold them against each other."""
    with tempfile.TemporaryDirectory() as name:
        paths = _write_pictures(Path(name), options.images)
        image_bytes = sum(path.stat().st_size for path in paths) / len(paths)
        workers = [_Worker(paths, options.clock) for _ in range(2)]
        samples: Samples = {f"{count} worker{'s' if count > 1 else ''}": [] for count in (1, 2)}
        stages: dict[int, list[dict[str, list[float]]]] = {1: [], 2: []}
        for _ in range(options.rounds):
            for count, rounds in stages.items():
                for worker in workers[:count]:
                    worker.begin_stages()
                first, *_ = [worker.end_stages() for worker in workers[:count]]
                rounds.append(first)
            for count, (_, seconds) in enumerate(samples.items(), 1):
                begin = time.perf_counter()
                for worker in workers[:count]:
                    worker.begin()
                spent = max([worker.end() for worker in workers[:count]])
                seconds.append(spent if options.clock == "cpu" else time.perf_counter() - begin)
        for worker in workers:
            worker.close()
        row_bytes = _row_bytes(paths)
    fastest = {
        count: Stages(*(_fastest([each[stage] for each in rounds]) for stage in STAGES))
        for count, rounds in stages.items()
    }
    by_stage = {
        f"{stage}{busy}": list(getattr(fastest[count], stage)) for count, busy in BUSY.items() for stage in STAGES
    }
    rates = {count: count * len(paths) / min(values) for count, values in enumerate(samples.values(), 1)}
    simulated = {count: simulate_local(fastest[count], count, images=2000) for count in (1, 2)}
    off = {count: abs(simulated[count].rate / rates[count] - 1) for count in (1, 2)}
    return Record(
        benchmark="scale",
        settings={
            "images": options.images,
            "rounds": options.rounds,
            "size": f"{SIZE[0]}x{SIZE[1]}",
            "clock": options.clock,
        },
        checks={},
        figures={
            **{f"{stage}, ms/image": 1e3 * sum(seconds) / len(paths) for stage, seconds in by_stage.items()},
            **{f"{count} worker(s), measured, images/s": rates[count] for count in (1, 2)},
            **{f"{count} worker(s), simulated, images/s": simulated[count].rate for count in (1, 2)},
            "two workers / one, measured": rates[2] / rates[1],
            "an image, bytes": image_bytes,
            "a row of results, bytes": row_bytes,
        },
        targets=[
            Target(f"simulated against measured, {count} worker(s), relative", off[count], TOLERANCE, at_least=False)
            for count in (1, 2)
        ],
        samples={**samples, **{f"stage {stage}": seconds for stage, seconds in by_stage.items()}},
    )


def simulate_local(stages: Stages, workers: int, *, images: int) -> Outcome:
    """Simulate the measured run: workers that share two cores and read from the local disk."""
    return simulate(stages, Cluster(cores=2, workers=workers), images, seed=0)


def _write_pictures(folder: Path, count: int) -> list[Path]:
    paths = []
    for index in range(count):
        large = write_photograph(folder, index)
        paths.append(folder / f"small-{large.name}")
        with Image.open(large) as picture:
            picture.resize(SIZE, Image.Resampling.LANCZOS).save(paths[-1], quality=85)
        large.unlink()
    return paths


def _fastest(rounds: list[list[float]]) -> list[float]:
    return [min(values) for values in zip(*rounds, strict=True)]


class _Worker:
    """A process with the model loaded that does what it is told by line."""

    def __init__(self, paths: list[Path], clock: str) -> None:
        command = [sys.executable, "-m", "benchmarks.scale.measured", "--child", clock, *map(str, paths)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._ask("warm up")
        self.end()

    def begin_stages(self) -> None:
        self._ask("stages")

    def end_stages(self) -> dict[str, list[float]]:
        """Wait for the seconds of each stage, a value a picture."""
        assert self._process.stdout is not None
        found: dict[str, list[float]] = json.loads(self._process.stdout.readline())
        return found

    def begin(self) -> None:
        self._ask("run")

    def end(self) -> float:
        """Wait for the end of a run; return the processor's seconds that it took."""
        assert self._process.stdout is not None
        return float(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()


def _serve(clock: str, paths: list[str]) -> None:
    now = time.process_time if clock == "cpu" else time.perf_counter
    detector = Detector.from_pretrained(num_threads=1)
    for line in sys.stdin:
        print(
            json.dumps(_time_stages(detector, paths, now)) if line.strip() == "stages" else _score(detector, paths),
            flush=True,
        )


def _score(detector: Detector, paths: list[str]) -> float:
    begin, written = time.process_time(), io.StringIO()
    for path in paths:
        written.write(json.dumps(_judge_one(detector, path)) + "\n")
    return time.process_time() - begin


def _judge_one(detector: Detector, path: str) -> dict[str, object]:
    """Judge in this thread: a bulk run's process has as many threads as cores were given to it, here one."""
    return detector.detect(path).to_dict()


def _time_stages(detector: Detector, paths: list[str], now: Callable[[], float]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {stage: [] for stage in STAGES}
    config = detector.config.extractor.image
    for path in paths:
        ticks = [now()]
        data = Path(path).read_bytes()
        ticks.append(now())
        loaded = load_image(data)
        pixel_values = preprocess(loaded.image, config)
        image_warnings(loaded, config)
        read_provenance(data)
        ticks.append(now())
        detector.scorer.score(pixel_values[None])
        ticks.append(now())
        json.dumps({"path": path})
        ticks.append(now())
        for stage, before, after in zip(STAGES, ticks, ticks[1:], strict=False):
            found[stage].append(after - before)
    return found


def _row_bytes(paths: list[Path]) -> float:
    rows = [{**verdict.to_dict(), "error_message": None} for verdict in Detector.from_pretrained().detect_batch(paths)]
    rows = [{**row, "redeliveries": None} for row in rows]
    file = io.BytesIO()  # without what dictionaries save where rows repeat: these are few
    pq.write_table(pa.Table.from_pylist(rows, schema=RESULT_SCHEMA), file, compression="none", use_dictionary=False)
    return len(file.getvalue()) / len(rows)


def main() -> None:
    """Run the benchmark from the command line."""
    if sys.argv[1:2] == ["--child"]:
        _serve(sys.argv[2], sys.argv[3:])
        return
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=int, default=24, help="pictures of a run")
    parser.add_argument("--rounds", type=int, default=12, help="how often each is timed")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="what is counted")
    run(measure, parser)


if __name__ == "__main__":
    main()
