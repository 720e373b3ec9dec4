"""One encoded picture: its bytes, read once, and their hash, computed once.

Whatever looks at the file takes a `Picture`: `cinemae.pictures.image.load_image` its pixels,
`cinemae.pictures.file_facts.read_facts` its header, `cinemae.evidence.provenance.read_provenance` its metadata.
A file is never waited for: a FIFO, a device or a directory is refused before it is opened.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import BinaryIO, TypeAlias

from PIL import Image

from cinemae.errors import ImageError

MAX_BYTES = 512 * 2**20
"""Encoded files above this size are refused before they are read."""

Encoded: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""Where an encoded picture is read from: a path, a buffer, or a binary file object."""

_CHUNK = 16 * 2**20


@dataclass(frozen=True)
class Picture:
    """An encoded picture in memory.

    Attributes:
        data: The whole file.
        name: What errors call it.
        path: Where it came from; None if it was given as bytes or as a file object.

    Example:
        >>> Picture.read(b"hello").content_hash[:8]
        '2cf24dba'
    """

    data: bytes = field(repr=False)
    name: str = "the byte string given"
    path: str | None = None

    @classmethod
    def read(cls, source: Encoded | Picture) -> Picture:
        """Read a picture whole; one that was read already is returned as it is.

        Args:
            source: A path to a regular file; encoded bytes; or a binary file object, read from its position to its end
                and left open.

        Raises:
            ImageError: If it is none of these, cannot be read, is empty, or is longer than `MAX_BYTES`.
        """
        if isinstance(source, Picture):
            return source
        if isinstance(source, str | os.PathLike):
            path = os.fsdecode(source)
            return cls(_read_path(path), name_of(path), path)
        name = "the file object given" if hasattr(source, "read") else cls.name
        return cls(_read_bytes(source, name), name)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the bytes, 64 hex digits."""
        return hashlib.sha256(self.data).hexdigest()


def name_of(path: str) -> str:
    """Return what errors call the picture at a path."""
    return f"image file {_shorten(repr(path))}"


def open_regular(path: str) -> BinaryIO:
    """Open a regular file of at most `MAX_BYTES`; anything that could wait for a writer is refused.

    Raises:
        ImageError: If it is something else, empty or too long.
        OSError: If it cannot be opened.
    """
    name = name_of(path)
    _check_regular(os.stat(path), name)  # noqa: PTH116 - a Path would raise on the names that are to be refused
    file = io.BufferedReader(io.FileIO(path, "rb", opener=_open_without_waiting))
    try:
        _check_regular(os.fstat(file.fileno()), name)  # the path may have changed hands since
    except ImageError:
        file.close()
        raise
    return file


def check_length(length: int, name: str) -> None:
    """Refuse an empty file, and one longer than `MAX_BYTES`.

    Raises:
        ImageError: If it is that.
    """
    if length == 0:
        raise ImageError(f"{name} is empty (0 bytes): give a complete image.")
    if length > MAX_BYTES:
        raise ImageError(f"{name} has more than the {MAX_BYTES:,} bytes allowed: give a smaller image.")


@contextmanager
def failures_as_image_errors(wrong: str, advice: str) -> Iterator[None]:
    """Turn whatever hostile input makes a decoder raise into one sentence; interrupts pass."""
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{wrong} ({_reason(error)}): scale it down, or raise PIL.Image.MAX_IMAGE_PIXELS.") from error
    except Exception as error:
        raise ImageError(f"{wrong} ({_reason(error)}): {advice}.") from error


def _read_path(path: str) -> bytes:
    name = name_of(path)
    advice = "check the path, which must lead to a local file that this user may read"
    with failures_as_image_errors(f"{name} could not be read", advice), open_regular(path) as file:
        before = os.fstat(file.fileno())
        data = file.read(before.st_size + 1)
        after = os.fstat(file.fileno())
    if len(data) != before.st_size or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise ImageError(f"{name} changed while it was read: wait until it is written, then try again.")
    return data


def _read_bytes(source: object, name: str) -> bytes:
    """Return the bytes of a buffer, or of a file object from its position to its end."""
    if isinstance(source, bytes | bytearray | memoryview):
        check_length(memoryview(source).nbytes, name)
        return bytes(source)
    if not hasattr(source, "read"):
        tensor = hasattr(source, "numpy") and hasattr(source, "ndim")
        advice = "convert it first"
        if tensor:
            advice = (
                "give tensor.permute(1, 2, 0).cpu().numpy() of one image (3, H, W), uint8 or in [0, 1], not normalized"
            )
        raise ImageError(
            "an image is given as a path, bytes, a binary file object, a PIL image or a NumPy array, got "
            f"{type(source).__name__}: {advice}."
        )
    chunks, length = [], 0
    with failures_as_image_errors(f"{name} could not be read", "open it anew, in binary mode"):
        while chunk := source.read(_CHUNK):
            if not isinstance(chunk, bytes):
                raise ImageError(f"{name} must give bytes, got {type(chunk).__name__}: open it in binary mode, 'rb'.")
            chunks.append(chunk)
            length += len(chunk)
            check_length(length, name)
    check_length(length, name)
    return b"".join(chunks)


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def _check_regular(status: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO (named pipe)", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise ImageError(f"{name} is {kind}, not a regular file: give the path of one image.")
    check_length(status.st_size, name)


def _reason(error: Exception) -> str:
    """Return an error's own words on one short line without addresses of objects."""
    words = str((isinstance(error, OSError) and error.strerror) or error)
    return _shorten(" ".join(words.split()).encode("ascii", "backslashreplace").decode()) or type(error).__name__


def _shorten(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]}...{text[-limit // 2 :]}"
