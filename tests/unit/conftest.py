"""Fixtures that several files of unit tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from cinemae.evaluation.detectors import PictureSet

WriteSet = Callable[..., Path]


@pytest.fixture(scope="session")
def inked() -> Callable[[Path], float]:
    """`inked(path)`: the share of pixels of a PNG that are not white."""
    return lambda path: float((np.asarray(Image.open(path).convert("L")) < 250).mean())


@pytest.fixture(scope="session")
def write_set(picture) -> WriteSet:
    """`write_set(root, start, count, suffix="png")`: smooth photographs and noisy fakes, which FreDect tells apart.

    `count` of each of two cameras and two generators.
    """

    def write(root: Path, start: int, count: int, suffix: str = "png") -> Path:
        for place, folder in enumerate(("real/phone", "real/slr", "fake/gan", "fake/sd")):
            (root / folder).mkdir(parents=True)
            noisy = 4 * (place > 1)
            for index in range(count):
                picture(5 * (start + 100 * place + index) + noisy).save(root / folder / f"{index}.{suffix}")
        return root

    return write


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory, write_set: WriteSet) -> Path:
    """Labelled images to judge, 5 of each kind, 20 in all: more than a batch."""
    return write_set(tmp_path_factory.mktemp("test"), 0, 5)


@pytest.fixture(scope="module")
def trained_on(tmp_path_factory: pytest.TempPathFactory, write_set: WriteSet) -> Path:
    """Labelled images to train on, 8 of each kind, none of them among `tested`."""
    return write_set(tmp_path_factory.mktemp("train"), 1000, 8)


@pytest.fixture(scope="module")
def training(trained_on: Path) -> PictureSet:
    """`trained_on` as detectors take it."""
    from cinemae.evaluation.evaluate import picture_set

    return picture_set("training", str(trained_on))
