"""The images of `cinemae fit`: headers read, duplicates told by content, and what cannot be fitted refused at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cinemae.errors import ImageError, TrainingError
from cinemae.fit.config import MIN_HELD_OUT, MIN_IMAGES, FitRecipe
from cinemae.pictures.file_facts import FileFacts, read_facts
from cinemae.pictures.picture import Picture
from cinemae.sources.archives import read_encoded
from cinemae.sources.local_files import Listing
from cinemae.sources.one_class import read_class
from cinemae.sources.records import ImageRecord
from cinemae.sources.stream import read_ahead


@dataclass(frozen=True)
class Sample:
    """One image whose header could be read.

    Attributes:
        record: With its label, and as generator the group it belongs to: a photograph's source, a fake's generator.
        content_hash: SHA-256 of the file.
        facts: Container, size and JPEG quality.
    """

    record: ImageRecord
    content_hash: str
    facts: FileFacts

    @property
    def label(self) -> int:
        """0 real, 1 fake."""
        return int(self.record.label or 0)

    @property
    def group(self) -> str:
        """Source of a photograph, generator of a fake."""
        return self.record.generator or ""


@dataclass(frozen=True)
class Gathered:
    """The images of a fit, each content once.

    Attributes:
        pool: To train on, some of them to be held out.
        own: Those that were given to measure on.
        unread: Path and reason of every file that could not be read.
        num_duplicates: Files left out as their content came before in the same class.
        num_overlap: Images left out of `pool` as they are among `own`.
    """

    pool: tuple[Sample, ...]
    own: tuple[Sample, ...]
    unread: tuple[tuple[str, str], ...]
    num_duplicates: int
    num_overlap: int

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All of them."""
        return (*self.pool, *self.own)

    def without(self, failed: Sequence[tuple[str, str]]) -> Gathered:
        """Leave out what could not be decoded.

        Args:
            failed: Path and reason of each.
        """
        paths = {path for path, _ in failed}
        pool, own = (
            tuple(sample for sample in part if sample.record.path not in paths) for part in (self.pool, self.own)
        )
        return Gathered(pool, own, (*self.unread, *failed), self.num_duplicates, self.num_overlap)


def gather(
    recipe: FitRecipe, progress: Callable[[int, int], None] | None = None, listing: Listing | None = None
) -> Gathered:
    """Read the header of every file that a recipe names and hash its bytes.

    Args:
        recipe: Names the sources.
        progress: Called from this thread with (files done, files in all).
        listing: How folders here are listed; it counts what is left out.

    Raises:
        SourceError: If a source is missing, empty or malformed, or names images of the other class.
        TrainingError: If a file is in both classes, or a class has too few images.
    """
    given, own = (
        [record for label in (0, 1) for record in read_class(sources[label], label, listing)]
        for sources in ((recipe.real, recipe.fake), (recipe.val_real, recipe.val_fake))
    )
    found = _survey([*given, *own], progress)
    unread = tuple(each for each in found if not isinstance(each, Sample))
    samples, measured = (
        [each for each in part if isinstance(each, Sample)] for part in (found[: len(given)], found[len(given) :])
    )
    _refuse_both_classes([*samples, *measured])
    kept, kept_own = _each_once(samples), _each_once(measured)
    pool = {digest: sample for digest, sample in kept.items() if digest not in kept_own}
    refuse_too_few(pool.values())
    return Gathered(
        pool=tuple(pool.values()),
        own=tuple(kept_own.values()),
        unread=unread,
        num_duplicates=len(samples) + len(measured) - len(kept) - len(kept_own),
        num_overlap=len(kept) - len(pool),
    )


def refuse_too_few(samples: Iterable[Sample]) -> None:
    """Refuse images that no model can be fitted to.

    Raises:
        TrainingError: If a class has fewer than `MIN_IMAGES`.
    """
    _refuse(samples, MIN_IMAGES, "a model is fitted to")


def refuse_too_few_held_out(samples: Iterable[Sample]) -> None:
    """Refuse images that no model can be measured on.

    Raises:
        TrainingError: If a class has fewer than `MIN_HELD_OUT`.
    """
    _refuse(samples, MIN_HELD_OUT, "a model is measured on")


def _refuse(samples: Iterable[Sample], least: int, purpose: str) -> None:
    counts = Counter(sample.label for sample in samples)
    if min(counts[0], counts[1]) < least:
        raise TrainingError(
            f"{purpose} at least {least} images of each class, readable and no two of them the same; there are "
            f"{counts[0]} photographs and {counts[1]} generated images: add more, or use a model that is there "
            "(cinemae detect)."
        )


def _survey(
    records: Sequence[ImageRecord], progress: Callable[[int, int], None] | None
) -> list[Sample | tuple[str, str]]:
    """Look at every file, in order; of one that cannot be read, return path and reason."""
    found = []
    for each in read_ahead(_look, records):
        found.append(each)
        if progress:
            progress(len(found), len(records))
    return found


def _look(record: ImageRecord) -> Sample | tuple[str, str]:
    try:
        picture = Picture.read(read_encoded(record))
        return Sample(record, picture.content_hash, read_facts(picture))
    except ImageError as error:
        return record.path, str(error)


def _each_once(samples: Iterable[Sample]) -> dict[str, Sample]:
    """Return the first sample of each content, by content."""
    kept: dict[str, Sample] = {}
    for sample in samples:
        kept.setdefault(sample.content_hash, sample)
    return kept


def _refuse_both_classes(samples: Iterable[Sample]) -> None:
    first: dict[str, Sample] = {}
    pairs = []
    for sample in samples:
        other = first.setdefault(sample.content_hash, sample)
        if other.label != sample.label:
            pairs.append((other.record.path, sample.record.path))
    if pairs:
        raise TrainingError(
            f"no image may be a photograph and generated at once; {len(pairs)} files were given as both, such as "
            f"{pairs[0][0]} and {pairs[0][1]}: take them out of one class."
        )
