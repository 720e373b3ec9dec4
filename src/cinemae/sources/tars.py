"""WebDataset tars: which images lie in one, where, and with which label.

The label is told by ``key.cls`` beside the image (0, 1, real, fake), else by ``key.json`` (``{"label": ...,
"generator": ...}``), else by the names of the folders inside the tar, else by those around it. The key is the image's
name to its first or to its last dot. Nothing is ever extracted, so names like ``../x.jpg`` lead nowhere.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cinemae.errors import ImageError, SourceError
from cinemae.sources.labels import generator_of_value, label_from_folders, label_of_value
from cinemae.sources.records import IMAGE_SUFFIXES, ImageRecord, TarPlace
from cinemae.sources.remote import fetch_part, open_binary, reading
from cinemae.sources.remote_object import is_remote, shown

SIDECARS = (".json", ".cls")  # the decisive one last
MAX_SIDECAR_BYTES = 2**20

_COMPRESSED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))


def read_tar(file: str, root: Path, *, labelled: bool = True) -> Iterator[ImageRecord]:
    """List the images in an uncompressed tar, in its order.

    Files without an image suffix are passed over, as are symbolic links; a hard link is the image that it names.

    Args:
        file: The tar, a path or a URI.
        root: The folder that labels are looked for below, and in whose own name, where the tar itself tells none.
        labelled: Whether to look for labels at all.

    Yields:
        Records with `TarPlace`, whose paths are the tar's, a slash and the name inside.

    Raises:
        SourceError: If the tar is compressed, damaged or cut short, holds a name twice, or tells a label that is none.
    """
    images: dict[str, TarPlace] = {}
    sidecars: dict[str, TarPlace] = {}
    with _open_tar(file) as tar:
        for member in tar:
            name = _inner_name(member.name)
            suffix = _split_suffix(name)[1]
            if suffix not in IMAGE_SUFFIXES and suffix not in SIDECARS:
                continue
            place = _place_of(file, member, images)
            if place is None:
                continue
            if name in images or name in sidecars:
                raise SourceError(f"names in a tar must differ, {file} holds {name} twice: write it again without one.")
            (images if suffix in IMAGE_SUFFIXES else sidecars)[name] = place
        _check_end(file, tar.offset)
    if not labelled:
        yield from (ImageRecord(f"{file}/{name}", place=place) for name, place in images.items())
        return
    outer = label_from_folders(Path(file).parts[len(root.parts) : -1], root.name)
    for name, place in images.items():
        label, generator = label_from_folders(PurePosixPath(name).parts[:-1], "")
        if label is None:
            label, generator = outer
        for said in _sidecars_of(name, sidecars):
            label = said.label if said.has_label else label
            generator = said.generator or generator
        yield ImageRecord(f"{file}/{name}", label, generator, place)


def read_member(path: str, place: TarPlace) -> bytes:
    """Return the bytes at a place in a tar.

    Args:
        path: The image's name, for the error.
        place: Where its bytes lie.

    Raises:
        ImageError: If the tar cannot be read, or has become shorter.
    """
    try:
        data = _read_bytes(place)
    except OSError as error:
        raise ImageError(
            f"image {path!r} could not be read from its tar ({error.strerror or error}): check the file."
        ) from error
    if len(data) != place.size:
        raise ImageError(f"image {path!r} is cut short by the end of its tar: copy the tar again, and list it anew.")
    return data


def _read_bytes(place: TarPlace) -> bytes:
    if is_remote(place.file):
        return fetch_part(place.file, place.offset, place.size) if place.size else b""
    with Path(place.file).open("rb") as file:
        file.seek(place.offset)
        return file.read(place.size)


@contextmanager
def _open_tar(file: str) -> Iterator[tarfile.TarFile]:
    with reading(f"the tar {shown(file)}", tarfile.TarError, EOFError):
        _check_uncompressed(file)
        with open_binary(file) as raw, tarfile.open(fileobj=raw, mode="r:") as tar:
            yield tar


def _check_uncompressed(file: str) -> None:
    with open_binary(file) as raw:
        head = raw.read(6)
    kind = next((kind for magic, kind in _COMPRESSED if head.startswith(magic)), None)
    if kind:
        raise SourceError(
            f"a tar must be uncompressed, so that images can be read from their place, {file} is compressed with "
            f"{kind}: decompress it first."
        )


def _check_end(file: str, end: int) -> None:
    """Refuse what `tarfile` stops at in silence: a damaged header, a missing end, and what follows the end."""
    with open_binary(file) as raw:
        raw.seek(end)
        if raw.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"neither a header nor the end mark at byte {end}")
        while chunk := raw.read(2**20):
            if chunk.strip(b"\0"):
                raise SourceError(
                    f"a tar ends at its end mark, {file} goes on after it: if several tars were joined, keep them as "
                    "files of their own."
                )


def _inner_name(name: str) -> str:
    """Return a member's name as a plain path below the tar, however it was written (``./a``, ``/a``, ``../a``)."""
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


def _split_suffix(name: str) -> tuple[str, str]:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name, a million times
    return stem, suffix.lower()


def _place_of(file: str, member: tarfile.TarInfo, images: Mapping[str, TarPlace]) -> TarPlace | None:
    if member.islnk():
        return images.get(_inner_name(member.linkname))
    if not member.isreg():
        return None
    if member.issparse():
        raise SourceError(f"{file} holds {member.name} as a sparse file: write the tar again without --sparse.")
    return TarPlace(file, member.offset_data, member.size)


@dataclass(frozen=True)
class _Sidecar:
    label: int | None
    generator: str | None
    has_label: bool


def _sidecars_of(name: str, sidecars: Mapping[str, TarPlace]) -> Iterator[_Sidecar]:
    """Yield what is said of an image, the decisive word last."""
    folder, slash, base = name.rpartition("/")
    keys = dict.fromkeys((folder + slash + base.split(".")[0], _split_suffix(name)[0]))
    for suffix in SIDECARS:
        for key in keys:
            if key + suffix in sidecars:
                yield _read_sidecar(key + suffix, sidecars[key + suffix])


def _read_sidecar(name: str, place: TarPlace) -> _Sidecar:
    where = f"{place.file}/{name}"
    if place.size > MAX_SIDECAR_BYTES:
        raise SourceError(f"{where} tells an image's label in at most {MAX_SIDECAR_BYTES:,} bytes: shorten it.")
    try:
        text = _read_bytes(place).decode("utf-8-sig")
        values = {"label": text} if name.endswith(".cls") else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{where} could not be read as UTF-8 text or JSON ({error}): write it again.") from error
    if not isinstance(values, dict):
        raise SourceError(f'{where} must hold an object such as {{"label": 1, "generator": "sdxl"}}: write it again.')
    label = values.get("label")
    return _Sidecar(
        None if label is None else label_of_value(label, where),
        generator_of_value(values.get("generator")),
        has_label=label is not None,
    )
