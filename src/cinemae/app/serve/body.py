"""Request body -> images in memory, within limits that hold while it is read.

Nothing is spooled to disk, as Starlette's own form parser does above 1 MB, and reading stops at the first part, byte or
second too many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from cinemae.app.serve.config import ServeConfig
from cinemae.app.serve.problems import CLOSE, Problem, overloaded

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = "files"
"""Name of the multipart field that holds an image; as often as there are images."""

MAX_NAME_LENGTH = 255
_BUSY_SECONDS = 2.0


@dataclass(frozen=True)
class Upload:
    """One image of a request.

    Attributes:
        name: Last part of the file name that was given, or None. Never a path, and never used as one.
        data: The encoded image.
    """

    name: str | None
    data: bytes


class ByteBudget:
    """The encoded bytes of all requests together; used in the event loop only.

    Args:
        limit: Most bytes held at one time.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    def lease(self) -> Lease:
        """Return a share of it, empty so far."""
        return Lease(self)


class Lease:
    """One request's share of a `ByteBudget`."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget, self._taken = budget, 0

    def take(self, count: int) -> None:
        """Take so many bytes more.

        Raises:
            Problem: 503, if they are not to be had.
        """
        if self._budget.used + count > self._budget.limit:
            raise overloaded("too many bytes are in flight: send the request again later.", _BUSY_SECONDS)
        self._budget.used += count
        self._taken += count

    def release(self) -> None:
        """Give all of it back."""
        self._budget.used -= self._taken
        self._taken = 0


async def read_images(request: Request, config: ServeConfig, take: Callable[[int], None]) -> list[Upload]:
    """Read the images of a request.

    Args:
        request: Nothing of its body has been read.
        config: max_bytes, max_files and timeout.
        take: Is told how many bytes come, before they are kept; see `Lease.take`.

    Returns:
        At least one image, in the order of the request.

    Raises:
        Problem: 400 for a malformed body, 408 for a slow one, 411 for one of unstated length, 413 for a large one, 415
            for another type of content.
    """
    if "transfer-encoding" in request.headers:
        raise Problem(411, "a body's length must be stated: send Content-Length, not chunks.", headers=CLOSE)
    add, finish = _collector(request, config)
    received = 0
    _require_allowed(int(request.headers.get("content-length") or 0), config)
    try:
        async with asyncio.timeout(config.timeout):
            async for chunk in request.stream():
                received += len(chunk)
                _require_allowed(received, config)
                take(len(chunk))
                add(chunk)
    except TimeoutError as error:
        detail = f"the body must arrive within {config.timeout:g} seconds: send a smaller one, or from a faster line."
        raise Problem(408, detail, headers=CLOSE) from error
    return finish()


def _require_allowed(count: int, config: ServeConfig) -> None:
    if count > config.max_bytes:
        detail = f"a request has at most {config.max_bytes:,} bytes: send fewer or smaller images."
        raise Problem(413, detail, "too-many-bytes")


def _collector(request: Request, config: ServeConfig) -> tuple[Callable[[bytes], None], Callable[[], list[Upload]]]:
    """Return what takes the chunks of a body of this type, and what gives the images at the end."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "a body is sent as it is, not compressed: leave out Content-Encoding.")
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    if content_type == b"multipart/form-data":
        form = _Form(options.get(b"boundary", b""), config.max_files)
        return form.add, form.finish
    if content_type.startswith(b"image/") or content_type == b"application/octet-stream":
        body = bytearray()
        return body.extend, lambda: [Upload(None, bytes(body))]
    raise Problem(
        415,
        "images are sent as multipart/form-data, or one as the body itself with a type such as image/jpeg: set "
        "Content-Type.",
    )


class _Form:
    """Collects the files of a multipart body, chunk by chunk.

    Args:
        boundary: From the Content-Type.
        max_files: Most parts.
    """

    def __init__(self, boundary: bytes, max_files: int) -> None:
        self._max_files = max_files
        self._uploads: list[Upload] = []
        self._begun = self._ended = False
        self._header_name, self._header_value = bytearray(), bytearray()
        self._disposition, self._data = b"", bytearray()
        self._name: str | None = None
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": lambda data, start, end: self._data.extend(memoryview(data)[start:end]),
            "on_part_end": self._end_part,
            "on_end": self._end,
        }
        if not boundary:
            raise _malformed("it has no boundary")
        with _form_errors():
            self._parser = MultipartParser(boundary, callbacks)

    def add(self, chunk: bytes) -> None:
        """Take the next bytes of the body; what follows the last boundary is passed over."""
        if not self._begun:  # after line breaks the parser would skip more, depending on where the body is cut
            chunk = chunk.lstrip(b"\r\n")
            self._begun = bool(chunk)
        if self._begun and not self._ended:
            with _form_errors():
                self._parser.write(chunk)

    def finish(self) -> list[Upload]:
        """Return the files."""
        if not self._ended:
            raise _malformed("it ends before its last boundary")
        if not self._uploads:
            raise _malformed("it holds no file")
        return self._uploads

    def _begin_part(self) -> None:
        if len(self._uploads) == self._max_files:
            detail = f"a request holds at most {self._max_files} files: send the others in further requests."
            raise Problem(413, detail, "too-many-files")
        self._disposition, self._data = b"", bytearray()

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != FIELD.encode():
            raise _malformed(f'each part is an image and its name is "{FIELD}"')
        name = options.get(b"filename")
        self._name = None if name is None else clean_name(name.decode("utf-8", "replace"))

    def _end_part(self) -> None:
        self._uploads.append(Upload(self._name, bytes(self._data)))
        self._data = bytearray()

    def _end(self) -> None:
        self._ended = True


@contextmanager
def _form_errors() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise _malformed("it does not follow RFC 7578") from error


def _malformed(reason: str) -> Problem:
    detail = f"the multipart/form-data body cannot be read, {reason}: see the service's OpenAPI document."
    return Problem(400, detail, "malformed-form")


def clean_name(name: str) -> str | None:
    r"""Return the last part of a file name with nothing in it that a terminal or a page would act on, or None.

    Args:
        name: As the client gave it, possibly a path of its own system.

    Example:
        >>> clean_name("../../etc/passwd"), clean_name("C:\\photos\\a.jpg"), clean_name("a\x00b.png"), clean_name("..")
        ('passwd', 'a.jpg', 'ab.png', None)
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    shown = "".join(character for character in last if character.isprintable()).strip()
    return None if shown in ("", ".", "..") else shown[-MAX_NAME_LENGTH:]
