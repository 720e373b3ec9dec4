"""Sec. 5, the first step: path, bytes, PIL image or array -> upright RGB picture.

`load_image` turns anything that claims to be a picture into 8-bit RGB or raises `ImageError` with one sentence; it
never waits on a FIFO, never runs another program and changes no global setting, so threads may share it.
`cinemae.pictures.decoding` opens each format; decoders are given no more of a file than its pixels need.
`core.preprocess` goes on from there. Choices that the paper leaves open are decision 0004:

* the format is told by the first bytes, not by the name, and only that one Pillow plugin is tried;
* transparency is composited over white; CMYK, Lab and palettes are converted by Pillow; colour profiles
  are converted to sRGB where that changes pixels visibly;
* 16-bit values keep their high byte (as Pillow does for 16-bit RGB), fewer bits than 8 or 9 to 15 are scaled to 0 to
  255, floating-point values must lie in [0, 1];
* of a TIFF whose first directory is a thumbnail, the picture that it stands for is read; camera raw files need rawpy;
* damage outside the pixels (metadata, checksums of ancillary chunks, a missing end marker) refuses no picture, a JPEG
  whose last rows are missing is refused;
* of an animation or a multi-page file the first frame is read, with the warning ``animated_first_frame``; the extra
  pictures that phones append to a JPEG (MPO: depth, gain map, second eye) are no frames and bring no warning.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, GifImagePlugin, Image, ImageFile, features

from cinemae.errors import ImageError
from cinemae.pictures.colour import to_srgb
from cinemae.pictures.decoding import OpenedPicture, open_encoded
from cinemae.pictures.jpeg_quality import quality_of
from cinemae.pictures.picture import (
    Encoded,
    Picture,
    check_length,
    failures_as_image_errors,
    name_of,
    open_regular,
)
from cinemae.pictures.signatures import HEAD_BYTES, claimed_format

DEFAULT_MAX_PIXELS = 178_956_970
"""Pictures with more pixels are refused before they are decoded: where Pillow itself refuses, twice its warning."""

ImageInput: TypeAlias = Encoded | Image.Image | NDArray[Any]

# The class that reads each format. Pillow knows more formats, but some of its readers start other programs (EPS runs
# Ghostscript). The classes are called without `Image.open`, whose warning at half of DEFAULT_MAX_PIXELS a threaded
# program cannot silence safely, and which reads JPEGs with extra pictures as MPO.
_READERS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "PPM": ("PIL.PpmImagePlugin", "PpmImageFile"),
    "JPEG2000": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "HEIF": ("pillow_heif", "HeifImageFile"),
}
_PILLOW_FEATURE = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class LoadedImage:
    """One picture, ready for `cinemae.core.preprocess.preprocess`.

    Attributes:
        image: RGB, upright (the EXIF orientation is applied and no metadata is left on it).
        width, height: Of the upright picture, in pixels.
        format: As Pillow names it ("JPEG", "PNG", ...); None for PIL images and arrays made in memory.
        content_hash: SHA-256, 64 hex digits. Of the encoded bytes where there are any; for a PIL image or an array
            of the text ``RGB {width}x{height}``, a newline, and the bytes of the upright RGB pixels in row order.
        num_bytes: Length of the encoded bytes; None for PIL images and arrays.
        warnings: What the reader should know: ``animated_first_frame``, ``animated_other_frame`` (a PIL image that
            the caller had moved past its first frame), ``exif_unreadable`` (shown as stored).
        jpeg_quality: From 1 to 100 by the file's own tables, see `cinemae.pictures.jpeg_quality`; None for other
            formats, arrays, and PIL images that are no longer as they were opened.
    """

    image: Image.Image
    width: int
    height: int
    format: str | None
    content_hash: str
    num_bytes: int | None
    warnings: tuple[str, ...] = ()
    jpeg_quality: int | None = None


def load_image(source: ImageInput | Picture, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> LoadedImage:
    """Read one still picture as upright 8-bit RGB.

    Args:
        source: A path; encoded bytes; a binary file object, read from its position to its end and left open; a
            `Picture`, read before; a PIL image, which is not changed; or an array ``(H, W)``, ``(H, W, 1)``,
            ``(H, W, 3)`` or ``(H, W, 4)`` of uint8, uint16, or floating point in [0, 1].
        max_pixels: Most pixels (width times height) allowed, told from the header before anything is decoded.
            For TIFF and WebP Pillow's own limit, twice ``PIL.Image.MAX_IMAGE_PIXELS``, holds beside it.

    Returns:
        The picture with its size, format, hash and warnings.

    Raises:
        ImageError: Whatever is wrong with the source; the message is one sentence.

    Example:
        >>> loaded = load_image(Image.new("L", (4, 3), 128))
        >>> loaded.image.mode, loaded.width, loaded.height, loaded.format
        ('RGB', 4, 3, None)
        >>> load_image(b"hello")
        Traceback (most recent call last):
        ...
        cinemae.errors.ImageError: an image must be one of JPEG, PNG, WEBP, GIF, TIFF, BMP, PPM, JPEG2000, AVIF, \
HEIF, but the byte string given began with b'hello': convert it first.
    """
    if isinstance(source, Image.Image):
        return _load_pil(source, max_pixels)
    if isinstance(source, np.ndarray):
        name = "the array given"
        return _describe(Image.fromarray(_array_to_uint8(source, name, max_pixels)).copy(), name)  # the array is theirs
    return _decode(Picture.read(source), max_pixels)


@contextmanager
def open_header(
    source: str | os.PathLike[str] | bytes | Picture, *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> Iterator[tuple[str, OpenedPicture, int]]:
    """Open a picture as far as its header; whatever fails inside the ``with`` block is an `ImageError` too.

    Args:
        source: A path, of which no more than the header is read; encoded bytes; or a `Picture`.
        max_pixels: Most pixels allowed, as in `load_image`.

    Yields:
        The format, as in `LoadedImage`; what the header says; the length in bytes.

    Raises:
        ImageError: As `load_image` does where the header is wrong; damage further on is not seen.
    """
    picture = Picture(source) if isinstance(source, bytes) else source
    name = picture.name if isinstance(picture, Picture) else name_of(os.fsdecode(picture))
    advice = "check that it is a whole picture, and that this user may read it"
    with ExitStack() as stack:
        stack.enter_context(failures_as_image_errors(f"the header of {name} could not be read", advice))
        file = stack.enter_context(
            io.BytesIO(picture.data) if isinstance(picture, Picture) else open_regular(os.fsdecode(picture))
        )
        num_bytes = file.seek(0, os.SEEK_END)
        check_length(num_bytes, name)
        file.seek(0)
        kind, reader = _reader(file.read(HEAD_BYTES), name)
        file.seek(0)
        opened = open_encoded(kind, reader, file, max_pixels=max_pixels, header_only=True)
        _check_pixels(*opened.size, name, max_pixels)
        yield kind, opened, num_bytes


def _decode(picture: Picture, max_pixels: int) -> LoadedImage:
    name = picture.name
    kind, reader = _reader(picture.data, name)
    wrong = f"{name} is {kind} by its first bytes, but the rest is damaged, incomplete or of a variety not read"
    with failures_as_image_errors(wrong, "save it again from the original"):
        opened = open_encoded(kind, reader, io.BytesIO(picture.data), max_pixels=max_pixels)
        _check_pixels(*opened.size, name, max_pixels)
        warnings = ("animated_first_frame",) if opened.is_animated else ()
        if opened.orientation is None:  # a picture is not refused for damaged metadata
            warnings = (*warnings, "exif_unreadable")
        image = opened.decode()
        _check_pixels(image.width, image.height, name, max_pixels)  # HEIF learns its true size while decoding
        upright = _upright(_to_rgb(to_srgb(image, opened.profile), name), opened.orientation or 1)
        return LoadedImage(
            upright,
            *upright.size,
            kind,
            picture.content_hash,
            len(picture.data),
            warnings,
            opened.jpeg_quality,
        )


def _reader(data: bytes, name: str) -> tuple[str, Callable[[BinaryIO], ImageFile.ImageFile]]:
    """Return the format that the first bytes claim, and the class that reads its header."""
    kind = claimed_format(data[:HEAD_BYTES])
    if kind is None:
        known = ", ".join(_READERS)
        raise ImageError(f"an image must be one of {known}, but {name} began with {data[:12]!r}: convert it first.")
    if kind in _PILLOW_FEATURE and not features.check(_PILLOW_FEATURE[kind]):
        raise ImageError(f"{name} is {kind}, which this Pillow was built without: `pip install --upgrade pillow`.")
    module, reader = _READERS[kind]
    try:
        return kind, getattr(importlib.import_module(module), reader)
    except ImportError as error:
        raise ImageError(f"{name} is {kind}, which needs a plugin: run `pip install 'cinemae[heif]'`.") from error


def _load_pil(source: Image.Image, max_pixels: int) -> LoadedImage:
    name = "the PIL image given"
    _check_pixels(source.width, source.height, name, max_pixels)
    with failures_as_image_errors(f"{name} could not be decoded", "open it anew, and keep its file open until read"):
        image = source.copy()
        frame = "animated_first_frame" if source.tell() == 0 else "animated_other_frame"
        loaded = _describe(image, name, warnings=(frame,) if _is_animated(source) else (), format=source.format)
        return dataclasses.replace(loaded, jpeg_quality=quality_of(source))


def _is_animated(image: Image.Image) -> bool:
    """Tell of a PIL image whether it has more frames, without touching what the caller may have drawn on it."""
    if image.format == "GIF" and image.tell() == 0:
        try:  # asking a GIF itself would make it seek, and so drop its pixels; Pillow keeps the file in `_fp`
            file = getattr(image, "fp", None) or getattr(image, "_fp")  # noqa: B009
            file.seek(0)
            image = GifImagePlugin.GifImageFile(io.BytesIO(file.read()))
        except Exception:
            return False  # its file is closed: nobody can tell
    return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def _describe(image: Image.Image, name: str, warnings: tuple[str, ...] = (), format: str | None = None) -> LoadedImage:
    """Turn a picture that was not read from bytes, and that nobody else holds, upright and RGB; name its content."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a picture is not refused for damaged metadata
        orientation, warnings = 1, (*warnings, "exif_unreadable")
    profile = image.info.get("icc_profile")
    shown = to_srgb(image, profile) if isinstance(profile, bytes) else image
    upright = _upright(_to_rgb(shown, name), orientation)
    width, height = upright.size
    digest = hashlib.sha256(f"RGB {width}x{height}\n".encode() + upright.tobytes()).hexdigest()
    return LoadedImage(upright, width, height, format, digest, None, warnings)


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    upright = image if turn is None else image.transpose(turn)
    upright.info = {}  # an orientation left here would be applied again by whoever loads this image next
    return upright


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Return 8-bit RGB: `image` itself if it is that."""
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_values_to_uint8(np.asarray(image), name)).convert("RGB")
    if image.has_transparency_data:
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")  # to convert RGB would copy it


def _array_to_uint8(array: NDArray[Any], name: str, max_pixels: int) -> NDArray[np.uint8]:
    """Return ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``."""
    shape = array.shape
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        advice = "convert it to one of these"
        if array.ndim == 3 and shape[0] in (1, 3, 4) and shape[2] > 4:
            advice = "the channels seem to come first, so transpose it with np.moveaxis(array, 0, -1)"
        elif array.ndim == 4:
            advice = "pass one image at a time"
        raise ImageError(f"an image array has shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {shape}: {advice}.")
    _check_pixels(shape[1], shape[0], name, max_pixels)
    if array.dtype.kind != "f" and not (array.dtype.kind == "u" and array.dtype.itemsize <= 2):
        raise ImageError(f"an image array is uint8, uint16 or float in [0, 1], got {array.dtype}: convert it first.")
    return _values_to_uint8(array[:, :, 0] if shape[2:] == (1,) else array, name)


def _values_to_uint8(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Keep the high byte of 16-bit values; scale floating point from [0, 1] to 0..255, rounding to nearest."""
    kind = values.dtype.kind
    if kind == "f" and not np.isfinite(values).all():
        raise ImageError(f"{name} holds NaN or infinite values: clean the data, then scale it to [0, 1].")
    if kind == "i" and 0 < values.max() <= 255 and values.min() >= 0:
        raise ImageError(
            f"{name} has {values.dtype} values of 0 to {values.max()}, which may be 8 bits or a dark picture of 16: "
            'convert it to 8 bits (mode "L") or to 16 (mode "I;16").'
        )
    top = {"f": 1, "i": 65_535}.get(kind)  # Pillow's mode "I" holds 16-bit files in 32 bits
    if top is not None and (values.min() < 0 or values.max() > top):
        raise ImageError(
            f"{name} has {values.dtype} values, which must lie in 0 to {top}, got {values.min():g} to "
            f"{values.max():g}: scale them, or save 8-bit values."
        )
    if kind == "f":
        values = np.rint(values * 255.0)
    elif values.dtype.itemsize > 1:
        values = values >> 8
    return np.ascontiguousarray(values, dtype=np.uint8)


def _check_pixels(width: int, height: int, name: str, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width}x{height}): give an image of at least 1x1.")
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width}x{height} = {width * height:,} pixels, more than the {max_pixels:,} allowed: scale it "
            "down, or raise max_pixels if you trust where it came from."
        )
