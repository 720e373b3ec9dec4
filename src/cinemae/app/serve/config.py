"""Settings of the service: the one place for their defaults. Imports nothing heavy, the command line reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cinemae.settings import Settings, require, usable_cores

MIB = 2**20
HEADER_SECONDS = 10.0
"""A request line and its headers must be there after so long, from the first byte or from the connection's start."""

KEEP_ALIVE_SECONDS = 5
"""A connection on which nothing is asked is closed after so long."""

LINGER_SECONDS = 5.0
"""After an early answer, or a closing one, so long may a client go on sending or take to read; then it is cut off."""

MAX_CONNECTIONS = 1024
"""Beyond it connections are answered 503, beyond twice as many dropped at once."""

MAX_HEADER_BYTES = 16 * 1024
"""Longest request line and headers."""

IN_FLIGHT_FACTOR = 4
"""Encoded bytes held at one time, in all requests together, as a multiple of the largest request."""


@dataclass(frozen=True)
class ServeConfig(Settings):
    """What ``cinemae serve`` is started with, but for the model and the API keys.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        workers: Images scored at the same time; None for one a core, at most 4.
        max_batch: Most images handed to the model together; None for 1 where the model computes image by image
            (model.onnx on the processor), so that no more pictures are decoded at a time than are scored, else 8.
        max_wait_ms: How long a worker with fewer waits for more, in milliseconds.
        queue: Most images that wait or are scored at one time.
        max_bytes: Largest request, in bytes of its body.
        max_pixels: Largest image, width times height.
        max_files: Most images of one request.
        timeout: Seconds that a request's body may take to arrive, and again its answer to be computed.
        cors_origins: Origins whose pages may call the service; empty for none.
        page: Whether there is a page for people at ``/``.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int | None = None
    max_batch: int | None = None
    max_wait_ms: float = 0.0
    queue: int = 128
    max_bytes: int = 64 * MIB
    max_pixels: int = 50_000_000
    max_files: int = 50
    timeout: float = 30.0
    cors_origins: tuple[str, ...] = ()
    page: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.port <= 65_535, f"a port lies in 0 to 65535, got {self.port}.")
        for name in ("workers", "max_batch", "queue", "max_bytes", "max_pixels", "max_files"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} must be at least 1, got {value}.")
        require(0 <= self.max_wait_ms < math.inf, f"max_wait_ms must be 0 or more, got {self.max_wait_ms}.")
        require(0 < self.timeout < math.inf, f"timeout must be more than 0 seconds, got {self.timeout}.")
        require(
            self.queue >= self.max_files,
            f"the queue must hold at least one request of {self.max_files} files (max_files), got {self.queue}: raise "
            "one or lower the other.",
        )
        for origin in self.cors_origins:
            require(
                origin == "*" or origin.startswith(("http://", "https://")),
                f"a CORS origin is a scheme and a host such as https://example.org, or *, got {origin!r}.",
            )

    @property
    def num_workers(self) -> int:
        """Images scored at the same time."""
        return self.workers or min(4, usable_cores())

    @property
    def threads_per_image(self) -> int:
        """Threads that compute one image: the workers share the cores."""
        return max(1, usable_cores() // self.num_workers)

    @property
    def max_bytes_in_flight(self) -> int:
        """Encoded bytes held at one time."""
        return IN_FLIGHT_FACTOR * self.max_bytes
