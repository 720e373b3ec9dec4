"""Inputs to start from, drawn in code: small, of every format and with the chunks that decoders take apart."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
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
KEPT = Path(__file__).parent / "kept"
"""What runs of Atheris found to reach lines that the drawn inputs do not: a ZIP file a target."""

_CASES = Path(__file__).parents[1] / "tests" / "cases"
_FEATURE = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}


def seeds(target: str) -> dict[str, bytes]:
    """Return what a run of a target starts from: drawn inputs, the project's cases, what earlier runs found."""
    drawn = DRAWN[target]()
    if target in ("image", "provenance"):
        drawn |= {path.name: path.read_bytes() for path in sorted(_CASES.iterdir())}
    return drawn | kept(target)


def kept(target: str) -> dict[str, bytes]:
    """Return what earlier runs of a target found."""
    file = KEPT / f"{target}.zip"
    if not file.exists():
        return {}
    with zipfile.ZipFile(file) as found:
        return {f"kept {name}": found.read(name) for name in found.namelist()}


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


def bodies() -> dict[str, bytes]:
    """Return bodies of requests, each after its Content-Type and a line feed; see `fuzz.targets.read_any_body`."""
    form = b"multipart/form-data; boundary=b\n"
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n'
    one = part % (b"a.png", b"picture")
    return {
        "an image": b"image/png\npicture",
        "octets": b"application/octet-stream\n" + bytes(40),
        "no image": b"text/plain\nhello",
        "no type": b"\nhello",
        "a form": form + one + b"--b--\r\n",
        "three files": form + one * 3 + b"--b--\r\n",
        "four files": form + one * 4 + b"--b--\r\n",
        "no file": form + b"--b--\r\n",
        "no end": form + one,
        "a path": form + part % (b"../../etc/passwd", b"x") + b"--b--\r\n",
        "a name of many letters": form + part % (b"n" * 400, b"x") + b"--b--\r\n",
        "a name in another encoding": form + part % (b"\xff\xfe\x00", b"x") + b"--b--\r\n",
        "another field": form + one.replace(b"files", b"other") + b"--b--\r\n",
        "the boundary in the data": form + part % (b"a", b"\r\n--bb\r\n--") + b"--b--\r\n",
        "what precedes the first boundary": form + b"\r\npreamble" + one + b"--b--\r\n",
        "what precedes a line break and a boundary": form + b"preamble\r\n" + one + b"--b--\r\n",
        "line breaks before": form + b"\r\n\n" + one + b"--b--\r\n",
        "what follows the end": form + one + b"--b--\r\nmore",
        "no boundary": b"multipart/form-data\n" + one,
        "a quoted boundary": b'multipart/form-data; boundary="b"\n' + one + b"--b--",
        "a long boundary": b"multipart/form-data; boundary=" + b"b" * 300 + b"\n" + one,
        "RFC 2231": form + one.replace(b'filename="a.png"', b"filename*=utf-8''a%2f.png") + b"--b--\r\n",
        "too long": b"image/png\n" + bytes(2**14 + 1),
    }


DRAWN: dict[str, Callable[[], dict[str, bytes]]] = {
    "image": images,
    "provenance": images,
    "body": bodies,
    "model": model_files,
}
