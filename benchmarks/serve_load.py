"""Hundreds of clients, good, broken, huge, slow and leaving, on the service at once: what goes wrong?

Every answer is compared with the score that the library gives the same image. The service's memory is watched. In the
end it is told to terminate in mid-load, and all that it had accepted must still be answered.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import random
import statistics
import struct
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks.measure import Record, Target, WrongAnswerError, make_parser, run
from benchmarks.serve_process import Connection, Process, Reply, form, request, serving
from cinemae.detect.detector import Detector

MAX_BYTES = 4 * 2**20
MEMORY_MB = 40.0
"""How much larger the service may be at the end than after its first third."""

FORMATS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("JPEG", {"quality": 90}),
    ("PNG", {}),
    ("WEBP", {"quality": 80}),
    ("JPEG", {"quality": 50, "progressive": True}),
)


@dataclass
class Seen:
    """What the clients saw.

    Attributes:
        answers: How often each kind of request got each status.
        wrong: Sentences on answers that are not what they must be.
        seconds: From a good request to its answer.
    """

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Load:
    """What is sent, and what must come back.

    Attributes:
        port: Of the service.
        images: Encoded pictures.
        expected: The library's verdict on each.
        end: When to stop, by `time.perf_counter`.
        seen: What came.
    """

    port: int
    images: list[bytes]
    expected: list[dict[str, Any]]
    end: float
    seen: Seen


def measure(options: argparse.Namespace) -> Record:
    """Make the images, start the service, load it, end it."""
    detector = Detector.from_pretrained(options.model)
    images = [_draw(index) for index in range(24)]
    expected = [verdict.to_dict() for verdict in detector.detect_batch(images)]
    flags = ["--max-bytes", str(MAX_BYTES), "--max-files", "8", "--timeout", "20"]
    if options.model:
        flags += ["--model", options.model]
    seen = Seen()
    with serving(flags) as service:
        load = Load(service.port, images, expected, time.perf_counter() + options.seconds, seen)
        memory = asyncio.run(_run(load, options.clients, service))
        unanswered, code = asyncio.run(_terminate(load, service))
    if seen.wrong:
        raise WrongAnswerError(f"{len(seen.wrong)} answers, the first: {seen.wrong[0]}")
    third = max(1, len(memory) // 3)
    grown = statistics.median(memory[-third:]) - statistics.median(memory[third : 2 * third] or memory)
    failed = sum(number for (_, status), number in seen.answers.items() if status >= 500 and status != 503)
    return Record(
        benchmark="serve_load",
        settings={"clients": options.clients, "seconds": options.seconds, "model": _name(options.model)},
        checks={"prob_fake of every answer, service and library": 0.0},
        figures={
            **{f"{kind}: answers {status}": number for (kind, status), number in sorted(seen.answers.items())},
            "answers/s": sum(seen.answers.values()) / options.seconds,
            "good requests, median s": statistics.median(seen.seconds),
            "good requests, 99th percentile s": float(np.quantile(seen.seconds, 0.99)),
            "memory at the end, MB": memory[-1],
        },
        targets=[
            Target("5xx other than 503", failed, 0, at_least=False),
            Target("answers lost or swapped", len(seen.wrong), 0, at_least=False),
            Target("growth of memory, MB", grown, MEMORY_MB, at_least=False),
            Target("accepted requests left unanswered by SIGTERM", unanswered, 0, at_least=False),
            Target("exit code after SIGTERM", code, 0, at_least=False),
        ],
        samples={"good request": seen.seconds},
    )


def _name(model: str | None) -> str:
    return Path(model).name if model else "the bundled starter"


def _draw(seed: int) -> bytes:
    """A picture of smooth colour and some noise, another for each seed, in one of a few formats and sizes."""
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(200, 900, 2))
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    noisy = smooth + rng.normal(0, 1 + seed % 9, smooth.shape)
    kind, options = FORMATS[seed % len(FORMATS)]
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


def _bomb() -> bytes:
    """A small PNG of 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(2**22), 9))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


async def _run(load: Load, clients: int, service: Process) -> list[float]:
    """Let all clients ask until the end; return the service's memory over time, in MB."""
    memory: list[float] = []

    async def watch() -> None:
        process = psutil.Process(service.popen.pid)
        while time.perf_counter() < load.end:
            memory.append(process.memory_info().rss / 1e6)
            await asyncio.sleep(0.1)

    await asyncio.gather(watch(), *(_client(load, index) for index in range(clients)))
    return memory


async def _client(load: Load, index: int) -> None:
    """Ask one thing after another, each kind as often as its weight says."""
    rng = random.Random(index)
    kinds = list(_KINDS)
    connection = Connection(load.port)
    while time.perf_counter() < load.end:
        kind = rng.choices(kinds, [_KINDS[name][0] for name in kinds])[0]
        try:
            reply = await _KINDS[kind][1](load, connection, rng)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            load.seen.wrong.append(f"{kind}: the connection broke ({error!r})")
            connection.close()
            continue
        if reply is None:
            continue
        load.seen.answers[kind, reply.status] += 1
        if reply.status == 503:
            if "retry-after" not in reply.headers:
                load.seen.wrong.append(f"{kind}: 503 without Retry-After")
            await asyncio.sleep(rng.uniform(0.1, 0.5))  # impatient: less than the service asks for
    connection.close()


def _compare(load: Load, what: str, rows: list[dict[str, Any]], sent: list[tuple[str | None, int]]) -> None:
    """Note every row that is not the library's verdict on the image that was sent in its place."""
    if len(rows) != len(sent):
        load.seen.wrong.append(f"{what}: {len(sent)} images and {len(rows)} rows")
        return
    for row, (name, index) in zip(rows, sent, strict=True):
        if index < 0:
            if (row["path"], row["status"]) != (name, "error"):
                load.seen.wrong.append(f"{what}: a broken image was answered {row}")
        elif row != {**load.expected[index], "path": name}:
            load.seen.wrong.append(f"{what}: {row} in place of {load.expected[index]}")


async def _one(load: Load, connection: Connection, rng: random.Random) -> Reply:
    index = rng.randrange(len(load.images))
    begin = time.perf_counter()
    reply = await connection.ask(request("/v1/detect", load.images[index], "image/jpeg"))
    if reply.status == 200:
        load.seen.seconds.append(time.perf_counter() - begin)
        _compare(load, "one", reply.json["results"], [(None, index)])
    _expect(load, reply, "one", 200)
    return reply


async def _several(load: Load, connection: Connection, rng: random.Random) -> Reply:
    sent: list[tuple[str | None, int]] = []
    files = []
    for place in range(rng.randint(2, 6)):
        index = rng.randrange(-1, len(load.images))
        name = f"{place}-{index}.png"
        sent.append((name, index))
        files.append((f"../{name}", load.images[index] if index >= 0 else b"no image"))
    reply = await connection.ask(form(files))
    if reply.status == 200:
        _compare(load, "several", reply.json["results"], sent)
    _expect(load, reply, "several", 200)
    return reply


async def _map(load: Load, connection: Connection, rng: random.Random) -> Reply:
    reply = await connection.ask(request("/v1/heatmap", rng.choice(load.images), "image/jpeg"))
    if reply.status == 200 and not reply.body.startswith(b"\x89PNG"):
        load.seen.wrong.append("map: no PNG")
    _expect(load, reply, "map", 200)
    return reply


def _expect(load: Load, reply: Reply, kind: str, *statuses: int) -> None:
    """Note a status that is none of these, nor 503."""
    if reply.status not in (*statuses, 503):
        load.seen.wrong.append(f"{kind}: {reply.status} {reply.body[:200]!r}")


async def _broken(load: Load, connection: Connection, rng: random.Random) -> Reply:
    whole = rng.choice(load.images)
    damaged = rng.choice([whole[: len(whole) // 3], b"hello", b"", b"\xff\xd8\xff" + rng.randbytes(500), _BOMB])
    reply = await connection.ask(request("/v1/detect", damaged, "image/jpeg"))
    _expect(load, reply, "broken", 422)
    return reply


async def _huge(load: Load, connection: Connection, rng: random.Random) -> Reply:
    reply = await connection.ask(request("/v1/detect", bytes(MAX_BYTES + 1), "image/jpeg"))
    _expect(load, reply, "huge", 413)
    connection.close()
    return reply


async def _many(load: Load, connection: Connection, rng: random.Random) -> Reply:
    reply = await connection.ask(form([("a", b"")] * 10_000))
    _expect(load, reply, "many", 413)
    connection.close()
    return reply


async def _slow(load: Load, connection: Connection, rng: random.Random) -> Reply:
    """A good image in drops: slower than others, quick enough."""
    index = rng.randrange(len(load.images))
    data = request("/v1/detect", load.images[index], "image/jpeg")
    _, writer = await connection.open()
    step = len(data) // 8 + 1
    for start in range(0, len(data), step):
        writer.write(data[start : start + step])
        await asyncio.sleep(0.1)
    reply = await connection.answer()
    if reply.status == 200:
        _compare(load, "slow", reply.json["results"], [(None, index)])
    _expect(load, reply, "slow", 200)
    return reply


async def _leaving(load: Load, connection: Connection, rng: random.Random) -> None:
    """Go away in the middle of the headers, of the body, or before the answer."""
    data = request("/v1/detect", rng.choice(load.images), "image/jpeg")
    leaver = Connection(load.port)
    _, writer = await leaver.open()
    writer.write(data[: rng.choice((20, len(data) // 2, len(data)))])
    await asyncio.sleep(rng.uniform(0, 0.1))
    leaver.close()


_BOMB = _bomb()
_Kind = Callable[[Load, Connection, random.Random], Awaitable[Reply | None]]
_KINDS: dict[str, tuple[int, _Kind]] = {
    "one": (50, _one),
    "several": (10, _several),
    "map": (3, _map),
    "broken": (15, _broken),
    "huge": (3, _huge),
    "many": (2, _many),
    "slow": (10, _slow),
    "leaving": (7, _leaving),
}


async def _terminate(load: Load, service: Process, requests: int = 20) -> tuple[int, int]:
    """Send SIGTERM when so many requests are accepted; return how many got no answer, and the exit code."""
    connections = [Connection(load.port) for _ in range(requests)]
    pending = [asyncio.create_task(one.ask(form([("a", load.images[0])] * 3))) for one in connections]
    probe = Connection(load.port)
    ask = request("/metrics", b"", "text/plain", method="GET")
    while True:
        text = (await probe.ask(ask)).body.decode()
        waiting = next(line for line in text.splitlines() if line.startswith("cinemae_images_pending"))
        done = sum(task.done() for task in pending)
        if float(waiting.split()[1]) >= 3 * (requests - done) or done == requests:
            break
    code = await asyncio.to_thread(service.terminate)
    replies = await asyncio.gather(*pending, return_exceptions=True)
    unanswered = 0
    for reply in replies:
        if isinstance(reply, Reply) and reply.status == 200:
            _compare(load, "SIGTERM", reply.json["results"], [("a", 0)] * 3)
        else:
            unanswered += 1
    return unanswered, code


def main() -> None:
    """Run the benchmark from the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--clients", type=int, default=200, help="at one time")
    parser.add_argument("--seconds", type=float, default=60.0, help="of load")
    parser.add_argument("--model", help="a model directory; without it the bundled starter")
    run(measure, parser)


if __name__ == "__main__":
    main()
