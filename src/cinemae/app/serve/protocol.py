"""uvicorn's HTTP/1.1 protocol with the limits that it lacks: slow headers, slow readers, too many connections.

uvicorn's one timeout (keep-alive) is cancelled by the first byte of a request, so a client that sends a byte now and
then keeps a connection for ever. Here a request line and its headers have a deadline, a client that goes on sending
after an early answer has one, and so has one that does not read its answer. A body's own deadline is in
`cinemae.app.serve.body`.

A body in chunks (``Transfer-Encoding``) is not read at all: chunks of a byte each keep the parser busy at less than two
megabytes a second, and everyone else waits. `cinemae.app.serve.body` answers it 411.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from cinemae.app.serve.config import HEADER_SECONDS, LINGER_SECONDS, MAX_CONNECTIONS
from cinemae.app.serve.problems import CLOSE, overloaded

_SLICE = 16 * 1024
"""So much is parsed before it is known whether a body comes in chunks."""


class GuardedProtocol(H11Protocol):
    """One connection.

    Attributes:
        header_seconds: From the connection's start, or the first byte of a later request, to the end of its headers.
        linger_seconds: For a client that still sends when all is answered, or does not take the answer.
        max_connections: Beyond it 503, beyond twice as many nothing at all.
    """

    header_seconds = HEADER_SECONDS
    linger_seconds = LINGER_SECONDS
    max_connections = MAX_CONNECTIONS

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **options)
        self._receive_deadline: asyncio.TimerHandle | None = None
        self._send_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first request, or turn the connection away."""
        super().connection_made(transport)
        # asyncio does this only where the listening socket names its protocol; without it the kernel holds an answer's
        # body back until the client acknowledges its head, for 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > 2 * self.max_connections:
            transport.abort()
        elif len(self.connections) > self.max_connections:
            self.app = _turn_away
        self._receive_deadline = self._after(self.header_seconds, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop all deadlines."""
        self._stop_receive_deadline()
        self._stop_send_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, then look what the connection waits for."""
        while data:
            plain_body = self.conn.their_state is h11.SEND_BODY and not self._in_chunks()
            part, data = (data, b"") if plain_body else (data[:_SLICE], data[_SLICE:])
            super().data_received(part)
            if self.transport.is_closing():
                break
            if self.conn.their_state is h11.SEND_BODY and self._in_chunks():
                self.cycle.keep_alive = False
                self.flow.pause_reading()
                break
        if self.transport.is_closing():
            self._start_send_deadline()
        if self.conn.their_state is h11.IDLE:
            if self._receive_deadline is None:  # a later request has begun
                self._receive_deadline = self._after(self.header_seconds, self.transport.abort)
        elif self.conn.their_state is not h11.SEND_BODY or not self.cycle.response_complete:
            self._stop_receive_deadline()

    def on_response_complete(self) -> None:
        """Give whoever has not sent or read all a last while."""
        super().on_response_complete()
        self._stop_receive_deadline()
        if self.transport.is_closing():
            self._start_send_deadline()
        elif self.conn.their_state is h11.SEND_BODY:
            self._receive_deadline = self._after(self.linger_seconds, self.transport.abort)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also one that never reads what it was sent."""
        super().timeout_keep_alive_handler()
        self._start_send_deadline()

    def pause_writing(self) -> None:
        """Start the deadline of a client that does not read."""
        super().pause_writing()
        self._start_send_deadline()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_send_deadline()

    def _in_chunks(self) -> bool:
        return any(name == b"transfer-encoding" for name, _ in self.headers)

    def _after(self, seconds: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        return self.loop.call_later(seconds, action)

    def _start_send_deadline(self) -> None:
        if self._send_deadline is None:
            self._send_deadline = self._after(self.linger_seconds, self.transport.abort)

    def _stop_send_deadline(self) -> None:
        if self._send_deadline is not None:
            self._send_deadline.cancel()
            self._send_deadline = None

    def _stop_receive_deadline(self) -> None:
        if self._receive_deadline is not None:
            self._receive_deadline.cancel()
            self._receive_deadline = None


async def _turn_away(scope: Scope, receive: Receive, send: Send) -> None:
    problem = overloaded("too many connections are open: come again later.", HEADER_SECONDS)
    problem.headers |= CLOSE
    await problem.response()(scope, receive, send)
