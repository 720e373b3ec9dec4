"""What a camera's sensor recorded (DNG, NEF, CR2, ARW), developed by LibRaw: the only module that imports rawpy."""

from __future__ import annotations

import importlib
from typing import Any, BinaryIO

from PIL import Image

from cinemae.errors import MissingDependencyError


def size_of(file: BinaryIO) -> tuple[int, int]:
    """Return width and height of the upright picture.

    Raises:
        MissingDependencyError: If rawpy is not installed.
    """
    with _opened(file) as raw:
        sizes = raw.sizes
        across, down = sizes.width, sizes.height
        return (down, across) if sizes.flip in (5, 6) else (across, down)


def decode(file: BinaryIO) -> Image.Image:
    """Develop the picture as the camera would: its white balance, sRGB, upright.

    Raises:
        MissingDependencyError: If rawpy is not installed.
    """
    with _opened(file) as raw:
        return Image.fromarray(raw.postprocess(use_camera_wb=True, output_bps=8))


def _opened(file: BinaryIO) -> Any:  # noqa: ANN401 - an object of rawpy, which is not always installed
    try:
        rawpy = importlib.import_module("rawpy")
    except ImportError as error:
        raise MissingDependencyError(
            "a camera's raw file, which needs rawpy: `pip install 'cinemae[raw]'`, or export it as JPEG"
        ) from error
    file.seek(0)
    return rawpy.imread(file)
