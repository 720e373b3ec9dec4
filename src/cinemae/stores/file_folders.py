"""A folder of small files that appear whole or not at all: on a disk, or below a URI that can be written to."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Protocol

from cinemae.sources.remote import fetch, find_objects, put
from cinemae.sources.remote_object import is_remote
from cinemae.sources.whole_files import remove_unfinished, replacing

MOST_BYTES = 2**31
"""Largest file read."""


class FileFolder(Protocol):
    """Files by name; raises OSError where the disk or the store does not do what it should."""

    def make(self) -> set[str]:
        """Make the folder if need be, and return the names in it."""
        ...

    def tidy(self) -> None:
        """Drop what killed runs left unfinished, as `remove_unfinished` does."""
        ...

    def has(self, name: str) -> bool:
        """Tell whether a file is there."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file."""
        ...

    def open(self, name: str) -> Path | BytesIO:
        """Return what a reader of Parquet can open: on a disk the path, so that no more is read than is asked for."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Make or replace a file."""
        ...


def open_folder(path: str | os.PathLike[str]) -> FileFolder:
    """Return a folder by its path or URI; nothing is looked at yet."""
    text = os.fspath(path)
    return _RemoteFolder(text) if is_remote(text) else _LocalFolder(Path(text))


class _LocalFolder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def make(self) -> set[str]:
        self._path.mkdir(parents=True, exist_ok=True)
        return {entry.name for entry in self._path.iterdir()}

    def tidy(self) -> None:
        remove_unfinished(self._path)

    def has(self, name: str) -> bool:
        return (self._path / name).exists()

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def open(self, name: str) -> Path:
        return self._path / name

    def write(self, name: str, data: bytes) -> None:
        with replacing(self._path / name) as temporary:
            temporary.write_bytes(data)


class _RemoteFolder:
    def __init__(self, uri: str) -> None:
        self._uri = uri.rstrip("/")

    def make(self) -> set[str]:
        return {found.uri[len(self._uri) + 1 :] for found in find_objects(self._uri + "/")}

    def tidy(self) -> None:
        pass  # an object appears whole

    def has(self, name: str) -> bool:
        return bool(find_objects(f"{self._uri}/{name}"))

    def read(self, name: str) -> bytes:
        return fetch(f"{self._uri}/{name}", limit=MOST_BYTES)

    def open(self, name: str) -> BytesIO:
        return BytesIO(self.read(name))

    def write(self, name: str, data: bytes) -> None:
        put(f"{self._uri}/{name}", data)
