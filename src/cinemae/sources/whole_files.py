"""Files that appear whole or not at all: written under a temporary name, flushed to the disk, renamed."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; afterwards flush that file to the disk and rename it to `path`.

    Several processes may write the same path: one of the files stays, whole. If the body raises, nothing is left.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with _held(temporary):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # not every system can flush a folder
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Delete what killed runs left under temporary names in `folder`.

    What another run is writing stays, except on Windows, where nobody else may write there meanwhile.
    """
    for entry in folder.iterdir():
        if entry.name.startswith(".") and entry.name.endswith(".tmp") and not _is_held(entry):
            entry.unlink(missing_ok=True)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Make a file and hold a lock on it, which the system drops when this process ends, however it ends."""
    if sys.platform == "win32":  # which renames no open file
        yield
        return
    with path.open("xb") as file:
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_held(path: Path) -> bool:
    """Tell whether somebody writes a file, or cannot be excluded from doing so."""
    if sys.platform == "win32":
        return False
    try:
        with path.open("rb+") as file:  # NFS locks only what is open for writing
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
