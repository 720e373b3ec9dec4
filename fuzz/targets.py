"""What must hold for any bytes at all: a result, or the one error that the reader promises."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from cinemae.errors import ImageError, ModelDirError
from cinemae.evidence.provenance import read_provenance
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
        header.getexif()
    read_provenance(data)
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


TARGETS = {"image": read_any_image, "model": read_any_model}
