"""Cheap figures of a picture that tell whether it is one that a detector of generated images judges badly.

Two small copies are looked at, so that a photograph of 12 megapixels costs milliseconds: the *view*, the square that
the model is shown (`cinemae.core.preprocess`), shrunk to the same size; and *tiles*, up to 16 pieces of 96x96 pixels
spread over the picture as it was stored, for what scaling destroys: hard edges and the 8x8 grid of JPEG.
`cinemae.evidence.image_warnings` holds the figures against limits.

Matrix products are kept in pieces too small for BLAS to share among threads: many pictures are measured side by side,
and a BLAS thread that waits for its next share keeps a core busy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cinemae.config import ImageConfig
from cinemae.pictures.jpeg_quality import luminance_steps

GRID_QUALITY = 60
"""The JPEG quality at and below which `ImageMeasures.grid_ratio` falls towards 0."""

_Pixels = NDArray[np.float32]

_LUMA = np.array((0.299, 0.587, 0.114), np.float32)
_THINNED = 3  # times the side of the view
_LEAST_SIDE = 24  # of view and tiles: below, there is too little to measure
_TILE, _TILES = 96, 4  # side in pixels; at most so many across and down
_BLOCK = 8
_FLAT_DEVIATION = 2.0  # grey levels: what JPEG at good quality leaves of a painted wall
_TONE_CONTRAST = 10.0  # grey levels: less, and nobody can tell a toned picture from one of a single colour
_EDGE_STEP, _EDGE_FLAT = 48, 2  # grey levels
_FRAME_SHARE = 0.25  # of the side: how wide a bar is looked for
_FRAME_SAMPLES = 128  # lines, and places on each
_FRAME_TOLERANCE = 8  # grey levels
_LEAST_COEFFICIENTS = 200
_LOW = [(u, v) for u in range(6) for v in range(6) if 0 < u + v <= 5]


@dataclass(frozen=True)
class ImageMeasures:
    """What `measure_image` found; nan where the picture is too small or too empty to tell.

    Attributes:
        short_side: The shorter side in pixels.
        in_square: Share of the picture's area inside its centre square.
        flat_share: Share of 8x8 blocks of the view whose brightness deviates by less than 2 levels (of 255).
        detail_floor: How far a pixel of the view differs from the mean of its four neighbours, in levels: the mean
            over a block of 8x8, in the smoothest tenth of the blocks.
        colour_spread: How much colour there is beyond brightness, in levels: the 95th percentile, over 4x4 blocks of
            the view, of the length of (R - Y, B - Y), or of what a parabola of Y leaves of it if that is less: in a
            toned picture colour follows brightness.
        fine_detail: Power of the view's finest detail (above 0.69 of the highest frequency) over that of its middle
            (0.25 to 0.5), or of the middle over the coarse (0.125 to 0.25) if that is less, as a decimal logarithm:
            enlarging a picture leaves the finest empty, and enlarging it much the middle too.
        grid_ratio: DCT coefficients of tiles, on the 8x8 grid, of sizes that JPEG of `GRID_QUALITY` leaves none of,
            over those off the grid: 1 for what was never compressed, or scaled since; 0 for what was.
        hard_edges: Share of hard edges, a step of 48 levels within 2 pixels beside 3 that are the same, among the
            places of the tiles that are not flat: letters, lines, windows.
        frame: How much of an edge of the picture is a bar: of the line right behind a bar of one brightness, the share
            of pixels that are unlike the bar; 0 if there is no bar.
    """

    short_side: int
    in_square: float
    flat_share: float
    detail_floor: float
    colour_spread: float
    fine_detail: float
    grid_ratio: float
    hard_edges: float
    frame: float


def measure_image(image: Image.Image, config: ImageConfig | None = None) -> ImageMeasures:
    """Measure a picture.

    Args:
        image: RGB, upright, any size from 1x1, as in `cinemae.pictures.image.LoadedImage.image`.
        config: How the model is shown it; None for the defaults.

    Example:
        >>> measures = measure_image(Image.new("RGB", (400, 200), "navy"))
        >>> measures.short_side, measures.in_square, measures.flat_share, measures.frame
        (200, 0.5, 1.0, 0.0)
    """
    short, long = sorted(image.size)
    view, tiles = _view(image, config or ImageConfig()), _tiles(image)
    luma = np.asarray(view, np.float32) @ _LUMA
    small = min(luma.shape) < _LEAST_SIDE
    return ImageMeasures(
        short_side=short,
        in_square=short / long,
        flat_share=math.nan if small else float((_blocks(luma).std(axis=(1, 3)) < _FLAT_DEVIATION).mean()),
        detail_floor=math.nan if small else _detail_floor(luma),
        colour_spread=math.nan if small else _colour_spread(view),
        fine_detail=math.nan if small else _fine_detail(luma),
        grid_ratio=math.nan if tiles is None else _grid_ratio(tiles),
        hard_edges=math.nan if tiles is None else _hard_edges(tiles),
        frame=_frame(image),
    )


def _view(image: Image.Image, config: ImageConfig) -> Image.Image:
    """Return what the model is shown before its crops, at its size or the picture's own if that is less."""
    width, height = image.size
    side = config.square_side
    box = (0, 0, width, height)
    if not config.whole:
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        box = (left, top, left + short, top + short)
    lengths = (box[2] - box[0], box[3] - box[1])
    # The exact filter takes fifteen times as long on 12 megapixels; thinned, they come out nearly alike.
    thinned = image.resize([min(length, _THINNED * side) for length in lengths], Image.Resampling.NEAREST, box=box)
    return thinned.resize([min(length, side) for length in lengths], Image.Resampling.BICUBIC, reducing_gap=1.5)


def _tiles(image: Image.Image) -> _Pixels | None:
    """Return brightness of pieces of equal size, (N, H, W), none across an edge of the 8x8 grid; None if too small."""
    sides = [min(_TILE, side // _BLOCK * _BLOCK) for side in image.size]
    if min(sides) < _LEAST_SIDE:
        return None
    starts = []
    for length, side in zip(image.size, sides, strict=True):
        count = min(_TILES, math.ceil(length / side))
        starts.append([int(start) // _BLOCK * _BLOCK for start in np.linspace(0, length - side, count)])
    boxes = [(left, top, left + sides[0], top + sides[1]) for top in starts[1] for left in starts[0]]
    return np.stack([np.asarray(image.crop(box).convert("L"), np.float32) for box in boxes])


def _blocks(plane: _Pixels) -> _Pixels:
    """Cut (H, W) into blocks of 8x8, (rows, 8, columns, 8); what is left over at the ends is dropped."""
    rows, columns = plane.shape[0] // _BLOCK, plane.shape[1] // _BLOCK
    return plane[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)


def _detail_floor(luma: _Pixels) -> float:
    around = (luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]) / 4
    difference = np.abs(luma[1:-1, 1:-1] - around)
    return float(np.quantile(_blocks(difference).mean(axis=(1, 3)), 0.1))


def _colour_spread(view: Image.Image) -> float:
    """Means over blocks, because JPEG keeps colour at half the resolution and rounds it."""
    means = np.asarray(view.reduce(4), np.float32)
    brightness = means @ _LUMA
    colour = (means[..., ::2] - brightness[..., None]).reshape(-1, 2)
    brightness = brightness.ravel()
    spread = _length_quantile(colour)
    if brightness.std() < _TONE_CONTRAST:
        return spread
    scaled = brightness / 128 - 1
    powers = np.stack([np.ones_like(scaled), scaled, scaled**2], axis=1)
    # Least squares, by a method that also takes pictures of so few brightnesses that many parabolas fit.
    fitted = powers @ np.linalg.lstsq(powers.T @ powers, powers.T @ colour)[0]
    return min(spread, _length_quantile(colour - fitted))


def _length_quantile(colour: _Pixels) -> float:
    return float(np.quantile(np.hypot(colour[:, 0], colour[:, 1]), 0.95))


def _fine_detail(luma: _Pixels) -> float:
    height, width = luma.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    power = np.abs(np.fft.rfft2((luma - luma.mean()) * window)) ** 2 / luma.size
    # Of both directions the higher: enlarging empties all but a square around 0.
    frequency = 2 * np.maximum(np.abs(np.fft.fftfreq(height))[:, None], np.fft.rfftfreq(width))
    bands = ((0.125, 0.25), (0.25, 0.5), (0.6875, 1.01))
    coarse, middle, finest = (power[(frequency >= low) & (frequency < high)].mean() + 1e-3 for low, high in bands)
    return float(np.log10(min(finest / middle, middle / coarse)))


def _grid_ratio(tiles: _Pixels) -> float:
    """Count on the stored grid and on the likeliest other one; a crop may have moved it."""
    ratios = []
    for across, down in {(0, 0), (_likeliest_phase(tiles), _likeliest_phase(tiles.transpose(0, 2, 1)))}:
        beside = _in_gap(tiles, (across + 4) % _BLOCK, (down + 4) % _BLOCK)
        if beside.sum() >= _LEAST_COEFFICIENTS:
            ratios.append(float(_in_gap(tiles, across, down).mean() / beside.mean()))
    return min(ratios, default=math.nan)


def _likeliest_phase(tiles: _Pixels) -> int:
    """Return where blocks begin across, 0 to 7: where a step from pixel to pixel exceeds the steps beside it most."""
    steps = np.abs(np.diff(tiles, axis=2))
    excess = steps[..., 1:-1] - (steps[..., :-2] + steps[..., 2:]) / 2
    excess = np.clip(excess, -4, 4).mean(axis=(0, 1))  # edges of things would count more than blocks
    begins = (np.arange(excess.size) + 2) % _BLOCK
    means = np.bincount(begins, excess, _BLOCK) / np.bincount(begins, minlength=_BLOCK)
    return int(means.argmax())


def _in_gap(tiles: _Pixels, across: int, down: int) -> NDArray[np.bool_]:
    """Tell of each coefficient whether quantisation would have rounded it away, (blocks, 20).

    Where a coefficient may take only multiples of a step s or longer, none lies between 0.2 and 0.8 of s: rounding the
    pixels moves it by far less than 0.2 s.
    """
    rows, columns = (tiles.shape[1] - down) // _BLOCK, (tiles.shape[2] - across) // _BLOCK
    cut = tiles[:, down : down + rows * _BLOCK, across : across + columns * _BLOCK]
    blocks = cut.reshape(-1, rows, _BLOCK, columns, _BLOCK).transpose(0, 1, 3, 2, 4)
    sizes = np.abs(blocks.reshape(-1, rows * columns, _BLOCK * _BLOCK) @ _TRANSFORM)
    return np.asarray((sizes > 0.2) & (sizes < 0.8))


def _hard_edges(tiles: _Pixels) -> float:
    edges = places = 0
    for lines in (tiles, tiles.transpose(0, 2, 1)):
        even = np.abs(np.diff(lines, axis=2)) <= _EDGE_FLAT
        flat = even[..., :-1] & even[..., 1:]  # three pixels alike, from each place
        step = np.abs(lines[..., 2:] - lines[..., :-2]) >= _EDGE_STEP
        edges += int(((flat[..., :-2] & step[..., 2:]) | (step[..., :-2] & flat[..., 2:])).sum())
        places += int((~flat).sum())
    return edges / max(places, 1)


def _frame(image: Image.Image) -> float:
    width, height = image.size
    if min(image.size) < _LEAST_SIDE:
        return 0.0
    across, down = (round(_FRAME_SHARE * side) for side in image.size)
    top, left = (0, 0, width, down), (0, 0, across, height)
    bottom, right = (0, height - down, width, height), (width - across, 0, width, height)
    strips = []
    for box in (top, bottom, left, right):
        size = (min(box[2] - box[0], _FRAME_SAMPLES), min(box[3] - box[1], _FRAME_SAMPLES))
        strips.append(np.asarray(image.resize(size, Image.Resampling.NEAREST, box=box).convert("L"), np.int16))
    return max(map(_bar, (strips[0], strips[1][::-1], strips[2].T, strips[3].T[::-1])))


def _bar(lines: NDArray[np.int16]) -> float:
    """Judge one edge of the picture, its outermost line first, (D, L)."""
    like = (np.abs(lines - np.median(lines[0])) <= _FRAME_TOLERANCE).mean(axis=1)
    ends = np.flatnonzero(like < 0.98)
    if not ends.size or ends[0] < 2:
        return 0.0
    behind = min(int(ends[0]) + 2, len(like) - 1)  # past the blur between bar and picture
    return float(1 - like[behind])


def _transform() -> _Pixels:
    """Return the DCT of low frequencies in units of the steps of `GRID_QUALITY`, (64, 20): pixels of a block in."""
    frequency, place = np.arange(_BLOCK)[:, None], np.arange(_BLOCK)
    waves = np.cos((2 * place + 1) * frequency * np.pi / 16) * np.where(frequency == 0, np.sqrt(1 / 8), 0.5)
    steps = luminance_steps(GRID_QUALITY)
    columns = [np.outer(waves[v], waves[u]).ravel() / steps[v, u] for u, v in _LOW]
    return np.stack(columns, axis=1).astype(np.float32)


_TRANSFORM = _transform()
