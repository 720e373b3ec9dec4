"""What must hold for any bytes at all: a result, or the one error that the reader promises."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from starlette.requests import Request

from cinemae.app.serve.body import MAX_NAME_LENGTH, read_images
from cinemae.app.serve.config import ServeConfig
from cinemae.app.serve.problems import Problem
from cinemae.errors import ImageError, ModelDirError
from cinemae.evidence.provenance import read_provenance, summarise
from cinemae.evidence.signals import MAX_VALUE_CHARS
from cinemae.models.directory import CONFIG_FILE, ONNX_FILE, read_model_config
from cinemae.models.scorers import OnnxScorer
from cinemae.pictures.image import load_image, open_header
from fuzz.corpus import model_files

MAX_PIXELS = 250_000


class BrokenPromiseError(Exception):
    """A reader returned what it must not."""


def read_any_image(data: bytes) -> None:
    """Load bytes as an image.

    Args:
        data: Anything.

    Raises:
        BrokenPromiseError: If what is loaded is no upright RGB picture within the limit.
        Exception: Whatever but `ImageError` comes out of the reader.
    """
    with contextlib.suppress(ImageError), open_header(data, max_pixels=MAX_PIXELS) as (_, header, _):
        _ = header.upright_size
    try:
        loaded = load_image(data, max_pixels=MAX_PIXELS)
    except ImageError as error:
        if "\n" in str(error) or not str(error):
            raise BrokenPromiseError(f"not one line: {str(error)!r}") from error
        return
    picture = loaded.image
    if picture.mode != "RGB" or picture.size != (loaded.width, loaded.height):
        raise BrokenPromiseError(f"{picture.mode} of {picture.size}, said to be {loaded.width}x{loaded.height}")
    if (
        not 0 < picture.width * picture.height <= MAX_PIXELS
        or len(picture.tobytes()) != 3 * picture.width * picture.height
    ):
        raise BrokenPromiseError(f"{picture.size} pixels")


def read_any_model(data: bytes) -> None:
    """Read a model directory in which one file holds these bytes.

    Args:
        data: A first byte "G" stands for the graph beside a good config.json, any other for config.json; the rest is
            the file.

    Raises:
        Exception: Whatever but `ModelDirError` comes out of the reader.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ModelDirError):
        directory = Path(folder)
        if data[:1] == b"G":
            (directory / CONFIG_FILE).write_bytes(model_files()["config"][1:])
            (directory / ONNX_FILE).write_bytes(data[1:])
            OnnxScorer(directory)
        else:
            (directory / CONFIG_FILE).write_bytes(data[1:])
            config = read_model_config(directory)
            if not config.fingerprint or not config.model_id:
                raise BrokenPromiseError("a model without a name")


def read_any_provenance(data: bytes) -> None:
    """Read what bytes say of their origin.

    Args:
        data: Anything.

    Raises:
        BrokenPromiseError: If a signal is no line for people, or cannot be written as JSON.
        Exception: Whatever comes out of the reader, which promises an answer for every file.
    """
    signals = read_provenance(data)
    said = [summarise(signals) or "nothing", *(signal.sentence for signal in signals)]
    said += [signal.value for signal in signals]
    for text in said:
        if any(unicodedata.category(character) == "Cc" for character in text):
            raise BrokenPromiseError(f"a control character in {text!r}")
    if any(len(signal.value) > MAX_VALUE_CHARS for signal in signals):
        raise BrokenPromiseError("a value without end")
    json.dumps([signal.to_dict() for signal in signals], allow_nan=False).encode()


def read_any_body(data: bytes) -> None:
    """Read the images of a request, in one piece and in many.

    Args:
        data: The Content-Type up to the first line feed; the rest is the body.

    Raises:
        BrokenPromiseError: If it matters how the body is cut, or an image's name or number is beyond the limits.
        Exception: Whatever but `Problem` comes out of the reader.
    """
    kind, _, body = data.partition(b"\n")
    answers = [_answer(kind, body, size) for size in (max(len(body), 1), 7)]
    if answers[0] != answers[1]:
        raise BrokenPromiseError(f"in one piece {answers[0]!r:.300}, in many {answers[1]!r:.300}")
    uploads = answers[0]
    if isinstance(uploads, list):
        if not 1 <= len(uploads) <= _SERVICE.max_files:
            raise BrokenPromiseError(f"{len(uploads)} images")
        for name, _ in uploads:
            if name is not None and (not name.isprintable() or "/" in name or not 0 < len(name) <= MAX_NAME_LENGTH):
                raise BrokenPromiseError(f"the name {name!r}")


_SERVICE = ServeConfig(max_bytes=2**14, max_files=3)


def _answer(kind: bytes, body: bytes, size: int) -> list[tuple[str | None, bytes]] | int:
    """Return the images under their names, or the status of the answer that refuses them."""
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    pieces = _pieces(body, size)

    async def receive() -> dict[str, object]:
        return next(pieces)

    async def read() -> list[tuple[str | None, bytes]]:
        request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
        return [(one.name, one.data) for one in await read_images(request, _SERVICE, lambda count: None)]

    try:
        return asyncio.run(read())
    except Problem as problem:
        if "\n" in problem.detail or not 400 <= problem.status < 500:
            raise BrokenPromiseError(f"{problem.status} {problem.detail!r}") from problem
        return problem.status


def _pieces(body: bytes, size: int) -> Iterator[dict[str, object]]:
    for begin in range(0, len(body), size):
        yield {"type": "http.request", "body": body[begin : begin + size], "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


TARGETS = {
    "image": read_any_image,
    "provenance": read_any_provenance,
    "body": read_any_body,
    "model": read_any_model,
}
