"""The service on a real socket: in a thread where the test wants to look inside, in a process where it is to end."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

BOUNDARY = "a-boundary-for-tests"
COMMAND = [sys.executable, "-m", "cinemae", "serve"]


@dataclass
class Answer:
    """Of one request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """Where the service listens."""

    port: int
    service: Any = None
    process: subprocess.Popen[str] | None = None
    log: list[str] = field(default_factory=list)
    reader: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self, timeout: float = 20) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {}, encode_chunked=False)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def raw(self, data: bytes, path: str = "/v1/detect", **headers: str) -> Answer:
        """Send one image as the body."""
        return self.ask("POST", path, data, {"Content-Type": "image/jpeg", **headers})

    def form(self, files: Sequence[tuple[str | None, bytes]], path: str = "/v1/detect", **headers: str) -> Answer:
        """Send images by name as multipart/form-data."""
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.ask("POST", path, multipart(files), {**kind, **headers})

    def talk(self, data: bytes, timeout: float = 20) -> bytes:
        """Send bytes as they are and return all that comes until the connection ends."""
        with self.connect(timeout) as connection:
            with suppress(ConnectionResetError, BrokenPipeError):  # refused before all was sent
                connection.sendall(data)
            return read_all(connection)


def _finish(server: Server, sent: int = signal.SIGTERM) -> tuple[int, list[str]]:
    """End a process and return its exit code and its log."""
    assert server.process is not None
    assert server.reader is not None
    if server.process.poll() is None:
        server.process.send_signal(sent)
    code = server.process.wait(60)
    server.reader.join(60)
    for pipe in (server.process.stdout, server.process.stderr):
        if pipe is not None:
            pipe.close()
    return code, server.log


def multipart(files: Sequence[tuple[str | None, bytes]]) -> bytes:
    parts = []
    for name, data in files:
        given = "" if name is None else f'; filename="{name}"'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"{given}\r\n\r\n'
        parts += [head.encode(), data, b"\r\n"]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def read_all(connection: socket.socket) -> bytes:
    chunks = []
    try:
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    except ConnectionResetError:
        pass
    return b"".join(chunks)


@pytest.fixture(scope="session")
def tools() -> Any:
    """The functions above, for tests: their modules cannot import this one."""

    class Tools:
        BOUNDARY, COMMAND = BOUNDARY, COMMAND
        multipart, read_all, finish = staticmethod(multipart), staticmethod(read_all), staticmethod(_finish)

        @staticmethod
        def encode(picture: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
            buffer = io.BytesIO()
            picture.save(buffer, format, **options)
            return buffer.getvalue()

        @staticmethod
        def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
            end = time.monotonic() + seconds
            while not condition():
                assert time.monotonic() < end, "it did not happen"
                time.sleep(0.01)

    return Tools


@pytest.fixture(scope="session")
def in_thread(tiny_model: Path) -> Callable[..., Any]:
    """``with in_thread(queue=4) as server``: the service of this process, with the tiny model or another detector."""
    from cinemae.app.serve.config import ServeConfig
    from cinemae.app.serve.keys import ApiKeys
    from cinemae.app.serve.protocol import GuardedProtocol
    from cinemae.app.serve.server import listen, make_server
    from cinemae.detect.detector import Detector

    @contextmanager
    def run(
        *, detector: Any = None, keys: Sequence[str] = (), protocol: dict[str, Any] | None = None, **settings: Any
    ) -> Iterator[Server]:
        config = ServeConfig(port=0, **settings)
        kind = type("Protocol", (GuardedProtocol,), protocol or {})
        server = make_server(config, detector or Detector.from_pretrained(tiny_model), ApiKeys(keys), kind)
        with listen(config.host, config.port) as listener:
            port = listener.getsockname()[1]
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                while not server.started:
                    assert thread.is_alive()
                    time.sleep(0.005)
                yield Server(port, server.config.app.state.service)
            finally:
                server.should_exit = True
                thread.join(60)
        assert not thread.is_alive()

    return run


@pytest.fixture
def in_process(tiny_model: Path) -> Iterator[Callable[..., Server]]:
    """``in_process("--queue", "4")`` starts a process of its own; it is ended with the test."""
    started: list[Server] = []

    def start(*options: str, command: Sequence[str] = COMMAND, **environment: str) -> Server:
        process = subprocess.Popen(
            [*command, "--port", "0", "--model", str(tiny_model), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job's children ignore it
        )
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        if " on http://" not in line:
            process.kill()
            pytest.fail(f"the service did not start: {line}{process.stderr.read()}")
        server = Server(int(line.rpartition(":")[2]), process=process)
        server.reader = threading.Thread(target=lambda: server.log.extend(process.stderr or ()), daemon=True)
        server.reader.start()
        started.append(server)
        return server

    yield start
    for server in started:
        _finish(server)
