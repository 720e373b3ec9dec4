"""What was found of a data set, against what was published: counts, and each thing that is missing by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cinemae.sources.published import Benchmark, PublishedCount
from cinemae.sources.text_table import table_of

_PRINTED_IN = 100  # published totals are rounded or cut to hundreds: what differs by less agrees
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class FoundCount:
    """The images of one generator and split.

    Attributes:
        generator: Canonical name; None where images name none, as photographs often do.
        split: "train", "val" or "test"; None where no folder says.
        real: Photographs found.
        fake: Generated images found.
        published: What there should be; None for what no publication lists.
    """

    generator: str | None
    split: str | None
    real: int
    fake: int
    published: PublishedCount | None = None


@dataclass(frozen=True, slots=True)
class ReadAs:
    """Images that got their label in the same way.

    Attributes:
        label: 0 real, 1 fake.
        folder: Name of the folder that stands for the label; None where the label is written elsewhere, such as in a
            manifest, an archive or a column.
        images: How many.
    """

    label: int
    folder: str | None
    images: int


@dataclass(frozen=True)
class DataSetReport:
    """What was found, and what is amiss.

    Attributes:
        layout: As `cinemae.sources.layouts` names it.
        source: The folder, glob or file that was read.
        split: The split that was asked for; None for all.
        counts: By generator and split: the published ones in their order, then others by name.
        num_unlabelled: Images whose label nothing tells.
        empty_files: Paths of files and members of 0 bytes (in Parquet files they are not looked for).
        missing_files: Paths that lead to no file: manifest lines, broken links.
        problems: Each thing that is missing or not as published, as a sentence.
        published_source: Where the published counts come from; None without such.
        unlisted_folders: Folders that could not be listed; each is a record without image.
        read_as: What was read as which class, most images first.
    """

    layout: str
    source: str
    split: str | None
    counts: tuple[FoundCount, ...]
    num_unlabelled: int
    empty_files: tuple[str, ...]
    missing_files: tuple[str, ...]
    problems: tuple[str, ...]
    published_source: str | None = None
    unlisted_folders: tuple[str, ...] = ()
    read_as: tuple[ReadAs, ...] = ()

    @property
    def num_real(self) -> int:
        """Photographs found."""
        return sum(count.real for count in self.counts)

    @property
    def num_fake(self) -> int:
        """Generated images found."""
        return sum(count.fake for count in self.counts)

    @property
    def read_as_sentence(self) -> str:
        """Which folders stood for which class, in words."""
        parts = []
        for label, words in ((0, "photographs"), (1, "generated images")):
            found = [
                f"{'labels beside the images' if one.folder is None else f'{one.folder}/'} ({one.images:,})"
                for one in self.read_as
                if one.label == label
            ]
            parts.append(f"{', '.join(found) or 'nothing'} as {words}")
        return f"read {' and '.join(parts)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        return {
            "layout": self.layout,
            "source": self.source,
            "split": self.split,
            "num_real": self.num_real,
            "num_fake": self.num_fake,
            "num_unlabelled": self.num_unlabelled,
            "published_source": self.published_source,
            "counts": [asdict(count) for count in self.counts],
            "empty_files": list(self.empty_files),
            "missing_files": list(self.missing_files),
            "unlisted_folders": list(self.unlisted_folders),
            "problems": list(self.problems),
            "read_as": self.read_as_sentence,
        }

    def to_text(self) -> str:
        """Return a table of the counts and a list of the problems, to be read in a terminal."""
        header = ("generator", "split", "real", "published", "fake", "published", "both published")
        rows = [_row(count) for count in self.counts]
        rows.append(("all", "", f"{self.num_real:,}", "", f"{self.num_fake:,}", "", ""))
        shown = tuple(range(len(header)))
        if not any(count.published for count in self.counts):
            shown = (0, 1, 2, 4)
        elif not any(row[6] for row in rows):
            shown = shown[:6]
        table = table_of([header[k] for k in shown], [[row[k] for k in shown] for row in rows], left=2)
        lines = [f"{self.source} (layout {self.layout})", table]
        if self.published_source:
            lines.append(f"published counts: {self.published_source}")
        lines += [f"- {problem}" for problem in self.problems] or ["nothing is missing"]
        return "\n".join(lines)


def find_problems(
    counts: Sequence[FoundCount], benchmark: Benchmark | None, split: str | None, amiss: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    """Say in sentences what is missing or not as published.

    Args:
        counts: Of what was found; those published come first, with zeros where nothing was.
        benchmark: The published data set, if it is one.
        split: The split that was asked for; None for all.
        amiss: What else is wrong, such as "of 0 bytes", and the paths of which it holds.
    """
    problems: list[str] = []
    absent = _absent_splits(counts, benchmark, split)
    problems += [
        f"split {name}: nothing was found of any generator; give split= one that is there to check only that."
        for name in absent
    ]
    for count in counts:
        if count.published and count.split not in absent:
            problems += _differences(count, count.published, benchmark)
        elif benchmark and not count.published:
            problems.append(
                f"{count.generator or 'images without a generator'}, split {count.split or 'unknown'}: {count.real:,} "
                f"real and {_images(count.fake, 'fake')} that {benchmark.title} does not list; kept as they are."
            )
    if counts and not any(count.real for count in counts):
        problems.append("there is no real image at all: nothing can be evaluated without.")
    if counts and not any(count.fake for count in counts):
        problems.append("there is no fake image at all: only how many photographs are accused can be told.")
    for what, paths in amiss.items():
        if paths:
            more = f" and {len(paths) - _EXAMPLES:,} more" if len(paths) > _EXAMPLES else ""
            problems.append(f"{_images(len(paths))} {what}: {', '.join(paths[:_EXAMPLES])}{more}.")
    return tuple(problems)


def _absent_splits(counts: Sequence[FoundCount], benchmark: Benchmark | None, split: str | None) -> list[str]:
    if benchmark is None or split is not None:
        return []
    there = {count.split for count in counts if count.real or count.fake}
    return [name for name in benchmark.splits if name not in there]


def _differences(count: FoundCount, published: PublishedCount, benchmark: Benchmark | None) -> list[str]:
    name = f"{count.generator}, split {count.split}"
    if not count.real and not count.fake:
        tree = f" under {benchmark.tree}" if benchmark else ""
        return [f"{name}: missing; nothing was found{tree}, {_expected(published)} published."]
    sentences = []
    for kind, found, expected in (("real", count.real, published.real), ("fake", count.fake, published.fake)):
        if not found:
            wanted = "" if expected is None else f", {expected:,} were published"
            sentences.append(f"{name}: the class {kind} is missing{wanted}.")
        elif expected is not None and found != expected:
            distance = _distance(found - expected)
            sentences.append(f"{name}: {_images(found, kind)}, {distance} the {expected:,} published.")
    total = count.real + count.fake
    if count.real and count.fake and published.total and abs(total - published.total) >= _PRINTED_IN:
        distance = _distance(total - published.total)
        sentences.append(f"{name}: {total:,} images, about {distance} the {published.total:,} published.")
    return sentences


def _expected(published: PublishedCount) -> str:
    known = [f"{n:,} {kind}" for kind, n in (("real", published.real), ("fake", published.fake)) if n is not None]
    if published.total is not None:
        known.append(f"about {published.total:,}")
    return f"{' and '.join(known)} images were"


def _images(number: int, kind: str = "") -> str:
    return f"{number:,} {kind}{' ' if kind else ''}image{'' if number == 1 else 's'}"


def _distance(difference: int) -> str:
    return f"{abs(difference):,} {'more' if difference > 0 else 'fewer'} than"


def _row(count: FoundCount) -> tuple[str, ...]:
    published = count.published or PublishedCount()
    return (
        count.generator or "(none named)",
        count.split or "",
        f"{count.real:,}",
        "" if published.real is None else f"{published.real:,}",
        f"{count.fake:,}",
        "" if published.fake is None else f"{published.fake:,}",
        "" if published.total is None else f"{published.total:,}",
    )
