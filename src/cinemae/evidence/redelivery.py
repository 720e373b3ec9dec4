"""The same picture as somebody else may get it: what ``--stable`` scores beside the picture itself.

Users report that one picture gets one verdict as a download and another as a thumbnail. A verdict that holds for the
picture and not for a mild re-delivery of it says more of the delivery than of the picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from PIL import Image, ImageOps

from cinemae.pictures.corruptions import parse_condition

REDELIVERIES: Final = ("jpeg=85", "resize=0.75", "mirror")
"""Saved once more, made smaller, turned left to right: names as in `cinemae.pictures.corruptions`, but for "mirror"."""

MASK_SEEDS: Final = (1, 2)
"""Beside them the picture itself is scored under the masks of these seeds, counted from the model's own."""


ALL_REDELIVERIES: Final = (*REDELIVERIES, *(f"mask_seed={seed}" for seed in MASK_SEEDS))
"""What ``--stable`` scores beside the picture as it is."""

_IN_WORDS: Final = {
    "jpeg=85": "saved again as JPEG",
    "resize=0.75": "made smaller",
    "mirror": "mirrored",
    "mask_seed": "with other parts hidden",
}


def in_words(names: Iterable[str]) -> str:
    """Say for people what was done to a picture; a name that is not known stands for itself.

    Args:
        names: As `Verdict.redeliveries` has them.

    Example:
        >>> in_words(["jpeg=85", "mirror", "mask_seed=1", "mask_seed=2"])
        'saved again as JPEG, mirrored and with other parts hidden (twice)'
    """
    words = Counter(_IN_WORDS.get(name, _IN_WORDS.get(name.partition("=")[0], name)) for name in names)
    times = {1: "", 2: " (twice)"}
    *most, last = [word + times.get(count, f" ({count} times)") for word, count in words.items()]
    return f"{', '.join(most)} and {last}" if most else last


def redeliver(picture: Image.Image, content_hash: str) -> Iterator[tuple[str, Image.Image]]:
    """Yield each of `REDELIVERIES` by name; one picture at a time is in memory.

    Args:
        picture: RGB, as in `cinemae.pictures.image.LoadedImage.image`; it is not changed.
        content_hash: Of the same `LoadedImage`.

    Raises:
        ImageError: If a codec cannot hold the picture.

    Example:
        >>> [(name, picture.size) for name, picture in redeliver(Image.new("RGB", (40, 20)), "0f")]
        [('jpeg=85', (40, 20)), ('resize=0.75', (30, 15)), ('mirror', (40, 20))]
    """
    for name in REDELIVERIES:
        if name == "mirror":
            yield name, ImageOps.mirror(picture)
        else:
            yield name, parse_condition(name).apply(picture, content_hash)
