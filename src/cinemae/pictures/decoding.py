"""An encoded picture, opened: what its header says, and how its pixels are decoded, format by format.

Decoders are given what the pixels need and no more: damage elsewhere refuses no picture, and no library warns of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from PIL import Image, ImageFile

from cinemae.pictures import jpeg2000, jpeg_segments, netpbm, png_chunks, raw_pixels, tiff_pixels
from cinemae.pictures.jpeg_quality import quality_of
from cinemae.pictures.tiff_tags import exif_orientation

Reader = Callable[[BinaryIO], ImageFile.ImageFile]


@dataclass(frozen=True)
class OpenedPicture:
    """A picture whose header was read.

    Attributes:
        size: Width and height as stored.
        decode: Returns the pixels as stored, in any of Pillow's modes.
        orientation: From 1 to 8 as in EXIF; None if the EXIF block cannot be read.
        profile: The ICC profile; empty if there is none.
        is_animated: Whether there are more frames or pages.
        mode: How Pillow names what it decodes.
        depth: Bits a sample, as stored; 8 where that is not known to be more.
        jpeg_quality: See `cinemae.pictures.jpeg_quality`.
        info: What Pillow says beside, of AVIF and HEIF metadata as well.
    """

    size: tuple[int, int]
    decode: Callable[[], Image.Image]
    orientation: int | None = 1
    profile: bytes = b""
    is_animated: bool = False
    mode: str = "RGB"
    depth: int = 8
    jpeg_quality: int | None = None
    info: Mapping[Any, Any] = field(default_factory=dict)

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return self.size[::-1] if self.orientation in (5, 6, 7, 8) else self.size


def open_encoded(
    kind: str, reader: Reader, file: BinaryIO, *, max_pixels: int, header_only: bool = False
) -> OpenedPicture:
    """Open a picture.

    Args:
        kind: The format, as `cinemae.pictures.image.LoadedImage.format`.
        reader: Pillow's class for it.
        file: The file, in memory unless `header_only`.
        max_pixels: Most pixels that will be decoded.
        header_only: Read the header and no more; `decode` must not be called then.

    Raises:
        Exception: Whatever a decoder raises at a damaged file.
    """
    if kind == "JPEG":
        return _open_jpeg(file, header_only=header_only)
    if kind == "PNG":
        return _open_png(file, header_only=header_only)
    if kind == "TIFF":
        return _open_tiff(file)
    image = reader(file)
    exif = image.info.get("exif") or b""
    profile = image.info.get("icc_profile")

    def decode() -> Image.Image:
        if kind == "PPM" and (decoded := netpbm.decode(_whole(file), max_pixels)):
            return decoded
        image.load()
        return jpeg2000.finish(image, _whole(file)) if kind == "JPEG2000" else image

    return OpenedPicture(
        image.size,
        decode,
        _orientation(exif if isinstance(exif, bytes) else b""),
        profile if isinstance(profile, bytes) else b"",
        bool(getattr(image, "is_animated", False)),
        image.mode,
        _depth(image),
        info=image.info,
    )


def _open_jpeg(file: BinaryIO, *, header_only: bool) -> OpenedPicture:
    parts = jpeg_segments.read_parts(file, header_only=header_only)
    image = jpeg_segments.open_header(parts)
    return OpenedPicture(
        image.size,
        lambda: jpeg_segments.decode(parts),
        _orientation(parts.exif),
        parts.profile,
        mode=image.mode,
        jpeg_quality=quality_of(image),
    )


def _open_png(file: BinaryIO, *, header_only: bool) -> OpenedPicture:
    parts = png_chunks.read_parts(file, header_only=header_only)
    image = png_chunks.open_header(parts)

    def decode() -> Image.Image:
        image.load()
        return png_chunks.over_white(image, parts)

    return OpenedPicture(
        image.size, decode, _orientation(parts.exif), parts.profile, parts.is_animated, image.mode, _depth(image)
    )


def _open_tiff(file: BinaryIO) -> OpenedPicture:
    try:
        picture = tiff_pixels.find_picture(file)
    except tiff_pixels.RawError:
        return OpenedPicture(raw_pixels.size_of(file), lambda: raw_pixels.decode(file), depth=16)
    return OpenedPicture(
        picture.size,
        lambda: tiff_pixels.decode(file, picture),
        picture.orientation,
        picture.profile,
        picture.is_animated,
        picture.mode,
        picture.depth,
    )


def _orientation(exif: bytes) -> int | None:
    try:
        return exif_orientation(exif)
    except ValueError:
        return None


def _depth(image: ImageFile.ImageFile) -> int:
    wide = image.mode == "F" or image.mode.startswith("I") or ";16" in str(image.tile)
    return 16 if wide else 8  # Pillow names a 16-bit RGB file's samples "RGB;16B"


def _whole(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()
