"""Files that appear whole or not at all: written under a temporary name, flushed to the disk, renamed."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ABANDONED_SECONDS = 3600
"""A temporary file that nobody wrote to for so long is a killed run's."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; afterwards flush that file to the disk and rename it to `path`.

    Several processes may write the same path: one of the files stays, whole. If the body raises, nothing is left.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
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
    """Delete what killed runs left under temporary names in `folder`, and nothing that another run may be writing."""
    long_ago = time.time() - ABANDONED_SECONDS
    for entry in folder.iterdir():
        if entry.name.startswith(".") and entry.name.endswith(".tmp"):
            with suppress(FileNotFoundError):  # finished or removed meanwhile
                if entry.stat().st_mtime < long_ago:
                    entry.unlink()
