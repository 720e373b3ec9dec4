"""The whole examination of a data set, from the list of its files to a report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cinemae.doctor.class_checks import (
    SERIOUS_FROM,
    WARN_FROM,
    ClassChecks,
    check_classes,
)
from cinemae.doctor.copy_checks import check_copies
from cinemae.doctor.file_checks import check_files, check_links, check_passed_over
from cinemae.doctor.file_rows import FileRow, find_passed_over, read_rows
from cinemae.doctor.findings import SEVERITIES, Finding, Severity
from cinemae.doctor.integrity import check_integrity, read_checksums
from cinemae.doctor.near_duplicates import COPY_LIMIT, RADIUS
from cinemae.errors import SourceError
from cinemae.settings import Settings
from cinemae.sources.dataset_report import find_problems
from cinemae.sources.layouts import DataSet, Layout, read_dataset
from cinemae.sources.local_files import Listing, source_root
from cinemae.sources.manifest import read_manifest
from cinemae.sources.published import BENCHMARKS
from cinemae.sources.records import ImageRecord, Unlisted
from cinemae.statistics.format_probe import ALARM
from cinemae.version import __version__

CHECK_VERSION = 1
"""Of the JSON form of a report."""

_MOST_PROBLEMS = 3


@dataclass(frozen=True)
class CheckOptions(Settings):
    """What to look at.

    Attributes:
        layout: As for `cinemae.sources.layouts.read_dataset`.
        split: Only this one; None for all.
        against: Other data sets that may share nothing with this one, such as the training set of a test set.
        manifest: A CSV file with SHA-256 to hold the files against; None for no such check.
        seed: Of the format probe.
        follow_links: Enter links to folders that lead out of the folder named.
    """

    layout: Layout = "auto"
    split: str | None = None
    against: tuple[str, ...] = ()
    manifest: str | None = None
    seed: int = 0
    follow_links: bool = False


@dataclass(frozen=True)
class DoctorReport:
    """What was found.

    Attributes:
        source: The data set, as it was named.
        layout: How it is laid out.
        options: What was looked at.
        rows: One a file.
        others: The same of the sets it was held against.
        findings: Worst first.
        classes: What the files alone say of the classes.
    """

    source: str
    layout: str
    options: CheckOptions
    rows: tuple[FileRow, ...]
    others: tuple[FileRow, ...]
    findings: tuple[Finding, ...]
    classes: ClassChecks

    @cached_property
    def by_name(self) -> dict[str, FileRow]:
        """The rows by the names that findings give."""
        return {row.name: row for row in (*self.others, *self.rows)}

    @property
    def readable(self) -> tuple[FileRow, ...]:
        """The files that could be decoded."""
        return tuple(row for row in self.rows if row.status == "ok")

    @property
    def num_real(self) -> int:
        """Readable photographs."""
        return sum(row.label == 0 for row in self.readable)

    @property
    def num_fake(self) -> int:
        """Readable generated images."""
        return sum(row.label == 1 for row in self.readable)

    @property
    def splits(self) -> dict[str, int]:
        """Readable files by split; "" for none."""
        return dict(sorted(Counter(row.split or "" for row in self.readable).items()))

    @property
    def severities(self) -> dict[Severity, int]:
        """Findings by how bad they are, worst first."""
        return {severity: self.count(severity) for severity in SEVERITIES}

    def count(self, severity: Severity) -> int:
        """Return how many findings are so bad."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types, with the name of every file concerned."""
        return {
            "check_version": CHECK_VERSION,
            "cinemae": __version__,
            "source": self.source,
            "layout": self.layout,
            "options": self.options.to_dict(),
            "num_files": len(self.rows),
            "num_readable": len(self.readable),
            "num_real": self.num_real,
            "num_fake": self.num_fake,
            "splits": self.splits,
            "severities": self.severities,
            "findings": [finding.to_dict() for finding in self.findings],
            "format_probe": {name: probe.to_dict() for name, probe in self.classes.probes.items()},
            "imbalances": [imbalance.to_dict() for imbalance in self.classes.imbalances],
            "sources": [asdict(source) for source in self.classes.sources],
            "limits": {
                "format_probe": ALARM,
                "imbalance_warning": WARN_FROM,
                "imbalance_serious": SERIOUS_FROM,
                "near_duplicate_bits": RADIUS,
                "copy_thumbnail_difference": COPY_LIMIT,
            },
        }


def check_dataset(
    source: str | os.PathLike[str],
    options: CheckOptions | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> DoctorReport:
    """Examine a data set: every file is opened, decoded and hashed, nothing is written or changed.

    Args:
        source: As for `cinemae.sources.layouts.read_dataset`.
        options: What to look at.
        progress: Called with (files done, files in all).

    Returns:
        The report. It names what is wrong; a data set with no readable file at all has one too.

    Raises:
        SourceError: If a source cannot be listed, or the manifest cannot be read.
    """
    options = options or CheckOptions()
    text, root = os.fspath(source), source_root(source)
    listing = Listing(options.follow_links)
    dataset, records, splits = _list(text, options, listing)
    manifest = None if options.manifest is None else Path(options.manifest)
    listed = [] if manifest is None else read_checksums(manifest)  # now: what is wrong with it is not found out later
    if manifest is not None:
        _require_files(records, manifest)
    count = len(records)
    for name in options.against:
        _, theirs, _ = _list(name, CheckOptions(), listing)
        records += theirs
        splits += [name] * len(theirs)
    rows = read_rows(records, splits, root, progress=progress)
    ours, others = rows[:count], rows[count:]
    classes = check_classes(ours, seed=options.seed)
    findings = [*check_files(ours), *check_copies(ours, others), *classes.findings, *_published(dataset)]
    if manifest is not None:
        findings += check_integrity(ours, listed, manifest, root)
    if Path(text).is_dir():
        findings += check_passed_over(*find_passed_over(root))
    findings += check_links(listing.links)
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return DoctorReport(text, dataset.layout, options, tuple(ours), tuple(others), tuple(findings), classes)


def _list(text: str, options: CheckOptions, listing: Listing) -> tuple[DataSet, list[ImageRecord], list[str | None]]:
    """Return data set, records and splits; a manifest names its splits in a column."""
    manifest = Path(text).suffix.lower() == ".csv" and Path(text).is_file()
    dataset = read_dataset(text, options.layout, None if manifest else options.split, listing=listing)
    records, splits = list(dataset.records), list(dataset.splits)
    if manifest:
        splits = [row.split for row in read_manifest(Path(text))]
        if options.split is not None:
            kept = [place for place, split in enumerate(splits) if split == options.split]
            if not kept:
                raise SourceError(f"split {options.split!r} was asked for, {text} names it nowhere: give another.")
            records, splits = [records[place] for place in kept], [splits[place] for place in kept]
    return dataset, records, splits


def _require_files(records: Sequence[ImageRecord], manifest: Path) -> None:
    inside = next((record.path for record in records if not isinstance(record.place, Unlisted | None)), None)
    if inside is not None:
        raise SourceError(f"{manifest} lists files, and {inside} lies in an archive: unpack the archive first.")


def _published(dataset: DataSet) -> list[Finding]:
    """Say what a published data set lacks."""
    benchmark, report = BENCHMARKS.get(dataset.layout), dataset.report
    problems = find_problems(report.counts, benchmark, report.split, {}) if benchmark else ()
    if not benchmark or not problems:
        return []
    more = f" And {len(problems) - _MOST_PROBLEMS:,} more." if len(problems) > _MOST_PROBLEMS else ""
    shown = " ".join(problem[0].upper() + problem[1:] for problem in problems[:_MOST_PROBLEMS])
    return [
        Finding(
            "published",
            "warning",
            "Not the set as it was published",
            f"Figures on {benchmark.title} are compared on the images that were published. {shown}{more}",
            "Complete the set, or say beside each figure which part it was measured on.",
            figures={"problems": list(problems)},
        )
    ]
