"""Objects in stores that fsspec knows: S3 (s3fs), Google Cloud Storage (gcsfs), the Hugging Face Hub.

Credentials, endpoints and regions are found where the stores' own tools look for them (``AWS_*``, ``HF_TOKEN``, ...),
or in fsspec's configuration; nothing of that is read or kept here.
"""

from __future__ import annotations

import re
from typing import Any

import fsspec

from cinemae.sources.remote_object import (
    READ_TIMEOUT,
    RefusedError,
    RemoteObject,
    TransientError,
    in_short,
    is_hopeless,
)

_OPTIONS: dict[str, dict[str, Any]] = {
    # retried in `cinemae.sources.remote`, once for all stores
    "s3": {"config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 10, "read_timeout": READ_TIMEOUT}},
}
_MAGIC = re.compile(r"[*?[]")


class ObjectStore:
    """Objects of one scheme.

    Args:
        scheme: "s3", "gs" or "hf".

    Raises:
        ImportError: If the package for it is not installed.
    """

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme
        self._files: Any = fsspec.filesystem(scheme, use_listings_cache=False, **_OPTIONS.get(scheme, {}))
        if scheme == "s3":
            self._files.retries = 1

    def read(self, uri: str, size: int | None, limit: int) -> bytes:
        """Return the whole object."""
        size = self.size(uri) if size is None else size
        if size > limit:
            raise RefusedError(f"it has {size:,} bytes, more than the {limit:,} allowed")
        return _whole(self._call(self._files.cat_file, uri), size)

    def read_part(self, uri: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`."""
        return _whole(self._call(self._files.cat_file, uri, start=start, end=start + length), length)

    def size(self, uri: str) -> int:
        """Return the size in bytes."""
        facts = self._call(self._files.info, uri)
        if facts.get("type") == "directory":
            raise RefusedError("it is a folder, not a file")
        return int(facts["size"])

    def find(self, uri: str) -> list[RemoteObject]:
        """Return the object, those below a folder, or those that a glob matches, by name."""
        lister = self._files.glob if _MAGIC.search(uri.partition("://")[2]) else self._files.find
        found: dict[str, Any] = self._call(lister, uri, detail=True)
        return [
            RemoteObject(f"{self._scheme}://{name.lstrip('/')}", facts.get("size"))
            for name, facts in sorted(found.items())
            if facts.get("type") != "directory"
        ]

    def write(self, uri: str, data: bytes) -> None:
        """Make or replace an object."""
        self._call(self._files.pipe_file, uri, data)

    def _call(self, function: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - fsspec has no types
        try:
            return function(*arguments, **options)
        except Exception as error:  # each store has a family of errors of its own
            reason = "there is no such object" if isinstance(error, FileNotFoundError) else in_short(error)
            raise (RefusedError if is_hopeless(error) else TransientError)(reason) from error


def _whole(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise TransientError(f"{len(data):,} bytes came in place of {size:,}")
    return data
