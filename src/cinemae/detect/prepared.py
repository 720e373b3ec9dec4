"""An image between reading and scoring: what a detector works on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cinemae.detect.verdict import ScoredVerdict, Verdict
from cinemae.errors import ConfigError, ImageError
from cinemae.models.scorers import Scores
from cinemae.pictures.image import DEFAULT_MAX_PIXELS
from cinemae.pictures.picture import Picture
from cinemae.sources.records import EncodedImage

if TYPE_CHECKING:
    from cinemae.pictures.image import ImageInput


@dataclass(frozen=True)
class Prepared:
    """An image prepared for the model; without `pixel_values`, a final verdict. The full picture is gone by now."""

    verdict: Verdict
    pixel_values: NDArray[np.float32] | None = None
    redelivered: tuple[tuple[str, NDArray[np.float32]], ...] = ()
    picture: Image.Image | None = None
    num_bytes: int | None = None


@dataclass(frozen=True)
class Options:
    """What is to be done with an image beside scoring it."""

    keep_picture: bool
    stable: bool
    max_pixels: int = DEFAULT_MAX_PIXELS


def split(scores: Scores) -> Iterator[Scores]:
    """Yield the scores of each image."""
    for i in range(len(scores.logit)):
        parts = {field.name: getattr(scores, field.name)[i : i + 1] for field in dataclasses.fields(scores)}
        yield Scores(**parts)


def read_image(image: ImageInput | EncodedImage) -> Picture | Image.Image | NDArray[Any]:
    """Read an image's bytes, once for all that looks at them; a PIL image or an array has none."""
    if isinstance(image, EncodedImage):
        if image.data is None:
            raise ImageError(image.error_message)
        return Picture.read(image.data)
    return image if isinstance(image, Image.Image | np.ndarray) else Picture.read(image)


def require_several(images: object) -> None:
    """Refuse a single image where several belong: its letters, rows or bytes would be taken for images.

    Raises:
        ConfigError: If it is one. An array of several has four axes; a list may hold what it will.
    """
    ndim = getattr(images, "ndim", 1)
    if isinstance(images, str | bytes | os.PathLike | Image.Image) or ndim in (0, 2, 3):
        got = f"an array of shape {tuple(getattr(images, 'shape', ()))}" if ndim != 1 else repr(images)[:80]
        raise ConfigError(f"detect_batch takes several images, got one, {got}: call detect, or put it into a list.")


def path_of(image: object) -> str | None:
    """Return where an image comes from, if it has a path."""
    if isinstance(image, EncodedImage):
        return image.path
    return os.fsdecode(image) if isinstance(image, str | os.PathLike) else None


def succeed(verdict: Verdict) -> ScoredVerdict:
    """Return a verdict that has a score.

    Raises:
        ImageError: If it has none.
    """
    if not isinstance(verdict, ScoredVerdict):
        raise ImageError(verdict.error_message)
    return verdict
