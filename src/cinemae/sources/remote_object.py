"""One object behind a URI: which URIs are read, what a store of objects can do, and how an attempt fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

SCHEMES = ("s3", "gs", "hf", "http", "https")
READ_TIMEOUT = 30.0
"""Seconds without a byte after which an attempt is given up."""
OBJECT_DEADLINE = 120.0
"""Seconds after which an attempt over HTTP is given up, however steadily bytes drip in."""
_HOPELESS = ("NoCredentialsError", "ParamValidationError", "ProfileNotFound", "RepositoryNotFoundError")


class TransientError(Exception):
    """An attempt failed in a way that another attempt may not; the message is the reason."""


class RefusedError(Exception):
    """An attempt failed for good; the message is the reason."""


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """One object of a listing: its URI and its size in bytes, None if the store does not say."""

    uri: str
    size: int | None


class RemoteStore(Protocol):
    """Objects of one scheme, one attempt a call; raises `TransientError` or `RefusedError`."""

    def read(self, uri: str, size: int | None, limit: int) -> bytes:
        """Return the whole object, of the size that a listing told, if any, and of at most `limit` bytes."""
        ...

    def read_part(self, uri: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`."""
        ...

    def size(self, uri: str) -> int:
        """Return the size of an object in bytes."""
        ...

    def find(self, uri: str) -> list[RemoteObject]:
        """Return the object, those below a folder, or those that a glob matches, by name."""
        ...

    def write(self, uri: str, data: bytes) -> None:
        """Make or replace an object; it appears whole or not at all."""
        ...


def is_remote(text: str) -> bool:
    """Tell a URI that is read from afar from a local path.

    Example:
        >>> is_remote("s3://bucket/a.jpg"), is_remote("photos/a.jpg"), is_remote("file:///a.jpg")
        (True, False, False)
    """
    scheme, mark, _ = text.partition("://")
    return bool(mark) and scheme.lower() in SCHEMES


def shown(uri: str) -> str:
    """Return a URI for a message: without password, query and fragment, where signatures and keys are; a path as it is.

    Example:
        >>> shown("https://me:secret@example.org/a.jpg?signature=x#y")
        'https://example.org/a.jpg'
    """
    if not is_remote(uri):
        return uri
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def in_short(error: BaseException) -> str:
    """Return an error's own words on one line of 200 characters at most, or its name where it has none."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 200 else words[:197] + "..."


def is_hopeless(error: BaseException) -> bool:
    """Tell whether trying again cannot help, by the error's kind."""
    permanent = (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError)
    return isinstance(error, permanent) or type(error).__name__ in _HOPELESS
