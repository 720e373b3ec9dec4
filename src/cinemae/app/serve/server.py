"""Listening, and ending: uvicorn with our protocol, logs and patience."""

from __future__ import annotations

import ipaddress
import logging.config
import os
import signal
import socket
from collections.abc import Callable

import uvicorn
from PIL import Image

from cinemae.app.serve.application import create_app
from cinemae.app.serve.config import KEEP_ALIVE_SECONDS, LINGER_SECONDS, MAX_HEADER_BYTES, ServeConfig
from cinemae.app.serve.keys import ApiKeys
from cinemae.app.serve.logs import LOGGING, logger
from cinemae.app.serve.protocol import GuardedProtocol
from cinemae.detect.detector import Detector
from cinemae.errors import ConfigError

BACKLOG = 2048


def serve(config: ServeConfig, detector: Detector, keys: ApiKeys, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; then take no more, answer what was taken, and return.

    Args:
        config: Where to listen, and the limits.
        detector: Scores the images.
        keys: Who may ask.
        announce: Is given the address when connections are taken.

    Raises:
        ConfigError: If the address cannot be listened on.
    """
    with listen(config.host, config.port) as listener:
        logging.config.dictConfig(LOGGING)
        logging.captureWarnings(True)
        detector.detect(Image.new("RGB", (64, 64)))  # a model that cannot score must not seem ready
        url = address_of(listener)
        if not keys.required and not is_loopback(config.host):
            logger.warning("open to everyone who reaches %s: no API key is set", url)
        server = make_server(config, detector, keys)
        # uvicorn takes the signal only while it runs, and raises it once more when all is done: neither may kill.
        before = signal.signal(signal.SIGTERM, server.handle_exit)
        try:
            announce(url)
            server.run(sockets=[listener])
        finally:
            signal.signal(signal.SIGTERM, before)


def make_server(
    config: ServeConfig, detector: Detector, keys: ApiKeys, protocol: type[GuardedProtocol] = GuardedProtocol
) -> uvicorn.Server:
    """Return a server that has still to be given its socket.

    Args:
        config: The limits.
        detector: Scores the images.
        keys: Who may ask.
        protocol: What speaks with a connection.
    """
    settings = uvicorn.Config(
        create_app(config, detector, keys),
        http=protocol,
        ws="none",
        lifespan="on",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(2 * config.timeout + LINGER_SECONDS),
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )
    return uvicorn.Server(settings)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: If there is no such address, or it is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        code = error.errno or 0  # those of names that are not found are below 0
        reason = os.strerror(code) if code > 0 else error.strerror or error
        raise ConfigError(
            f"cannot listen on {host} port {port} ({reason}): choose another --host or --port."
        ) from error


def address_of(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine's own.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("example.org")
        (True, True, False, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
