"""JPEG 2000: what Pillow does not do itself, palettes and samples of fewer than 8 bits (ISO/IEC 15444-1, annex I)."""

from __future__ import annotations

from PIL import Image

_SIZE_MARKER = b"\xff\x4f\xff\x51"


def finish(image: Image.Image, data: bytes) -> Image.Image:
    """Return a decoded picture with its samples spread over 0 to 255.

    Args:
        image: As Pillow decoded it.
        data: The whole file.

    Raises:
        ValueError: If the picture needs a palette that Pillow did not apply, or more bits than it can give.
    """
    codestream = data.find(_SIZE_MARKER)
    header = data[:codestream] if codestream > 0 else b""
    if b"pclr" in header and not image.mode.startswith("P"):
        raise ValueError("a palette of a kind that is not read")
    if image.mode.startswith(("I", "P")) or codestream < 0:
        return image
    size = data[codestream + 4 :][: 38 + 3 * len(image.getbands())]
    depths = {(component & 127) + 1 for component in size[38::3]}
    depth = max(depths, default=8)
    if depth > 8 or len(depths) > 1:
        raise ValueError(f"colours of {depth} bits, which this decoder rounds over the top")  # white would be black
    if depth == 8:
        return image
    top = (1 << depth) - 1
    return image.point(
        [((value >> (8 - depth)) * 510 + top) // (2 * top) for value in range(256)] * len(image.getbands())
    )
