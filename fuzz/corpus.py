"""Inputs to start from, drawn in code: small, of every format and with the chunks that decoders take apart."""

from __future__ import annotations

import io
import json
import struct
import zlib
from typing import Any

from PIL import Image, PngImagePlugin, features

from cinemae.config import (
    BackboneInfo,
    DecisionConfig,
    ExtractorConfig,
    HeadConfig,
    ImageConfig,
    LcasConfig,
    LcasReference,
    MaskConfig,
    ModelConfig,
)

FORMATS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("RGB", "JPEG", {"quality": 60}),
    ("CMYK", "JPEG", {}),
    ("L", "JPEG", {"progressive": True}),
    ("P", "PNG", {}),
    ("RGBA", "PNG", {}),
    ("I;16", "PNG", {}),
    ("RGB", "WEBP", {"quality": 50}),
    ("RGBA", "WEBP", {"lossless": True}),
    ("P", "GIF", {}),
    ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    ("F", "TIFF", {}),
    ("1", "TIFF", {"compression": "group4"}),
    ("RGB", "BMP", {}),
    ("RGB", "PPM", {}),
    ("RGB", "JPEG2000", {}),
    ("RGB", "AVIF", {"quality": 40}),
)
_FEATURE = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}


def images() -> dict[str, bytes]:
    """Return an image of every kind, and some that are none, by name."""
    found = {}
    for mode, kind, options in FORMATS:
        if kind not in _FEATURE or features.check(_FEATURE[kind]):
            buffer = io.BytesIO()
            Image.linear_gradient("L").resize((24, 16)).convert(mode).save(buffer, kind, **options)
            found[f"{kind} {mode} {options}"] = buffer.getvalue()
    return {**found, **_with_metadata(), **_damaged(found)}


def _with_metadata() -> dict[str, bytes]:
    """JPEG and PNG with EXIF, XMP, text and a colour profile; an animation."""
    picture = Image.linear_gradient("L").resize((24, 16)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112], exif[0x0131], exif[0x010F] = 6, "a program", "a maker"
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a prompt\nSteps: 20, Sampler: Euler", zip=True)
    text.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    jpeg, png, gif = io.BytesIO(), io.BytesIO(), io.BytesIO()
    picture.save(
        jpeg, "JPEG", exif=exif, xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", comment=b"a comment", dpi=(72, 72)
    )
    picture.save(png, "PNG", pnginfo=text, icc_profile=bytes(128), exif=exif)
    picture.save(gif, "GIF", save_all=True, append_images=[picture.rotate(90)])
    return {"JPEG with metadata": jpeg.getvalue(), "PNG with metadata": png.getvalue(), "animation": gif.getvalue()}


def _damaged(whole: dict[str, bytes]) -> dict[str, bytes]:
    """What has gone wrong for others: lies of headers, bombs, ends before the end."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def header(width: int, height: int) -> bytes:
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))

    bomb = chunk(b"IDAT", zlib.compress(bytes(2**16)))
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**21)))
    return {
        "nothing": b"",
        "huge header": header(2**31 - 1, 2**31 - 1) + bomb,
        "many pixels": header(60_000, 60_000) + bomb,
        "text bomb": header(1, 1) + text + bomb,
        "GIF that lies": b"GIF89a\xff\xff\xff\xff\0\0\0;",
        "TIFF with a loop": b"II*\0\x08\0\0\0\x01\0\0\1\4\0\1\0\0\0\x18\0\0\0\x08\0\0\0",
        "HEIF brand without more": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1",
        **{f"half of {name}": data[: len(data) // 2] for name, data in whole.items()},
    }


def model_files() -> dict[str, bytes]:
    """Return files that a model directory may hold; the first byte says which, see `fuzz.targets.read_any_model`."""
    config = ModelConfig(
        name="fuzz",
        backbone=BackboneInfo("0" * 64, 8, 16, 16),
        extractor=ExtractorConfig(image=ImageConfig(size=32, resize_to=40), mask=MaskConfig(num_passes=2)),
        lcas=LcasConfig(),
        head=HeadConfig(global_dim=16, agg_hidden=8, cls_hidden=(8,)),
        decision=DecisionConfig(),
        reference=LcasReference(levels=(0.0, 0.5, 1.0), values=(-2.0, 0.0, 2.0)),
        provenance={"made_for": "fuzzing"},
    )
    text = json.dumps(config.to_dict()).encode()
    found = {
        "config": b"C" + text,
        "nothing": b"C",
        "another type": b"C[]",
        "no object where one must be": b'C{"head": 3}',
        "no UTF-8": b"C\xff\xfe",
        "deep": b"C" + b"[" * 5000,
        "a number too long": b'C{"name": ' + b"9" * 5000 + b"}",
        "graph that is none": b"Gnothing",
        "empty graph": b"G",
        "first bytes of a graph": b"G\x08\x08\x12\x07pytorch",
    }
    for key, value in config.to_dict().items():
        wrongs: tuple[Any, ...] = (None, [], {}, "x", -1, 1e308)
        for wrong in wrongs:
            changed = json.dumps({**config.to_dict(), key: wrong}).encode()
            found[f"{key} of {value!r:.20} as {wrong!r}"] = b"C" + changed
    return found
