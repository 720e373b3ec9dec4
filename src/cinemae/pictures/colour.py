"""Colour profiles: values that mean other colours than sRGB's are converted, so that equal looks are equal pixels."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 4 * 2**20
LEAST_CHANGE = 2
"""Levels of 255: a profile that moves no colour of a coarse grid by more is taken for sRGB."""

_SPACES = {"RGB": "RGB", "CMYK": "CMYK", "L": "GRAY"}


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return a picture in sRGB, its transparency kept; the picture itself where its profile changes nothing visibly.

    A profile that is damaged, or made for another kind of picture, is ignored as viewers do.

    Args:
        image: Decoded; modes other than RGB, RGBA, L, LA, P and CMYK are returned as they are.
        profile: The ICC profile, empty for none.

    Example:
        >>> image = Image.new("RGB", (2, 2), "red")
        >>> to_srgb(image, b"damaged") is image
        True
    """
    if not profile or len(profile) > MAX_PROFILE_BYTES or image.mode not in ("RGB", "RGBA", "L", "LA", "P", "CMYK"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        shown = image.convert("RGBA" if image.has_transparency_data else "RGB") if image.mode == "P" else image
        mode = shown.mode.removesuffix("A")
        if _SPACES[mode] != space:
            return image
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if not _is_visible(transform, mode):
            return image
        alpha = shown.getchannel("A") if shown.mode.endswith("A") else None
        converted: Image.Image = transform.apply(shown if alpha is None else shown.convert(mode))
        if alpha is not None:
            converted.putalpha(alpha)
    except Exception:  # LittleCMS finds many faults in profiles, and a picture is refused for none of them
        return image
    return converted


def _is_visible(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    if mode == "CMYK":
        return True
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    grid = steps[None] if mode == "L" else np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    before = Image.fromarray(grid)
    change = np.asarray(transform.apply(before), int) - np.asarray(before.convert("RGB"), int)
    return bool(np.abs(change).max() > LEAST_CHANGE)
