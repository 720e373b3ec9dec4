"""``cinemae serve`` in a process of its own, and a small HTTP client that many coroutines can use at once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

BOUNDARY = "cinemae-benchmark"


@dataclass
class Reply:
    """An HTTP answer.

    Attributes:
        status: The code.
        headers: By name in lower case.
        body: As it came.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


@dataclass
class Process:
    """A running service."""

    port: int
    popen: subprocess.Popen[str]

    def terminate(self) -> int:
        """Ask it to end; return its exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(120)


@contextmanager
def serving(options: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Start the service on a free port and end it afterwards, if it still runs; its log is passed over."""
    popen = subprocess.Popen(
        [sys.executable, "-m", "cinemae", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    assert popen.stdout is not None
    line = popen.stdout.readline()
    if " on http://" not in line:
        raise RuntimeError(f"the service did not start: {popen.communicate()[1]}")
    threading.Thread(target=lambda: [None for _ in popen.stderr or ()], daemon=True).start()
    try:
        yield Process(int(line.rpartition(":")[2]), popen)
    finally:
        if popen.poll() is None:
            popen.terminate()
        popen.wait(120)


def request(path: str, body: bytes, content_type: str, *, method: str = "POST") -> bytes:
    """Return a whole request, as it goes over the line."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


def form(files: Sequence[tuple[str, bytes]], path: str = "/v1/detect") -> bytes:
    """Return a request with files by name."""
    parts = []
    for name, data in files:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        parts += [head.encode(), data, b"\r\n"]
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return request(path, body, f"multipart/form-data; boundary={BOUNDARY}")


class Connection:
    """One connection, opened when it is first needed and again after it ended.

    Args:
        port: Of the service, on this machine.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return both ends."""
        if self.writer is None or self.reader is None or self.writer.is_closing() or self.reader.at_eof():
            self.close()
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self.reader, self.writer

    async def ask(self, data: bytes) -> Reply:
        """Send a request and return its answer."""
        _, writer = await self.open()
        writer.write(data)
        with suppress(ConnectionError):  # answered before all was sent
            await writer.drain()
        return await self.answer()

    async def answer(self) -> Reply:
        """Read one answer."""
        reader, _ = await self.open()
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return Reply(int(lines[0].split()[1]), headers, body)

    def close(self) -> None:
        """End it."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None
