"""Operations and bytes that each stage of the method needs, counted by hand from the sizes of a backbone.

An operation is a multiplication or an addition, so a product of (m, k) with (k, n) has 2 m k n. Bytes are what has to
be read and written in float32 if nothing stays in a cache between two operators: weights, inputs and outputs of every
product, of attention and of the norms. What the caches keep makes real traffic smaller, at small batches above all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

_FLOAT = 4


@dataclass(frozen=True)
class Work:
    """Operations and bytes."""

    operations: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Self) -> Work:
        """Return the sum of both."""
        return Work(self.operations + other.operations, self.bytes + other.bytes)

    def seconds(self, rate: float, bandwidth: float) -> float:
        """Return the least time on a machine of `rate` operations and `bandwidth` bytes a second."""
        return max(self.operations / rate, self.bytes / bandwidth)


@dataclass(frozen=True)
class Sizes:
    """What of a masked autoencoder decides on its cost: widths, depths, L patches of P values, V visible, K passes."""

    width: int = 1024
    depth: int = 24
    decoder_width: int = 512
    decoder_depth: int = 8
    patches: int = 196
    patch_dim: int = 768
    visible: int = 49
    passes: int = 2


def product(rows: float, inputs: int, outputs: int) -> Work:
    """Return the work of one linear layer."""
    return Work(2 * rows * inputs * outputs, _FLOAT * (rows * (inputs + outputs) + inputs * outputs))


def layer(rows: float, asked: float, pairs: float, width: int) -> Work:
    """Return the work of one transformer layer whose hidden layer is four times as wide.

    Args:
        rows: Tokens, for which keys and values are computed.
        asked: Tokens for which an output is computed.
        pairs: Pairs of a query and a key.
        width: Of a token.
    """
    attention = Work(4 * pairs * width, _FLOAT * width * 2 * (rows + asked))
    norms = Work(0, _FLOAT * width * 2 * (rows + asked))
    keys_values = product(rows, width, width) + product(rows, width, width)
    query_output = product(asked, width, width) + product(asked, width, width)
    hidden = product(asked, width, 4 * width) + product(asked, 4 * width, width)
    return attention + norms + keys_values + query_output + hidden


def method(sizes: Sizes, images: int) -> dict[str, Work]:
    """Return the work of each stage of the packed pass, of which only what is read is computed."""
    s, whole, seen = sizes, 1 + sizes.patches, 1 + sizes.visible
    masked, decoded = images * s.passes * seen, images * s.passes * whole
    rows, hidden = images * whole + masked, images * s.passes * (s.patches - s.visible)
    encoder = Work()
    for _ in range(s.depth - 1):
        encoder += layer(rows, rows, images * whole**2 + masked * seen, s.width)
    encoder += layer(rows, images + masked, images * whole + masked * seen, s.width)
    decoder = product(masked, s.width, s.decoder_width) + product(hidden, s.decoder_width, s.patch_dim)
    for _ in range(s.decoder_depth - 1):
        decoder += layer(decoded, decoded, decoded * whole, s.decoder_width)
    decoder += layer(decoded, hidden, hidden * whole, s.decoder_width)
    patches = images * s.patches * s.patch_dim
    return {
        "embedding": product(images * s.patches, s.patch_dim, s.width),
        "encoder": encoder,
        "decoder": decoder,
        "scores": Work(8 * hidden * s.patch_dim, _FLOAT * (4 * hidden * s.patch_dim + 4 * patches)),
    }


def transcription(sizes: Sizes, images: int) -> Work:
    """Return the work of one call for the whole image and K calls with masks, each complete."""
    s, whole, seen = sizes, 1 + sizes.patches, 1 + sizes.visible
    total = Work()
    for rows, length in ((images * whole, whole), *[(images * seen, seen)] * s.passes):
        total += product(images * s.patches, s.patch_dim, s.width)
        for _ in range(s.depth):
            total += layer(rows, rows, rows * length, s.width)
    decoded = images * whole
    for _ in range(s.passes):
        total += product(images * seen, s.width, s.decoder_width) + product(decoded, s.decoder_width, s.patch_dim)
        for _ in range(s.decoder_depth):
            total += layer(decoded, decoded, decoded * whole, s.decoder_width)
    return total


def encoder_alone(width: int, depth: int, patches: int, patch_dim: int, images: int) -> Work:
    """Return the work of a plain vision transformer, such as CLIP's."""
    rows = images * (1 + patches)
    total = product(images * patches, patch_dim, width)
    for _ in range(depth):
        total += layer(rows, rows, rows * (1 + patches), width)
    return total
