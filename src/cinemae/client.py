"""A thin client of ``cinemae serve``: the standard library alone, so that it can be copied anywhere.

Verdicts are the JSON objects of the service, as `cinemae.Verdict.to_dict` writes them.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias, TypedDict, overload
from urllib.parse import urlencode, urlsplit

from cinemae.errors import ConfigError, ServiceError
from cinemae.verdict_row import VerdictRow

Image: TypeAlias = str | os.PathLike[str] | bytes
"""A path, or an encoded image."""

MAX_WAIT_SECONDS = 60.0
"""Longest wait before a request is sent again, whatever the service asks for."""


class ServiceLimits(TypedDict):
    """What one request may hold, and the seconds that it may take."""

    max_bytes: int
    max_pixels: int
    max_files: int
    timeout: float


class ServedModel(TypedDict):
    """Which model a service scores with, how it decides (`cinemae.config.DecisionConfig`), and its limits."""

    model: str
    version: str
    fingerprint: str
    decision: dict[str, object]
    limits: ServiceLimits


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Client:
    """Asks a service for verdicts. Holds no connection, so threads may share it.

    Args:
        url: Of the service, such as "http://127.0.0.1:8000".
        api_key: If the service needs one.
        timeout: Seconds that an answer may take.
        retries: How often a request is sent again while the service says 503, each time after as many seconds as it
            asks for.

    Raises:
        ConfigError: If the URL is none of a web server.

    Example:
        >>> Client("localhost:8000")
        Traceback (most recent call last):
        ...
        cinemae.errors.ConfigError: the URL of a service begins with http:// or https://, got 'localhost:8000'.
    """

    def __init__(self, url: str, api_key: str | None = None, *, timeout: float = 60.0, retries: int = 5) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"the URL of a service begins with http:// or https://, got {url!r}.")
        self._parts, self._prefix = parts, parts.path.rstrip("/")
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self.timeout, self.retries = timeout, retries

    @overload
    def detect(self, image: Image, *, stable: bool = False) -> VerdictRow: ...
    @overload
    def detect(self, image: list[Image], *, stable: bool = False) -> list[VerdictRow]: ...
    def detect(self, image: Image | list[Image], *, stable: bool = False) -> VerdictRow | list[VerdictRow]:
        """Score one image, or many in as few requests as the service's limits allow.

        Args:
            image: A path or an encoded image, or a list of these.
            stable: Score re-deliveries of each image as well.

        Returns:
            The verdict of one image, or the verdicts of many in their order; of many, one that cannot be read has the
            status "error".

        Raises:
            ServiceError: If the service refused, among others an image that is given alone and cannot be read.
            OSError: If a file cannot be read, or the service not be reached.
        """
        path = "/v1/detect" + ("?" + urlencode({"stable": "true"}) if stable else "")
        if isinstance(image, str | os.PathLike | bytes):
            return _rows(self._send("POST", path, *_form([_read(image)])))[0]
        verdicts: list[VerdictRow] = []
        for group in self._groups(image):
            answer = self._send("POST", path, *_form(group), accept=(422,) if len(group) == 1 else ())
            verdicts += _rows(answer)
        return verdicts

    def heatmap(self, image: Image) -> bytes:
        """Return a PNG that shows how hard each part of an image is to predict from its surroundings.

        Args:
            image: A path or an encoded image.

        Raises:
            ServiceError: If the service refused.
            OSError: If the file cannot be read, or the service not be reached.
        """
        return self._send("POST", "/v1/heatmap", *_form([_read(image)])).body

    def model(self) -> ServedModel:
        """Return which model scores, how it decides, and the service's limits.

        Raises:
            ServiceError: If the service refused.
            OSError: If the service cannot be reached.
        """
        values: ServedModel = json.loads(self._send("GET", "/v1/model").body)
        return values

    @cached_property
    def _limits(self) -> ServiceLimits:
        return self.model()["limits"]

    def _groups(self, images: list[Image]) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the images in groups that fit into one request; one that fits into none comes alone."""
        group: list[tuple[str, bytes]] = []
        size = 0
        for name, data in map(_read, images):
            cost = len(data) + len(name.encode()) + 200  # the part's own header and boundary
            if group and (len(group) == self._limits["max_files"] or size + cost > self._limits["max_bytes"] - 200):
                yield group
                group, size = [], 0
            group.append((name, data))
            size += cost
        if group:
            yield group

    def _send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: str = "application/octet-stream",
        accept: Sequence[int] = (),
    ) -> _Answer:
        """Return the answer if it is 200 or in `accept`; while it is 503, wait and ask again."""
        for attempt in range(self.retries + 1):
            answer = self._ask(method, path, body, content_type)
            if answer.status != 503 or attempt == self.retries:
                break
            time.sleep(_seconds(answer.headers.get("Retry-After"), default=2.0**attempt))
        if answer.status == 200 or answer.status in accept:
            return answer
        raise _refusal(answer)

    def _ask(self, method: str, path: str, body: bytes, content_type: str) -> _Answer:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=self.timeout)
        try:
            connection.putrequest(method, self._prefix + path)
            for name, value in self._headers.items():
                connection.putheader(name, value)
            if method == "POST":
                connection.putheader("Content-Type", content_type)
                connection.putheader("Content-Length", str(len(body)))
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent: read why
                connection.endheaders(body)
            response = connection.getresponse()
            return _Answer(response.status, response.headers, response.read())
        finally:
            connection.close()


def _read(image: Image) -> tuple[str, bytes]:
    """Return a name for an image, and the image."""
    if isinstance(image, bytes):
        return "image", image
    path = Path(image)
    return path.name, path.read_bytes()


def _form(files: Sequence[tuple[str, bytes]]) -> tuple[bytes, str]:
    """Return the images as multipart/form-data, and its type."""
    boundary = secrets.token_hex(16)
    parts: list[bytes] = []
    for name, data in files:
        shown = name.encode("utf-8", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
        shown = "".join(character for character in shown if character.isprintable())
        parts += [f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{shown}"\r\n'.encode()]
        parts += [b"Content-Type: application/octet-stream\r\n\r\n", data, b"\r\n"]
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _rows(answer: _Answer) -> list[VerdictRow]:
    try:
        rows: list[VerdictRow] = json.loads(answer.body)["results"]
    except (ValueError, TypeError, KeyError) as error:
        raise _refusal(answer) from error
    return rows


def _seconds(retry_after: str | None, default: float) -> float:
    """Return how long to wait; a Retry-After that is a date counts as none."""
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else default
    return min(seconds, MAX_WAIT_SECONDS)


def _refusal(answer: _Answer) -> ServiceError:
    """Return what a problem says, or the status of an answer that is none."""
    try:
        problem = json.loads(answer.body)
        detail = str(problem["detail"])
    except (ValueError, TypeError, KeyError):
        problem, detail = {}, "it gave no reason: is it a cinemae service?"
    return ServiceError(f"the service answered {answer.status}: {detail}", status=answer.status, problem=problem)
