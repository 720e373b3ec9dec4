"""Published data sets as they lie on disk: who made each image, which images test whom, and what is missing.

`read_dataset` reads GenImage, AIGCDetectBenchmark, ForenSynths and Chameleon as released, and any other source that
`cinemae.sources.datasets.read_records` takes. It opens no image. What is missing is reported, not fatal.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal, get_args

from cinemae.errors import SourceError
from cinemae.sources.dataset_report import DataSetReport, FoundCount, ReadAs, find_problems
from cinemae.sources.datasets import read_records
from cinemae.sources.labels import SPLIT_NAMES, label_of_name, naming_folder
from cinemae.sources.local_files import Listing, source_root
from cinemae.sources.published import BENCHMARKS, Benchmark, canonical_generator, known_generator
from cinemae.sources.records import ARCHIVE_SUFFIXES, ImageRecord, ParquetPlace, TarPlace, Unlisted

Layout = Literal["auto", "genimage", "aigcdetect", "forensynths", "chameleon", "tree", "manifest", "tar", "parquet"]
"""How a data set is laid out: one of the published ones, or how its files are."""

UNKNOWN_GENERATOR = "unknown"
"""Names the test set of the fakes that name no generator."""

_SPLITS = {name: "val" if name.startswith("val") else name for name in SPLIT_NAMES}
_CHAMELEON = "Chameleon"


@dataclass(frozen=True)
class DataSet:
    """The images of a data set, and what was found of it.

    Attributes:
        records: Generators of published data sets have their canonical names; photographs of a set that belongs to
            one generator carry that generator's name.
        splits: "train", "val", "test" or None, for each record.
        layout: Never "auto".
        report: Counts, and what is missing.
        test_sets: By generator, the indices of its fakes and of the photographs they are told from, in order: its own
            where there are such, else all of the same data set. Training images are left out where there are others.
            A generator without fakes or without photographs has none; the report says so.
    """

    records: tuple[ImageRecord, ...]
    splits: tuple[str | None, ...]
    layout: str
    report: DataSetReport
    test_sets: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class _Folder:
    """What the names of an image's folders tell."""

    fits: bool
    label: int | None
    generator: str | None
    split: str | None


def read_dataset(
    source: str | os.PathLike[str],
    layout: Layout = "auto",
    split: str | None = None,
    *,
    listing: Listing | None = None,
) -> DataSet:
    """List the images of a data set, pair them into test sets, and check them against what was published.

    Args:
        source: As for `cinemae.sources.datasets.read_records`. Published layouts may also lie inside tars.
        layout: How it is laid out; "auto" tells it by the names of folders.
        split: "train", "val" or "test", to take only the images of this split; None to take all.
        listing: How folders here are listed; it counts what is left out.

    Returns:
        Records, test sets and a report.

    Raises:
        SourceError: If the source cannot be listed, does not fit the layout, or has nothing of this split.
    """
    if layout not in get_args(Layout):
        raise SourceError(f"a layout is one of {', '.join(get_args(Layout))}, got {layout!r}.")
    text = os.fspath(source)
    records = read_records(text, listing)
    root = source_root(text)
    parents = [
        record.path if isinstance(record.place, Unlisted) else os.path.dirname(record.path)  # noqa: PTH120
        for record in records
    ]
    folders_of = {parent: _folders_below(parent, root) for parent in dict.fromkeys(parents)}
    folders = [folders_of[parent] for parent in parents]
    stored_as = _stored_as(text, records)
    if layout == "auto":
        layout = _recognise(Counter(folders), root.name) if stored_as == "tree" else stored_as
    elif layout not in BENCHMARKS and layout != stored_as:
        raise SourceError(f"layout {layout!r} was asked for, but {text} is a {stored_as}: give layout={stored_as!r}.")
    benchmark = BENCHMARKS.get(layout)
    told = {key: _read_folders(key, root.name, layout) for key in dict.fromkeys(folders)}
    if benchmark and not any(told[key].fits for key in folders):
        raise _misfit(text, benchmark, folders)
    named = [_named(record, told[key], benchmark) for record, key in zip(records, folders, strict=True)]
    splits = [told[key].split for key in folders]
    if split is not None:
        kept = _of_split(split, splits, text)
        named, splits = [named[index] for index in kept], [splits[index] for index in kept]
        folders = [folders[index] for index in kept]
    return DataSet(
        records=tuple(named),
        splits=tuple(splits),
        layout=layout,
        report=replace(_report(text, layout, split, named, splits), read_as=_read_as(named, folders, root.name)),
        test_sets=_pair(named, splits, own_only=benchmark is not None),
    )


def _folders_below(parent: str, root: Path) -> tuple[str, ...]:
    """Return the names of the folders, and of the archive, between the source and the images in `parent`."""
    parts = PurePath(parent).parts
    return parts[len(root.parts) :] if parts[: len(root.parts)] == root.parts else parts


def _stored_as(text: str, records: Sequence[ImageRecord]) -> Layout:
    if isinstance(records[0].place, TarPlace):
        return "tar"
    if isinstance(records[0].place, ParquetPlace):
        return "parquet"
    return "manifest" if Path(text).is_file() else "tree"


def _recognise(folders: Counter[tuple[str, ...]], root_name: str) -> Layout:
    """Return the published layout that at least half of the images fit, the one with most of its generators there."""
    best: tuple[int, int] = (0, 0)
    found: Layout = "tree"
    names: tuple[Layout, ...] = ("genimage", "chameleon", "forensynths", "aigcdetect")
    for layout in names:
        told = {key: _read_folders(key, root_name, layout) for key in folders}
        if layout == "chameleon" and not any(
            _CHAMELEON.casefold() in name.casefold() for key in folders for name in (root_name, *key)
        ):
            continue
        fitting = sum(number for key, number in folders.items() if told[key].fits)
        there = {told[key].generator for key in folders if told[key].fits}
        score = (len(there), len(there) - len(BENCHMARKS[layout].generators))
        if 2 * fitting >= folders.total() and there and score > best:
            best, found = score, layout
    return found


def _read_folders(folders: tuple[str, ...], root_name: str, layout: str) -> _Folder:
    """Tell class, generator and split by the names of folders, as the layout has them."""
    names = [_without_suffix(name) for name in folders]
    classes = [index for index, name in enumerate(names) if label_of_name(name) is not None]
    benchmark = BENCHMARKS.get(layout)
    if benchmark is None:
        in_archive = names != list(folders)
        above = names[: classes[0]] if classes else names if in_archive else []
        return _Folder(True, None, None, _split_of(above))
    if not classes:
        return _Folder(False, None, None, None)
    above, class_name = names[: classes[-1]], names[classes[-1]].casefold()
    known = [index for index, name in enumerate(above) if known_generator(name) in benchmark.generators]
    generator = known_generator(above[known[0]]) if known else known_generator(root_name)
    if layout == "chameleon":
        fits = all(name.casefold() in _SPLITS or _CHAMELEON.casefold() in name.casefold() for name in above)
        generator = _CHAMELEON if fits else None
    else:
        fits = generator in benchmark.generators
    # ForenSynths has a category "train": below a generator's folder no such name is a split.
    split = _split_of(above if layout == "genimage" else above[: known[0]] if known else []) or benchmark.default_split
    fits = fits and class_name in benchmark.classes and split is not None
    if not fits:
        generator = next((canonical_generator(name) for name in above if name.casefold() not in _SPLITS), None)
    return _Folder(fits, label_of_name(class_name), generator, split)


def _without_suffix(name: str) -> str:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name, not a path
    return stem if suffix.lower() in ARCHIVE_SUFFIXES else name


def _split_of(names: Iterable[str]) -> str | None:
    """Return the split that the outermost of these names is, or begins with as the Hub's ``train-00000-of-00002``."""
    words = (name.casefold().split("-")[0] for name in names)
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def _misfit(text: str, benchmark: Benchmark, folders: Sequence[tuple[str, ...]]) -> SourceError:
    found = list(dict.fromkeys("/".join(key) or "." for key in folders))
    more = f" and {len(found) - 8:,} more" if len(found) > 8 else ""
    return SourceError(
        f"{benchmark.title} lies in {benchmark.tree}, with the generators {', '.join(benchmark.generators)}; {text} "
        f"has images in {', '.join(found[:8])}{more}: give the folder that holds the generators, or another layout."
    )


def _named(record: ImageRecord, folder: _Folder, benchmark: Benchmark | None) -> ImageRecord:
    if benchmark:
        return replace(record, label=folder.label, generator=folder.generator)
    generator = record.generator and canonical_generator(record.generator)
    return record if generator == record.generator else replace(record, generator=generator)


def _of_split(split: str, splits: Sequence[str | None], text: str) -> list[int]:
    wanted = _SPLITS.get(split.casefold())
    if wanted is None:
        raise SourceError(f"a split is train, val or test, got {split!r}.")
    kept = [index for index, each in enumerate(splits) if each == wanted]
    if not kept:
        there = sorted({each for each in splits if each})
        found = f"has only {' and '.join(there)}" if there else "names no split in its folders"
        raise SourceError(f"split {wanted!r} was asked for, {text} {found}: give another, or none.")
    return kept


def _pair(records: Sequence[ImageRecord], splits: Sequence[str | None], *, own_only: bool) -> dict[str, list[int]]:
    used = [index for index, split in enumerate(splits) if split != "train"] or range(len(records))
    fakes: defaultdict[str, list[int]] = defaultdict(list)
    own: defaultdict[str | None, list[int]] = defaultdict(list)
    photographs = [index for index in used if records[index].label == 0]
    for index in photographs:
        own[records[index].generator].append(index)
    for index in used:
        if records[index].label == 1:
            fakes[records[index].generator or UNKNOWN_GENERATOR].append(index)
    test_sets = {}
    for generator in sorted(fakes):
        paired = own.get(generator, [] if own_only else photographs)
        if paired:
            test_sets[generator] = sorted([*fakes[generator], *paired])
    return test_sets


def _read_as(records: Sequence[ImageRecord], folders: Sequence[tuple[str, ...]], root_name: str) -> tuple[ReadAs, ...]:
    """Say which folders' names were read as which class."""
    found = Counter(
        (record.label, key)
        for record, key in zip(records, folders, strict=True)
        if record.label is not None and not isinstance(record.place, Unlisted)
    )
    read: Counter[tuple[int, str | None]] = Counter()
    for (label, key), number in found.items():
        read[label, naming_folder([_without_suffix(name) for name in key], root_name, label)] += number
    return tuple(ReadAs(label, folder, number) for (label, folder), number in read.most_common())


def _report(
    text: str, layout: str, split: str | None, records: Sequence[ImageRecord], splits: Sequence[str | None]
) -> DataSetReport:
    benchmark = BENCHMARKS.get(layout)
    unlisted = {record.path: record.place.reason for record in records if isinstance(record.place, Unlisted)}
    found = Counter(
        (record.generator, part, record.label)
        for record, part in zip(records, splits, strict=True)
        if record.path not in unlisted
    )
    wanted = _SPLITS[split.casefold()] if split else None
    published = {key: value for key, value in benchmark.counts.items() if wanted in (None, key[1])} if benchmark else {}
    others = {(generator, part) for generator, part, label in found if label is not None} - set(published)
    keys = [*published, *sorted(others, key=lambda key: (key[0] is None, key[0] or "", key[1] or ""))]
    counts = [
        FoundCount(key[0], key[1], found[(*key, 0)], found[(*key, 1)], published.get((key[0] or "", key[1] or "")))
        for key in keys
    ]
    empty, missing = _check_files(records)
    unlabelled = [record.path for record in records if record.label is None and record.path not in unlisted]
    amiss = {
        "without a label, in no test set": unlabelled,
        "of 0 bytes": empty,
        "whose path leads to no file": missing,
    }
    return DataSetReport(
        layout=layout,
        source=text,
        split=wanted,
        counts=tuple(counts),
        num_unlabelled=len(unlabelled),
        empty_files=tuple(empty),
        missing_files=tuple(missing),
        unlisted_folders=tuple(unlisted),
        problems=(*unlisted.values(), *find_problems(counts, benchmark, wanted, amiss)),
        published_source=benchmark.source if benchmark else None,
    )


def _check_files(records: Sequence[ImageRecord]) -> tuple[list[str], list[str]]:
    """Return the paths of images of 0 bytes, and of those that lead to no file."""
    empty, missing = [], []
    for record in records:
        if isinstance(record.place, Unlisted):
            continue
        if record.place is None:
            try:
                size = os.stat(record.path).st_size  # noqa: PTH116 - a million times
            except (OSError, ValueError):
                missing.append(record.path)
                continue
        else:
            size = getattr(record.place, "size", -1)
        if size == 0:
            empty.append(record.path)
    return empty, missing
