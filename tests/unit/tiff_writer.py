"""Writes TIFF files of every variety, for tests: samples in, bytes out."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import imagecodecs
import numpy as np

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5
PACK = {
    1: bytes,
    5: imagecodecs.lzw_encode,
    8: zlib.compress,
    32773: imagecodecs.packbits_encode,
}


@dataclass(frozen=True)
class Tiff:
    """How to write samples, (height, width, samples a pixel)."""

    bits: int = 8
    photometric: int = RGB
    order: str = "<"
    big: bool = False
    planar: bool = False
    tile: int = 0
    compression: int = 1
    predictor: int = 1
    extra: tuple[int, ...] = ()
    colours: tuple[int, ...] = ()
    strip_rows: int = 5

    def write(self, samples: np.ndarray, **tags: tuple[int, tuple[int, ...]]) -> bytes:
        """Return a file; `tags` adds (type, values) by names such as ``t254``."""
        return self.join([self.directory(samples, **tags)])

    def directory(self, samples: np.ndarray, **tags: tuple[int, tuple[int, ...]]) -> tuple[dict, list[bytes]]:
        height, width, count = samples.shape
        planes = [samples[..., [one]] for one in range(count)] if self.planar else [samples]
        pieces = [self._pack(piece) for plane in planes for piece in self._cut(plane)]
        entries = {
            256: (4, (width,)), 257: (4, (height,)), 258: (3, (self.bits,) * count), 259: (3, (self.compression,)),
            262: (3, (self.photometric,)), 277: (3, (count,)), 284: (3, (2 if self.planar else 1,)),
        }  # fmt: skip
        if self.predictor > 1:
            entries[317] = (3, (self.predictor,))
        if self.colours:
            entries[320] = (3, self.colours)
        if self.extra:
            entries[338] = (3, self.extra)
        if self.tile:
            entries |= {322: (4, (self.tile,)), 323: (4, (self.tile,))}
        else:
            entries[278] = (4, (self.strip_rows,))
        entries |= {int(name[1:]): value for name, value in tags.items()}
        return entries, pieces

    def join(self, directories: list[tuple[dict, list[bytes]]], inner: dict[int, list[int]] | None = None) -> bytes:
        """Return a file of directories; those that `inner` lists by the number of another are its SubIFDs."""
        inner = inner or {}
        data = bytearray(b"II" if self.order == "<" else b"MM")
        data += struct.pack(self.order + ("HHHQ" if self.big else "HI"), *((43, 8, 0, 0) if self.big else (42, 0)))
        places: dict[int, int] = {}
        subs = [one for each in inner.values() for one in each]
        chain = [number for number in range(len(directories)) if number not in subs]
        for number in [*subs, *reversed(chain)]:
            entries, pieces = directories[number]
            offsets = []
            for piece in pieces:
                data += b"\0" * (len(data) % 2)
                offsets.append(len(data))
                data += piece
            tiled = 322 in entries
            entries = {
                **entries,
                324 if tiled else 273: (16 if self.big else 4, tuple(offsets)),
                325 if tiled else 279: (4, tuple(map(len, pieces))),
            }
            if number in inner:
                entries[330] = (4, tuple(places[one] for one in inner[number]))
            later = chain[chain.index(number) + 1 :] if number in chain else []
            data += b"\0" * (len(data) % 2)
            places[number] = len(data)
            data += self._entries(entries, len(data), places[later[0]] if later else 0)
        struct.pack_into(self.order + ("Q" if self.big else "I"), data, 8 if self.big else 4, places[chain[0]])
        return bytes(data)

    def _entries(self, entries: dict, at: int, following: int) -> bytes:
        wide, inline, number = ("Q", 8, "Q") if self.big else ("I", 4, "H")
        codes = {1: "B", 2: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}
        size = 4 + 2 * inline
        begin = at + (8 if self.big else 2) + size * len(entries) + inline
        body, behind = struct.pack(self.order + number, len(entries)), b""
        for tag, (kind, values) in sorted(entries.items()):
            value = struct.pack(f"{self.order}{len(values)}{codes[kind]}", *values)
            place = value.ljust(inline, b"\0")
            if len(value) > inline:
                place = struct.pack(self.order + wide, begin + len(behind))
                behind += value + b"\0" * (len(value) % 2)
            body += struct.pack(f"{self.order}HH{wide}", tag, kind, len(values)) + place
        return body + struct.pack(self.order + wide, following) + behind

    def _cut(self, plane: np.ndarray) -> list[np.ndarray]:
        height, width, _ = plane.shape
        if not self.tile:
            return [plane[top : top + self.strip_rows] for top in range(0, height, self.strip_rows)]
        side = self.tile
        padded = np.pad(plane, ((0, -height % side), (0, -width % side), (0, 0)))
        return [
            padded[top : top + side, left : left + side]
            for top in range(0, height, side)
            for left in range(0, width, side)
        ]

    def _pack(self, piece: np.ndarray) -> bytes:
        values = piece.astype(np.int64)
        if self.predictor == 2:
            values[:, 1:] -= values[:, :-1].copy()
            values &= (1 << self.bits) - 1
        rows = values.reshape(len(values), -1)
        if self.bits == 16:
            raw = rows.astype(f"{self.order}u2").tobytes()
        else:
            single = (rows[..., None] >> np.arange(self.bits - 1, -1, -1)) & 1
            raw = np.packbits(single.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()
        return PACK[self.compression](raw)
