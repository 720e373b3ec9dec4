"""What the near-duplicate search of `cinemae data check` finds and what it costs: the figures in docs/data.md.

``python -m benchmarks.near_duplicates FOLDER`` takes every picture of a folder (or each n-th, ``--every``) through a
list of alterations and counts how many are found again, compares all pictures with each other, and times the search
among drawn hashes with planted copies.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from benchmarks.measure import WrongAnswerError
from cinemae.doctor.near_duplicates import COPY_LIMIT, RADIUS, NearGroups, find_near, picture_print
from cinemae.pictures.corruptions import parse_condition
from cinemae.pictures.image import LoadedImage, load_image
from cinemae.sources.archives import read_encoded
from cinemae.sources.datasets import read_records
from cinemae.sources.records import ImageRecord
from cinemae.sources.stream import read_ahead

CONDITIONS = (
    "jpeg=95", "jpeg=75", "jpeg=50", "jpeg=30", "jpeg=10", "webp=50", "resize=0.5", "resize=0.25", "resize=0.5+jpeg=50",
    "blur=2", "noise=10", "grayscale",
)  # fmt: skip
MARGINS = (0.01, 0.02, 0.04, 0.08)
BITS = 256
THUMBNAIL_BYTES = 192


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="pictures, as for cinemae extract")
    parser.add_argument("--every", type=int, default=4, help="alter each n-th picture only")
    parser.add_argument("--hashes", type=int, default=100_000, help="how many hashes to draw")
    options = parser.parse_args()
    records = read_records(options.folder)
    _print_alterations(records[:: options.every])
    _print_pairs(records)
    _print_time(options.hashes)


def alterations(loaded: LoadedImage) -> Iterator[tuple[str, Image.Image]]:
    """Yield a picture altered in each way."""
    image = loaded.image
    for name in CONDITIONS:
        yield name, parse_condition(name).apply(image, loaded.content_hash)
    yield "brightness x 1.2", ImageEnhance.Brightness(image).enhance(1.2)
    yield "contrast x 1.3", ImageEnhance.Contrast(image).enhance(1.3)
    for margin in MARGINS:
        yield f"cut by {margin:.0%}", _cut(image, margin)
    yield "turned by 1 degree", image.rotate(1)
    yield "mirrored", ImageOps.mirror(image)


def _cut(image: Image.Image, margin: float) -> Image.Image:
    """Take half of `margin` off each edge."""
    left, top = (round(side * margin / 2) for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top))


def _distances(record: ImageRecord) -> list[tuple[str, int, float]]:
    loaded = load_image(read_encoded(record))
    before = picture_print(loaded.image)
    if before is None:
        return []
    return [
        (name, *_distance(before, picture_print(image) or bytes(len(before)))) for name, image in alterations(loaded)
    ]


def _distance(first: bytes, second: bytes) -> tuple[int, float]:
    """Return differing bits and mean difference of the thumbnails."""
    one, other = (np.frombuffer(each, np.uint8) for each in (first, second))
    split = BITS // 8
    bits = int(np.unpackbits(one[:split] ^ other[:split]).sum())
    return bits, float(np.abs(one[split:].astype(int) - other[split:]).mean())


def _print_alterations(records: list[ImageRecord]) -> None:
    table: dict[str, list[tuple[int, float]]] = {}
    for found in read_ahead(_distances, records):
        for name, bits, difference in found:
            table.setdefault(name, []).append((bits, difference))
    print(f"{len(records)} pictures; found again within {RADIUS} of {BITS} bits; a copy below {COPY_LIMIT} of 255\n")
    print("| alteration | found | called a copy | bits, median | bits, 95 % | thumbnail, largest |")
    print("|---|---|---|---|---|---|")
    for name, values in table.items():
        bits, differences = (np.array(column) for column in zip(*values, strict=True))
        near = bits <= RADIUS
        copies = near & (differences <= COPY_LIMIT)
        print(
            f"| {name} | {near.mean():.1%} | {copies.mean():.1%} | {np.median(bits):.0f} | "
            f"{np.percentile(bits, 95):.0f} | {differences.max():.1f} |"
        )


def _print_pairs(records: list[ImageRecord]) -> None:
    with ThreadPoolExecutor(2) as pool:
        prints = [each for each in pool.map(_print_of, records) if each is not None]
    groups = find_near(prints)
    print(f"\n{len(prints):,} pictures, {len(prints) * (len(prints) - 1) // 2:,} pairs, as they are:")
    print(f"{len(groups.copies)} groups of copies, {len(groups.look_alikes)} groups of look-alikes")


def _print_of(record: ImageRecord) -> bytes | None:
    return picture_print(load_image(read_encoded(record)).image)


def _print_time(count: int) -> None:
    """Time the search among random hashes; 1000 of them have a copy with up to `RADIUS` bits turned."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (count, BITS // 8), np.uint8)
    chosen = rng.choice(count, 1000, replace=False)
    turned = np.unpackbits(hashes[chosen], axis=1)
    for row in turned:
        row[rng.choice(BITS, rng.integers(0, RADIUS + 1), replace=False)] ^= 1
    everything = np.vstack([hashes, np.packbits(turned, axis=1)])
    prints = [row.tobytes() + bytes(THUMBNAIL_BYTES) for row in everything]
    seconds, groups = _timed(partial(find_near, prints))
    expected = {(int(place), count + number) for number, place in enumerate(chosen)}
    if not expected <= set(groups.copies):
        raise WrongAnswerError(f"{len(expected - set(groups.copies))} of the 1000 planted copies were not found.")
    print(f"\n{len(prints):,} drawn hashes: {seconds:.1f} s of processor time, all 1000 planted copies found")


def _timed(function: Callable[[], NearGroups]) -> tuple[float, NearGroups]:
    began = time.process_time()
    result = function()
    return time.process_time() - began, result


if __name__ == "__main__":
    main()
