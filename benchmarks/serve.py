"""Throughput of `cinemae serve` against requests one by one, and latency at half load.

Services with the same model get the same requests from the same number of clients, in turns: one as it is shipped, one
that scores a request's image before it looks at the next (a single worker, no batch), one whose single worker takes
eight at a time, and one that scores each request in a thread of its own, as a plain FastAPI function does. Two more are
asked by a single client, one request after the other: one as it is shipped, and the one with the single worker, which
is the quickest for that. The clients share the cores with the service.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from benchmarks.folder import SIZE, write_photograph
from benchmarks.measure import Record, Target, make_parser, median_ratio, require_close, run, take_turns
from benchmarks.serve_process import Connection, Process, request, serving
from cinemae.detect.detector import Detector
from cinemae.settings import usable_cores

SIZES = {"12 megapixels": SIZE, "1 megapixel": (1152, 864)}
ONE_WORKER = ["--workers", "1", "--max-batch", "1"]
ONE_CLIENT = {"as shipped, one client": [], "one by one, one client": ONE_WORKER}
KINDS = {
    "as shipped": [],
    "one by one": ONE_WORKER,
    "one worker, batches of 8": ["--workers", "1", "--max-batch", "8"],
    "a thread each": ["--workers", "32", "--max-batch", "1"],
    **ONE_CLIENT,
}


def measure(options: argparse.Namespace) -> Record:
    """Start the services, ask them for images of each size, and put what was found together."""
    flags = ["--queue", "256", "--timeout", "120", *(["--model", options.model] if options.model else [])]
    settings = {name: getattr(options, name) for name in ("clients", "requests", "rounds", "seconds", "images")}
    whole = Record("serve", {**settings, "model": options.model or "the bundled starter"}, {}, {}, [])
    with ExitStack() as stack:
        services = {name: stack.enter_context(serving([*flags, *more])) for name, more in KINDS.items()}
        for size, pixels in SIZES.items():
            _measure_size(options, services, size, _photographs(options.images, pixels), whole)
    return whole


def _measure_size(
    options: argparse.Namespace, services: dict[str, Process], size: str, images: Sequence[bytes], found: Record
) -> None:
    """Check the answers, time the services in turns, then ask the shipped one at half its pace; add to the record."""
    shipped = services["as shipped"].port
    found.checks[f"prob_fake, service and library, {size}"] = _check(options, shipped, images)
    before = {name: _processor_seconds(one) for name, one in services.items()}
    clients = {name: 1 if name in ONE_CLIENT else options.clients for name in services}
    asking = {name: _asking(one.port, images, options.requests, clients[name]) for name, one in services.items()}
    taken = take_turns(asking, options.rounds)
    asked = options.requests * (options.rounds + 1)  # with the round to warm up
    rate = {name: options.requests / statistics.median(values) for name, values in taken.items()}
    for name, one in services.items():
        found.samples[f"{size}, {name}"] = taken[name]
        found.figures[f"{size}, {name}, images/s"] = rate[name]
        spent = _processor_seconds(one) - before[name]
        found.figures[f"{size}, {name}, processor ms/image"] = 1e3 * spent / asked
        found.figures[f"{size}, {name}, memory afterwards, MB"] = _memory(one)
    waits = asyncio.run(_ask_at(shipped, images, rate["as shipped"] / 2, options.seconds))
    middle, late = statistics.median(waits), float(np.quantile(waits, 0.99))
    found.samples[f"{size}, at half load"] = waits
    found.figures[f"{size}, half load, median s"] = middle
    found.figures[f"{size}, half load, 99th percentile s"] = late
    possible = usable_cores() * 1e3 / found.figures[f"{size}, as shipped, processor ms/image"]
    found.figures[f"{size}, most that the cores allow, images/s"] = possible
    found.figures[f"{size}, most that the cores allow / one by one"] = possible / rate["one by one"]
    for name in (*ONE_CLIENT, "one by one"):
        gain = median_ratio(taken[name], taken["as shipped"])
        found.targets.append(Target(f"as shipped / {name}, {size}", gain, 1.5, at_least=True))
    found.targets.append(Target(f"99th percentile / median at half load, {size}", late / middle, 5.0, at_least=False))


def _photographs(number: int, pixels: tuple[int, int]) -> list[bytes]:
    """Return JPEGs as a camera or a web page has them."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [write_photograph(Path(folder), index) for index in range(number)]
        if pixels != SIZE:
            for path in paths:
                Image.open(path).resize(pixels, Image.Resampling.BICUBIC).save(path, quality=85)
        return [path.read_bytes() for path in paths]


def _memory(service: Process) -> float:
    return psutil.Process(service.popen.pid).memory_info().rss / 1e6


def _processor_seconds(service: Process) -> float:
    times = psutil.Process(service.popen.pid).cpu_times()
    return float(times.user + times.system)


def _check(options: argparse.Namespace, port: int, images: Sequence[bytes]) -> float:
    expected = [verdict.prob_fake for verdict in Detector.from_pretrained(options.model).detect_batch(images)]
    found = asyncio.run(_ask_all(port, images, len(images), options.clients))
    return require_close("prob_fake", found, expected, 0.0)


def _asking(port: int, images: Sequence[bytes], requests: int, clients: int) -> Callable[[], object]:
    return lambda: asyncio.run(_ask_all(port, images, requests, clients))


async def _ask_all(port: int, images: Sequence[bytes], requests: int, clients: int) -> list[float]:
    """Let so many clients send so many requests in all, each as soon as its last was answered; return the scores."""
    left, scores = iter(range(requests)), [0.0] * requests

    async def client() -> None:
        connection = Connection(port)
        for index in left:
            scores[index] = await _ask(connection, images[index % len(images)])
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return scores


async def _ask_at(port: int, images: Sequence[bytes], rate: float, seconds: float) -> list[float]:
    """Send so many requests a second at random times, earlier ones answered or not; return how long each took."""
    rng = np.random.default_rng(0)
    count = max(20, round(rate * seconds))
    starts = np.cumsum(rng.exponential(1 / rate, count))
    begin = time.perf_counter()

    async def one(index: int) -> float:
        await asyncio.sleep(starts[index])
        connection = Connection(port)
        await _ask(connection, images[index % len(images)])
        connection.close()
        return float(time.perf_counter() - begin - starts[index])

    return list(await asyncio.gather(*(one(index) for index in range(count))))


async def _ask(connection: Connection, image: bytes) -> float:
    reply = await connection.ask(request("/v1/detect", image, "image/jpeg"))
    if reply.status != 200:
        raise RuntimeError(f"the service answered {reply.status}: {reply.body[:200]!r}")
    return float(reply.json["results"][0]["prob_fake"])


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--clients", type=int, default=32, help="at one time")
    parser.add_argument("--requests", type=int, default=64, help="of one service in one round")
    parser.add_argument("--rounds", type=int, default=5, help="how often each service is asked")
    parser.add_argument("--seconds", type=float, default=20.0, help="at half load")
    parser.add_argument("--images", type=int, default=12, help="different ones")
    parser.add_argument("--model", help="a model directory; without it the bundled starter")
    run(measure, parser)


if __name__ == "__main__":
    main()
