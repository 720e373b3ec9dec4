"""Objects over HTTP: bodies checked against the length that was announced, and cut off at a limit and a deadline."""

from __future__ import annotations

import time
import urllib.request
from contextlib import closing
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import urllib3

from cinemae.sources.remote_object import (
    OBJECT_DEADLINE,
    READ_TIMEOUT,
    RefusedError,
    RemoteObject,
    TransientError,
    in_short,
)
from cinemae.version import __version__

MAX_REDIRECTS = 5
CONNECT_TIMEOUT = 10.0
_CHUNK = 2**16
_PASSING = frozenset({408, 425, 429})
_NO_RANGES = "the server does not serve parts of a file, which archives are read by; copy it here first"


class HttpStore:
    """``http://`` and ``https://``, through the proxy that the environment names, if any."""

    def __init__(self) -> None:
        self._headers = {"User-Agent": f"cinemae/{__version__}", "Accept-Encoding": "identity"}
        self._pools: dict[str | None, urllib3.PoolManager] = {}

    def read(self, uri: str, size: int | None, limit: int) -> bytes:
        """Return the whole body."""
        with closing(self._request("GET", uri, {})) as response:
            data = _read_body(response, limit)
        if size is not None and len(data) != size:
            raise TransientError(f"{len(data):,} bytes came in place of {size:,}")
        return data

    def read_part(self, uri: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`."""
        with closing(self._request("GET", uri, {"Range": f"bytes={start}-{start + length - 1}"})) as response:
            if response.status != 206:
                raise RefusedError(_NO_RANGES)
            data = _read_body(response, length)
        if len(data) != length:
            raise TransientError(f"{len(data):,} bytes came in place of {length:,}")
        return data

    def size(self, uri: str) -> int:
        """Return the size that the server states for one byte's range: not all answer HEAD."""
        with closing(self._request("GET", uri, {"Range": "bytes=0-0"})) as response:
            total = response.headers.get("Content-Range", "").rpartition("/")[2]
            if response.status != 206 or not total.isdigit():
                raise RefusedError(_NO_RANGES)
            return int(total)

    def find(self, uri: str) -> list[RemoteObject]:
        """Return the object itself, unseen: nothing can be listed over HTTP."""
        return [RemoteObject(uri, None)]

    def write(self, uri: str, data: bytes) -> None:
        """Refuse: nothing is written over HTTP."""
        raise RefusedError("nothing is written over HTTP; name a folder, or an s3:// or gs:// prefix")

    def _request(self, method: str, uri: str, headers: dict[str, str]) -> Any:  # noqa: ANN401 - urllib3's own
        redirects = urllib3.Retry(total=MAX_REDIRECTS, connect=0, read=0, status=0, other=0, redirect=MAX_REDIRECTS)
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
        try:
            response = self._pool(uri).request(
                method,
                uri,
                headers={**self._headers, **headers},
                preload_content=False,
                retries=redirects,
                timeout=timeout,
            )
        except (urllib3.exceptions.LocationValueError, UnicodeError) as error:  # no host, or an unknown scheme
            raise RefusedError(in_short(error)) from error
        except urllib3.exceptions.MaxRetryError as error:
            if isinstance(error.reason, urllib3.exceptions.ResponseError):
                raise RefusedError(f"more than {MAX_REDIRECTS} redirections") from error
            raise TransientError(_plain(error.reason or error)) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise TransientError(_plain(error)) from error
        if response.status in (200, 206):
            return response
        response.close()
        reason = f"the server answered {response.status}"
        raise (TransientError if response.status >= 500 or response.status in _PASSING else RefusedError)(reason)

    def _pool(self, uri: str) -> urllib3.PoolManager:
        parts = urlsplit(uri)
        proxy = urllib.request.getproxies().get(parts.scheme.lower())
        if proxy and urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = None
        if proxy not in self._pools:
            kind = partial(urllib3.ProxyManager, proxy) if proxy else urllib3.PoolManager
            self._pools[proxy] = kind(num_pools=32, maxsize=32)
        return self._pools[proxy]


def _read_body(response: Any, limit: int) -> bytes:  # noqa: ANN401
    """Read to the end; refuse what is too long, as soon as that is known, and what ends early."""
    stated = response.headers.get("Content-Length")
    expected = int(stated) if stated is not None and stated.isdigit() else None
    if expected is not None and expected > limit:
        raise RefusedError(f"it has {expected:,} bytes, more than the {limit:,} allowed")
    chunks, length, deadline = [], 0, time.monotonic() + OBJECT_DEADLINE
    try:
        while chunk := response.read1(_CHUNK, decode_content=False):
            chunks.append(chunk)
            length += len(chunk)
            if length > limit:
                raise RefusedError(f"it has more than the {limit:,} bytes allowed")
            if time.monotonic() > deadline:
                raise TransientError(f"it was not complete after {OBJECT_DEADLINE:g} seconds")
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise TransientError(_plain(error)) from error
    if expected is not None and length != expected:
        raise TransientError(f"it ended after {length:,} of {expected:,} bytes")
    return b"".join(chunks)


def _plain(error: BaseException) -> str:
    """Return what went wrong without addresses of objects or signed URLs."""
    if isinstance(error.__cause__, urllib3.exceptions.IncompleteRead):
        error = error.__cause__
    kinds = (
        (urllib3.exceptions.ReadTimeoutError, f"no byte for {READ_TIMEOUT:g} seconds"),
        (urllib3.exceptions.IncompleteRead, "the body ended early"),
        (urllib3.exceptions.NameResolutionError, "the host name is not known"),
        (urllib3.exceptions.NewConnectionError, "the host refuses connections or cannot be reached"),
        (urllib3.exceptions.ConnectTimeoutError, "no connection in time"),
        (urllib3.exceptions.SSLError, "the certificate or the encryption is not accepted"),
        (urllib3.exceptions.ProtocolError, "the connection broke"),
    )
    return next((text for kind, text in kinds if isinstance(error, kind)), type(error).__name__)
