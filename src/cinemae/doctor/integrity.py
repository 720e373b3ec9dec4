"""A data set against its manifest: what is missing, what changed, what was added."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cinemae.doctor.file_rows import FileRow
from cinemae.doctor.findings import Finding, Severity, count_of, singles
from cinemae.errors import SourceError
from cinemae.sources.labels import CLASS_NAMES
from cinemae.sources.manifest import ManifestRow, digest_of, read_manifest
from cinemae.sources.stream import read_ahead

_TEXTS: dict[str, tuple[Severity, str, str, str]] = {
    "missing": (
        "serious",
        "Files that are not there",
        "All {all} files of {manifest} must be there; {n} not.",
        "Fetch them again, or write a new manifest if they were taken out on purpose.",
    ),
    "changed": (
        "serious",
        "Files with other bytes",
        "All {all} files of {manifest} must be as they were listed; {n} there with other bytes.",
        "Fetch them again: what is measured on them is not what others measured.",
    ),
    "relabelled": (
        "serious",
        "Files with another label",
        "A file's label is that of {manifest}; {n} in the folder of the other class.",
        "Find out which of the two is right.",
    ),
    "extra": (
        "warning",
        "Files that the manifest does not list",
        "A set should hold what {manifest} lists and nothing else; {n} extra.",
        "Take them out before you compare with figures of others.",
    ),
}


def read_checksums(manifest: Path) -> list[ManifestRow]:
    """Read a manifest to hold files against.

    Raises:
        SourceError: If it cannot be read, or names no checksum.
    """
    listed = read_manifest(manifest, ("path", "sha256"))
    if not any(row.sha256 for row in listed):
        raise SourceError(f"{manifest} names no SHA-256: write a manifest with `cinemae data manifest`.")
    return listed


def check_integrity(
    rows: Sequence[FileRow], listed: Sequence[ManifestRow], manifest: Path, root: Path
) -> list[Finding]:
    """Hold the files against a manifest with their SHA-256.

    Args:
        rows: Of the data set.
        listed: What the manifest lists; a line without a checksum only says that the file must be there.
        manifest: The CSV file. Its paths are relative to its own folder or, where none of them leads to a file from
            there, to `root`: manifests travel without their data.
        root: The data set's folder.
    """
    base = _base(listed, manifest, root)
    expected = {_normal(os.path.join(base, row.path)): row for row in listed}  # noqa: PTH118
    there = {_normal(row.record.path): row for row in rows if row.record.place is None}
    elsewhere = [path for path in expected if path not in there]
    digests = {path: row.sha256 for path, row in there.items() if row.status != "missing"}
    digests |= dict(zip(elsewhere, read_ahead(digest_of, elsewhere), strict=True))
    missing = [row.path for path, row in expected.items() if digests.get(path) is None]
    changed = [row.path for path, row in expected.items() if row.sha256 and digests.get(path) not in (None, row.sha256)]
    extra = [row.name for path, row in there.items() if path not in expected]
    relabelled = [
        f"{row.path} ({CLASS_NAMES[row.label]} in the manifest)"
        for path, row in expected.items()
        if row.label is not None and path in there and there[path].label not in (None, row.label)
    ]
    found = []
    for check, names in (("missing", missing), ("changed", changed), ("relabelled", relabelled), ("extra", extra)):
        if names:
            found.append(_finding(check, names, manifest.name, len(listed)))
    if not found:
        sentence = f"All {len(listed):,} files of {manifest.name} are there, byte for byte, and no other."
        found.append(Finding("manifest", "note", "The set is what its manifest says", sentence, "Nothing."))
    return found


def _finding(check: str, names: Sequence[str], manifest: str, num_listed: int) -> Finding:
    severity, title, sentence, advice = _TEXTS[check]
    number = f"{count_of(len(names), 'file')} {'is' if len(names) == 1 else 'are'}"
    text = sentence.format(n=number, manifest=manifest, all=f"{num_listed:,}")
    return Finding(f"manifest_{check}", severity, title, text, advice, singles(names))


def _base(listed: Sequence[ManifestRow], manifest: Path, root: Path) -> Path:
    beside = manifest.parent
    found = any(os.path.exists(os.path.join(beside, row.path)) for row in listed)  # noqa: PTH110, PTH118
    return beside if found else root


def _normal(path: str | os.PathLike[str]) -> str:
    return os.path.normpath(os.path.abspath(path))  # noqa: PTH100 - links in names stay as they were given
