"""The views of a picture that designs of the starter look at, each 224 pixels a side.

| name | what |
|---|---|
| ws | the whole picture, squashed to a square |
| sc | the centre square, where the picture is none itself |
| wc | the centre square without a sixteenth at each edge |
| e0, e1 | the squares at the two ends of the longer side |
| m1 to m4 | the quarters of the whole picture squashed to 448 pixels |
| c0 | native pixels of the centre |
| c1 to c4 | native pixels near the four corners, where there is room for at least 64 pixels more |
| th, tl | of 25 native windows on a grid the one with the most and the least texture |
| zz | the inner 112 native pixels of the centre, twice as large |
| rr | c0 less its blur, four times as strong |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from cinemae.core.preprocess import native_view, whole_view

SIDE: Final = 224
ROOM: Final = 64
"""Pixels that a side must have beyond a view's for native views near both its ends."""

Pixels = NDArray[np.uint8]


def cut_views(image: Image.Image, names: Sequence[str]) -> Iterator[tuple[str, Pixels]]:
    """Yield those of the named views that the picture has, (height, width, 3).

    Args:
        image: RGB.
        names: As in the table above.
    """
    native = _padded(np.asarray(image))
    for group, cut in _GROUPS.items():
        if any(name in names for name in group):
            yield from ((name, view) for name, view in cut(image, native) if name in names)


def _squashed(image: Image.Image, box: tuple[float, float, float, float] | None = None, side: int = SIDE) -> Pixels:
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box, reducing_gap=3))


def _padded(pixels: Pixels) -> Pixels:
    """Mirror a picture smaller than a view at its edges."""
    missing = [(0, max(0, SIDE - side)) for side in pixels.shape[:2]]
    return np.pad(pixels, (*missing, (0, 0)), mode="symmetric")


def _window(native: Pixels, left: int, top: int, side: int = SIDE) -> Pixels:
    return native[top : top + side, left : left + side]


def _whole(image: Image.Image, native: Pixels) -> Iterator[tuple[str, Pixels]]:
    yield "ws", whole_view(image, SIDE)


def _square(image: Image.Image, native: Pixels) -> Iterator[tuple[str, Pixels]]:
    side = min(image.size)
    if max(image.size) > 1.03 * side:
        left, top = (image.width - side) // 2, (image.height - side) // 2
        yield "sc", whole_view(image.crop((left, top, left + side, top + side)), SIDE)


def _centre_square(image: Image.Image, native: Pixels) -> Iterator[tuple[str, Pixels]]:
    side = min(image.size)
    left, top, edge = (image.width - side) / 2, (image.height - side) / 2, side / 16
    yield "wc", _squashed(image, (left + edge, top + edge, left + side - edge, top + side - edge))


def _ends(image: Image.Image, native: Pixels) -> Iterator[tuple[str, Pixels]]:
    side = min(image.size)
    yield "e0", _squashed(image, (0, 0, side, side))
    if max(image.size) > 1.15 * side:
        yield "e1", _squashed(image, (image.width - side, image.height - side, image.width, image.height))


def _quarters(image: Image.Image, native: Pixels) -> Iterator[tuple[str, Pixels]]:
    double = _squashed(image, side=2 * SIDE)
    for number in range(4):
        row, column = divmod(number, 2)
        yield f"m{number + 1}", _window(double, column * SIDE, row * SIDE)


def _room(native: Pixels) -> tuple[int, int]:
    return native.shape[1] - SIDE, native.shape[0] - SIDE


def _centre(image: Image.Image, native: Pixels) -> Iterator[tuple[str, Pixels]]:
    yield "c0", native_view(image, SIDE)


def _corners(image: Image.Image, native: Pixels) -> Iterator[tuple[str, Pixels]]:
    across, down = _room(native)
    lefts, tops = ((0.1, 0.9) if room >= ROOM else (0.5,) for room in (across, down))
    places = [(left, top) for top in tops for left in lefts]
    if len(places) > 1:
        for number, (left, top) in enumerate(places, 1):
            yield f"c{number}", _window(native, round(left * across), round(top * down))


def _by_texture(image: Image.Image, native: Pixels) -> Iterator[tuple[str, Pixels]]:
    gray = native.astype(np.float32).mean(2)
    centre = gray[1:-1, 1:-1]
    laplacian = np.abs(4 * centre - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:])
    sums = np.pad(np.minimum(laplacian, 40).cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))
    across, down = _room(native)
    side = SIDE - 2
    windows = sorted(
        (sums[y + side, x + side] - sums[y, x + side] - sums[y + side, x] + sums[y, x], x, y)
        for y in np.unique(np.linspace(0, down, 5).round().astype(int)).tolist()
        for x in np.unique(np.linspace(0, across, 5).round().astype(int)).tolist()
    )
    if len(windows) > 1:
        yield "th", _window(native, *windows[-1][1:])
        yield "tl", _window(native, *windows[0][1:])


def _zoom(image: Image.Image, native: Pixels) -> Iterator[tuple[str, Pixels]]:
    across, down = _room(native)
    inner = _window(native, across // 2 + SIDE // 4, down // 2 + SIDE // 4, SIDE // 2)
    yield "zz", _squashed(Image.fromarray(inner))


def _residual(image: Image.Image, native: Pixels) -> Iterator[tuple[str, Pixels]]:
    _, centre = next(_centre(image, native))
    blurred = np.asarray(Image.fromarray(centre).filter(ImageFilter.GaussianBlur(1.5)), np.float32)
    yield "rr", np.clip((centre - blurred) * 4 + 118, 0, 255).astype(np.uint8)


_GROUPS: Final[dict[tuple[str, ...], Callable[[Image.Image, Pixels], Iterator[tuple[str, Pixels]]]]] = {
    ("ws",): _whole,
    ("sc",): _square,
    ("wc",): _centre_square,
    ("e0", "e1"): _ends,
    ("m1", "m2", "m3", "m4"): _quarters,
    ("c0",): _centre,
    ("c1", "c2", "c3", "c4"): _corners,
    ("th", "tl"): _by_texture,
    ("zz",): _zoom,
    ("rr",): _residual,
}
