"""Labelled pictures for detectors that look at pixels: surveyed once, decoded when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

from numpy.typing import NDArray
from PIL import Image

from cinemae.errors import EvaluationError, why_unread
from cinemae.evaluation.predictions import ImageRow, Images
from cinemae.pictures.image import LoadedImage, load_image
from cinemae.sources.archives import read_encoded
from cinemae.sources.overlap import refuse_overlap
from cinemae.sources.records import ImageRecord, Unlisted
from cinemae.sources.stream import read_ahead


class PictureList(Sequence[Image.Image]):
    """The pictures of some records, decoded anew at each access, so that only what is in use is in memory.

    Args:
        records: Of images that can be read.
    """

    def __init__(self, records: Sequence[ImageRecord]) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> PictureList: ...
    def __getitem__(self, index: int | slice) -> Image.Image | PictureList:
        """Return one picture, RGB; or the list of some."""
        if isinstance(index, slice):
            return PictureList(self.records[index])
        return load_image(read_encoded(self.records[index])).image


def load_row(record: ImageRecord) -> tuple[ImageRow, LoadedImage | None]:
    """Return what is known of one image, and its picture unless it cannot be read."""
    row: ImageRow = {"path": record.path, "label": record.label, "generator": record.generator}
    try:
        loaded = load_image(read_encoded(record))
    except Exception as error:
        return {**row, "error_message": why_unread(error)}, None
    row |= {
        "content_hash": loaded.content_hash,
        "container": loaded.format,
        "width": loaded.width,
        "height": loaded.height,
        "num_bytes": loaded.num_bytes,
        "jpeg_quality": loaded.jpeg_quality,
    }
    return row, loaded


def survey(records: Sequence[ImageRecord]) -> Images:
    """Open every image once and return what is known of it."""
    return Images.from_rows(survey_rows(records))


def survey_rows(records: Sequence[ImageRecord]) -> list[ImageRow]:
    """Open every image once and return a row for each."""
    return list(read_ahead(_known, records))


def _known(record: ImageRecord) -> ImageRow:
    return load_row(record)[0]  # without the picture, which would wait in memory to be taken


def require_labels(records: Sequence[ImageRecord], name: str) -> None:
    """Refuse a set of images that does not say of each what it is.

    Raises:
        EvaluationError: If a label is missing.
    """
    images = [record for record in records if not isinstance(record.place, Unlisted)]
    unknown = [record.path for record in images if record.label is None]
    if unknown:
        raise EvaluationError(
            f"{name} must say of each image whether it is real or fake; {len(unknown)} of {len(records)} carry no "
            f"label, such as {unknown[0]}: name folders real/ and fake/, or give a manifest."
        )


def require_both(labels: NDArray[Any], name: str) -> None:
    """Refuse an empty class.

    Raises:
        EvaluationError: If photographs or generated images are missing.
    """
    reals, fakes = int((labels == 0).sum()), int((labels == 1).sum())
    if not reals or not fakes:
        raise EvaluationError(
            f"{name} needs photographs and generated images; it holds {reals} and {fakes} that can be read: accuracy "
            "on one class alone says nothing, since calling everything the same would reach 100 %."
        )


def require_photographs(labels: NDArray[Any], name: str) -> None:
    """Refuse a set to judge without a photograph; photographs alone are enough to count false accusations.

    Raises:
        EvaluationError: If there is none.
    """
    reals, fakes = int((labels == 0).sum()), int((labels == 1).sum())
    if not reals:
        raise EvaluationError(
            f"{name} needs photographs (generated images may be left out); it holds {reals} and {fakes} that can be "
            "read: a share of fakes found says nothing without the share of photographs accused."
        )


def require_judgeable(images: Images, name: str) -> None:
    """Refuse images of which nothing can be said.

    Raises:
        EvaluationError: If no photograph can be read, or generated images are listed and none can be read.
    """
    check = require_both if (images.label == 1).any() else require_photographs
    check(images.label[images.readable], name)


def refuse_shared_images(seen: Images, judged: Images, names: tuple[str, str] = ("training", "test")) -> None:
    """Refuse images to judge, of those that can be read, whose file is in the set seen before too.

    Raises:
        EvaluationError: If there is one.
    """
    digests = {digest for _, digest in _hashes(seen)}
    refuse_overlap(digests, _hashes(judged), names, error=EvaluationError)


def find_duplicates(images: Images) -> list[tuple[str, str]]:
    """Return pairs of paths with the same content: each later image beside the first of its kind."""
    first: dict[str, str] = {}
    pairs = []
    for path, digest in _hashes(images):
        if digest in first:
            pairs.append((path, first[digest]))
        else:
            first[digest] = path
    return pairs


def _hashes(images: Images) -> Iterator[tuple[str, str]]:
    readable = images.readable
    return zip(images.path[readable].tolist(), images.content_hash[readable].tolist(), strict=True)
