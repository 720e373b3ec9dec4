"""Pictures that look alike: a perceptual hash of each, an exact search for near ones, and groups.

Two stages. `imagehash.phash` keeps 256 signs of a picture's lowest DCT frequencies; hashes that differ in at most
`RADIUS` bits are of look-alikes: saved anew, brightened, greyed, cut by 1 or 2 %, or generated again from the same
noise. Among those a thumbnail of 8x8 pixels tells copies, the same picture saved anew, from variants. What either stage
misses, and how the limits were chosen, is in ``docs/data.md``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

RADIUS = 32
"""Most bits, of 256, that the hashes of look-alikes differ in."""

COPY_LIMIT = 3.5
"""Largest mean difference, of 255, between the thumbnails of copies."""

_HASH_SIDE = 16
_HASH_BYTES = _HASH_SIDE**2 // 8
_DCT_SIDE = 4 * _HASH_SIDE  # what phash scales to in any case; done once, before the picture is made grey
_THUMBNAIL_SIDE = 8
_FLAT = 2.0  # grey levels; below this standard deviation a hash is of noise
_BATCH = 256  # hashes looked up at once, and
_MOST_PAIRS = 100_000  # pairs compared at once: they bound what a group of thousands takes in memory


@dataclass(frozen=True)
class NearGroups:
    """Groups of pictures, by their places in the list given, ascending.

    Attributes:
        copies: Each the same picture saved anew.
        look_alikes: Each joined by more than copying: it holds at least two pictures that are no copies.
    """

    copies: tuple[tuple[int, ...], ...]
    look_alikes: tuple[tuple[int, ...], ...]


def picture_print(image: Image.Image) -> bytes | None:
    """Return hash and thumbnail of a picture, 224 bytes; None if it is nearly one flat colour and so has no features.

    Args:
        image: RGB.

    Example:
        >>> picture_print(Image.new("RGB", (40, 30), "red"))
        >>> len(picture_print(Image.linear_gradient("L").convert("RGB")))
        224
    """
    small = image.resize((_DCT_SIDE, _DCT_SIDE), Image.Resampling.LANCZOS)
    thumbnail = np.asarray(small.resize((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BICUBIC))
    if thumbnail.mean(axis=2).std() < _FLAT:
        return None
    signs = imagehash.phash(small, hash_size=_HASH_SIDE).hash
    return np.packbits(signs).tobytes() + thumbnail.tobytes()


def find_near(prints: Sequence[bytes]) -> NearGroups:
    """Group pictures that look alike. Every pair within `RADIUS` is found; nothing is sampled.

    Args:
        prints: Of N pictures, as `picture_print` gives them.
    """
    if len(prints) < 2:
        return NearGroups((), ())
    table = np.frombuffer(b"".join(prints), np.uint8).reshape(len(prints), -1)
    hashes, thumbnails = np.ascontiguousarray(table[:, :_HASH_BYTES]), table[:, _HASH_BYTES:]
    copies = alike = np.arange(len(prints))
    for first, second in _near_pairs(hashes):
        alike = _join(alike, first, second)
        apart = copies[first] != copies[second]  # one large group has millions of pairs: most are joined already
        first, second = first[apart], second[apart]
        differences = np.abs(thumbnails[first].astype(np.int16) - thumbnails[second]).mean(axis=1)
        same = differences <= COPY_LIMIT
        copies = _join(copies, first[same], second[same])
    groups = _members(alike)
    return NearGroups(
        copies=tuple(_members(copies)),
        look_alikes=tuple(group for group in groups if len(np.unique(copies[list(group)])) > 1),
    )


def _near_pairs(hashes: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pairs within `RADIUS`, each once, many at a time but never all."""
    index = faiss.IndexBinaryFlat(8 * _HASH_BYTES)
    index.add(hashes)
    held: list[NDArray[np.int64]] = []
    for start in range(0, len(hashes), _BATCH):
        bounds, _, found = index.range_search(hashes[start : start + _BATCH], RADIUS + 1)  # faiss means "below"
        asked = start + np.repeat(np.arange(len(bounds) - 1), np.diff(bounds).astype(np.int64))
        once = asked < found
        held.append(np.stack([asked[once], found[once]]))
        if start + _BATCH >= len(hashes) or sum(pairs.shape[1] for pairs in held) >= _MOST_PAIRS:
            pairs = np.concatenate(held, axis=1)
            held = []
            for part in range(0, pairs.shape[1], _MOST_PAIRS):
                yield pairs[0, part : part + _MOST_PAIRS], pairs[1, part : part + _MOST_PAIRS]


def _join(groups: NDArray[Any], first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[Any]:
    """Return the group of each of N pictures after joining those of some pairs."""
    apart = groups[first] != groups[second]
    if not apart.any():
        return groups
    first, second = first[apart], second[apart]
    count = int(groups.max()) + 1
    edges = coo_array((np.ones(len(first), bool), (groups[first], groups[second])), shape=(count, count))
    _, joined = connected_components(edges, directed=False)
    merged: NDArray[Any] = joined[groups]
    return merged


def _members(groups: NDArray[Any]) -> list[tuple[int, ...]]:
    """Return the groups of two and more, in the order of their first members."""
    members: defaultdict[int, list[int]] = defaultdict(list)
    for place, group in enumerate(groups.tolist()):
        members[group].append(place)
    return [tuple(each) for each in members.values() if len(each) > 1]
