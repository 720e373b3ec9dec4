"""Objects behind a URI: ``s3://``, ``gs://`` and ``hf://`` through fsspec, ``http(s)://`` through urllib3.

Whatever may pass by itself (5xx, 429, a timeout, a body that ends early) is tried again a few times, ever later; what
will not (no such object, no permission, more bytes than allowed) is said at once. Packages are imported at first use.
"""

from __future__ import annotations

import functools
import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar

from cinemae.errors import MissingDependencyError, RemoteError, SourceError, first_line
from cinemae.pictures.picture import MAX_BYTES
from cinemae.sources.remote_object import RefusedError, RemoteObject, RemoteStore, TransientError, is_remote, shown

ATTEMPTS = 4
FIRST_WAIT = 0.5
"""Seconds before the second attempt; doubled before each further one."""
READ_AHEAD = 2**22
"""Bytes that a file opened for reading in pieces fetches at a time."""

_Result = TypeVar("_Result")


def fetch(uri: str, *, size: int | None = None, limit: int = MAX_BYTES) -> bytes:
    """Return the bytes of an object; threads may share it.

    Args:
        uri: Of one of `SCHEMES`.
        size: In bytes, if a listing told it: saves a request, and another length counts as a failed attempt.
        limit: Most bytes taken; what is larger is refused before its bytes come, or as soon as they are too many.

    Raises:
        RemoteError: If it cannot be had after `ATTEMPTS` attempts, or is larger than `limit`.
        MissingDependencyError: If the package for this scheme is not installed.
    """
    return _persist(uri, "read", lambda store: store.read(uri, size, limit))


def fetch_part(uri: str, start: int, length: int) -> bytes:
    """Return `length` bytes of an object, from `start`; threads may share it.

    Raises:
        RemoteError: If they cannot be had after `ATTEMPTS` attempts.
        MissingDependencyError: If the package for this scheme is not installed.
    """
    return _persist(uri, "read", lambda store: store.read_part(uri, start, length))


def find_objects(uri: str) -> list[RemoteObject]:
    """List an object, those below a folder, or those that a glob matches, by name; HTTP has objects only.

    Raises:
        RemoteError: If the store cannot be listed.
        MissingDependencyError: If the package for this scheme is not installed.
    """
    return _persist(uri, "listed", lambda store: store.find(uri))


def put(uri: str, data: bytes) -> None:
    """Make or replace an object; it appears whole or not at all.

    Raises:
        RemoteError: If it cannot be written.
        MissingDependencyError: If the package for this scheme is not installed.
    """
    _persist(uri, "written", lambda store: store.write(uri, data))


def open_binary(file: str) -> BinaryIO:
    """Open a local file, or an object for reading in pieces of `READ_AHEAD` bytes.

    Raises:
        OSError: If it cannot be opened; `RemoteError` is one.
    """
    if is_remote(file):
        return io.BufferedReader(_RangeFile(file), READ_AHEAD)
    return open(file, "rb")  # noqa: PTH123 - the caller closes it


@contextmanager
def reading(what: str, *damaged: type[Exception]) -> Iterator[None]:
    """Turn what goes wrong while an archive is listed into one sentence.

    Args:
        what: The archive, in words.
        damaged: Errors of its reader that mean that it is damaged, besides OSError and ValueError.

    Raises:
        SourceError: If it cannot be fetched, or read.
    """
    kinds: tuple[type[Exception], ...] = (OSError, ValueError, *damaged)
    try:
        yield
    except (SourceError, MissingDependencyError):
        raise
    except RemoteError as error:
        raise SourceError(str(error)) from error
    except kinds as error:
        reason = first_line(error)
        raise SourceError(f"{what} could not be read ({reason}); it is damaged or cut short: copy it again.") from error


class _RangeFile(io.RawIOBase):
    """An object as a file that can be read anywhere."""

    def __init__(self, uri: str) -> None:
        self._uri, self._at = uri, 0
        self._size = _persist(uri, "read", lambda store: store.size(uri))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence], 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        data = fetch_part(self._uri, self._at, length)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _persist(uri: str, what: str, attempt: Callable[[RemoteStore], _Result]) -> _Result:
    store, reason = store_for(uri), ""
    for number in range(ATTEMPTS):
        if number:
            time.sleep(FIRST_WAIT * 2 ** (number - 1))
        try:
            return attempt(store)
        except RefusedError as error:
            raise RemoteError(
                f"{shown(uri)} could not be {what} ({error}): check the address and the rights."
            ) from error
        except TransientError as error:
            reason = str(error)
    raise RemoteError(f"{shown(uri)} could not be {what} after {ATTEMPTS} attempts ({reason}): try again later.")


def store_for(uri: str) -> RemoteStore:
    """Return what reads a URI; one for each scheme and process, since clients do not survive a fork."""
    scheme = uri.partition("://")[0].lower()
    return _make_store("http" if scheme == "https" else scheme, os.getpid())


@functools.lru_cache
def _make_store(scheme: str, process: int) -> RemoteStore:
    try:
        if scheme == "http":
            from cinemae.sources.http_store import HttpStore

            return HttpStore()
        from cinemae.sources.object_store import ObjectStore

        return ObjectStore(scheme)
    except ImportError as error:
        package = (error.name or "").partition(".")[0] or {"s3": "s3fs", "gs": "gcsfs"}.get(scheme, "fsspec")
        extra = "gcs" if scheme == "gs" else "remote"
        raise MissingDependencyError(
            f"{scheme}:// needs {package}, which is not installed: pip install 'cinemae[{extra}]'"
        ) from error
