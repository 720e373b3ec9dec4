"""Formats by their first bytes: what a file claims to be, whatever its name says."""

from __future__ import annotations

import re

SIGNATURES: tuple[tuple[str, bytes], ...] = (
    ("JPEG", rb"\xff\xd8\xff"),
    ("PNG", rb"\x89PNG\r\n\x1a\n"),
    ("WEBP", rb"RIFF.{4}WEBP"),
    ("GIF", rb"GIF8[79]a"),
    ("TIFF", rb"II[*+]\x00|MM\x00[*+]"),
    ("BMP", rb"BM"),
    ("PPM", rb"P[1-6f][\s#]"),
    ("JPEG2000", rb"\xff\x4f\xff\x51|\x00\x00\x00\x0cjP  "),
    ("AVIF", rb".{4}ftyp(.{4})*avi[fs]"),
    ("HEIF", rb".{4}ftyp(.{4})*(hei[cxms]|hev[cxms]|mif1|msf1)"),
)
"""Format and what its files begin with, as a regular expression."""

HEAD_BYTES = 256
"""What is looked at, at most."""

_SURE = {"BMP": rb"BM.{4}\x00{4}.{2}\x00\x00[\x0c-\x7c]\x00{3}", "PPM": rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s"}
"""For formats whose first bytes may be those of a text."""


def claimed_format(head: bytes) -> str | None:
    """Return the format that the first bytes of a file claim; None for no picture.

    Args:
        head: The first `HEAD_BYTES` bytes; more do no harm.

    Example:
        >>> claimed_format(b"GIF89a..."), claimed_format(b"hello")
        ('GIF', None)
    """
    brands = head[4:8] == b"ftyp"
    looked_at = head[: min(max(int.from_bytes(head[:4], "big"), 16), HEAD_BYTES)] if brands else head[:16]
    return next((kind for kind, pattern in SIGNATURES if re.match(pattern, looked_at, re.DOTALL)), None)


def is_surely_picture(head: bytes) -> bool:
    """Tell whether the first bytes are a picture's, where nothing else says that the file is one.

    Example:
        >>> is_surely_picture(b"P5 for a title"), is_surely_picture(b"P5 640 480 255 ...")
        (False, True)
    """
    kind = claimed_format(head)
    return kind is not None and (kind not in _SURE or re.match(_SURE[kind], head, re.DOTALL) is not None)
