"""Pictures that are the same bytes on every machine: PPM files of whole numbers, so that no encoder has a say."""

from __future__ import annotations

from pathlib import Path

import numpy as np

NUM_MANY = 258
"""One more part than a results folder's first 256 images fill."""


def ppm(index: int) -> bytes:
    """Return a picture of 12 x 10 pixels as PPM, another for each index."""
    row, column, channel = np.indices((10, 12, 3))
    wave = (index * 37 + row * row * 5 + column * (13 + index % 7) + channel * (index % 11) * 20) % 256
    return b"P6\n12 10\n255\n" + wave.astype(np.uint8).tobytes()


def draw_many(folder: Path) -> Path:
    """Write the `NUM_MANY` pictures 000.ppm and so on."""
    folder.mkdir(parents=True)
    for index in range(NUM_MANY):
        (folder / f"{index:03d}.ppm").write_bytes(ppm(index))
    return folder
