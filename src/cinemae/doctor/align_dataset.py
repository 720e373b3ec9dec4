"""A copy of a data set in which how files were saved says nothing of their class: both went through the same steps.

Nothing is written into the data set itself. A run that was interrupted goes on where it stopped, and the same command
gives the same files. What could not be taken along is a row of ``alignment.csv`` with its reason, and ``manifest.csv``
lists what was, with labels and SHA-256: a source of images like any other.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Final, Literal

from cinemae.errors import ImageError, SourceError
from cinemae.pictures.alignment import AlignConfig, WindowConfig, align_to_file, why_left_out, window_picture
from cinemae.pictures.file_facts import FileFacts, read_facts
from cinemae.pictures.image import load_image
from cinemae.sources.archives import read_encoded
from cinemae.sources.labels import CLASS_NAMES
from cinemae.sources.layouts import DataSet
from cinemae.sources.local_files import source_root
from cinemae.sources.manifest import relative_name, write_manifest
from cinemae.sources.records import ARCHIVE_SUFFIXES, ImageRecord
from cinemae.sources.stream import read_ahead
from cinemae.sources.whole_files import remove_unfinished, replacing

REPORT_FILE: Final = "alignment.csv"
MANIFEST_FILE: Final = "manifest.csv"
SETTINGS_FILE: Final = "alignment.json"
FORMAT_VERSION: Final = 1

Status = Literal["aligned", "left_out", "unreadable"]
Steps = AlignConfig | WindowConfig

_COLUMNS = (
    "path", "aligned_path", "status", "reason", "label", "generator", "split", "format", "width", "height",
    "jpeg_quality", "steps",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AlignedRow:
    """What became of one image.

    Attributes:
        record: The image.
        split: That it belongs to; None unknown.
        target: Its path below the new folder, with forward slashes.
        status: "aligned", "left_out" because the steps have no place for it, or "unreadable".
        reason: Why it was not aligned.
        facts: Of the file as it was; None where the header cannot be read.
        steps: What was done to it.
    """

    record: ImageRecord
    split: str | None
    target: str
    status: Status
    reason: str = ""
    facts: FileFacts | None = None
    steps: str = ""


@dataclass(frozen=True)
class AlignReport:
    """What came of aligning a data set.

    Attributes:
        rows: One an image, in the order of the data set.
        description: The steps, in a sentence.
    """

    rows: tuple[AlignedRow, ...]
    description: str

    def counts(self) -> dict[int | None, Counter[str]]:
        """Return how many images of each label came out how."""
        found: dict[int | None, Counter[str]] = {0: Counter(), 1: Counter(), None: Counter()}
        for row in self.rows:
            found[row.record.label][row.status] += 1
        return found

    def reasons(self) -> dict[str, tuple[int, int]]:
        """Return why images were left out, with how many photographs and fakes; commonest first."""
        counts = Counter((row.reason, row.record.label) for row in self.rows if row.status == "left_out")
        names = Counter(row.reason for row in self.rows if row.status == "left_out")
        return {name: (counts[(name, 0)], counts[(name, 1)]) for name, _ in names.most_common()}

    def emptied_generators(self) -> list[str]:
        """Return the generators of which no image is left."""
        before = {row.record.generator for row in self.rows if row.record.label == 1 and row.record.generator}
        after = {row.record.generator for row in self.rows if row.record.label == 1 and row.status == "aligned"}
        return sorted(name for name in before - after if name)


def align_dataset(
    source: str | os.PathLike[str],
    dataset: DataSet,
    out: Path,
    steps: Steps,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> AlignReport:
    """Write a data set anew, each picture through the same steps, in the folders it had.

    Args:
        source: The data set, as it was named to `cinemae.sources.layouts.read_dataset`.
        dataset: What that returned.
        out: The new folder: missing, empty, or begun with the same steps.
        steps: `AlignConfig` forces every picture into one square and JPEG; `WindowConfig` takes only those that need no
            scaling and no second JPEG, after Grommelt et al.
        progress: Called with (images done, images in all).

    Returns:
        One row an image; the same are in ``alignment.csv``.

    Raises:
        SourceError: If `out` and the data set lie one inside the other, or `out` holds something else.
    """
    root = source_root(source)
    _require_apart(Path(source), root, out)
    _prepare(out, steps)
    targets = target_names(dataset.records, root, ".png" if isinstance(steps, WindowConfig) else ".jpg")
    for folder in {(out / target).parent for target in targets}:
        if folder.is_dir():
            remove_unfinished(folder)
    items = list(zip(dataset.records, dataset.splits, targets, strict=True))
    rows: list[AlignedRow] = []
    for row in read_ahead(partial(_align, out=out, steps=steps), items):
        rows.append(row)
        if progress:
            progress(len(rows), len(items))
    _write_report(rows, out)
    aligned = [row for row in rows if row.status == "aligned"]
    records = [
        ImageRecord(os.path.join(out, row.target), row.record.label, row.record.generator)  # noqa: PTH118
        for row in aligned
    ]
    write_manifest(records, [row.split for row in aligned], out / MANIFEST_FILE)
    return AlignReport(tuple(rows), describe(steps))


def describe(steps: Steps) -> str:
    """Say what is done to every picture.

    Example:
        >>> describe(AlignConfig())
        'centre square, scaled to 256x256 (bicubic), saved as JPEG of quality 96 (4:2:0)'
    """
    if isinstance(steps, AlignConfig):
        size = f"{steps.size}x{steps.size}"
        return f"centre square, scaled to {size} (bicubic), saved as JPEG of quality {steps.jpeg_quality} (4:2:0)"
    return (
        f"both sides from {steps.min_side} to {steps.max_side} pixels; JPEGs of quality {steps.jpeg_quality} as they "
        f"are, lossless pictures through one JPEG of quality {steps.jpeg_quality} (4:2:0), others left out; "
        f"{steps.min_side}x{steps.min_side} cut from the centre (from a multiple of 16 pixels), saved as PNG"
    )


def target_names(records: Sequence[ImageRecord], root: Path, suffix: str) -> list[str]:
    """Return a path below the new folder for each image: its own folders and name with another ending.

    Archives become folders. Names that would be the same keep their old endings (``a.png.jpg`` beside ``a.jpg.jpg``).

    Args:
        records: The images.
        root: The folder whose folders are kept; of an image elsewhere the whole path is.
        suffix: Of the new files.

    Raises:
        SourceError: If two images would still have one name.
    """
    paths = [_kept_path(record.path, root) for record in records]
    short = [path.with_suffix(suffix).as_posix() for path in paths]
    taken = Counter(name.casefold() for name in short)
    names = [
        name if taken[name.casefold()] == 1 else f"{path.as_posix()}{suffix}"
        for name, path in zip(short, paths, strict=True)
    ]
    again = [name for name, number in Counter(name.casefold() for name in names).items() if number > 1]
    if again:
        raise SourceError(
            f"each image needs a name of its own in the new folder, {len(again)} would be given twice, such as "
            f"{again[0]}: rename one of the two, or take the doubled line out of the manifest."
        )
    return names


def _kept_path(path: str, root: Path) -> PurePath:
    parts = PurePath(os.path.abspath(path)).parts  # noqa: PTH100 - links in names stay as they were given
    above = PurePath(os.path.abspath(root)).parts  # noqa: PTH100
    kept = parts[len(above) :] if parts[: len(above)] == above else parts[1:]
    folders = [os.path.splitext(name) for name in kept[:-1]]  # noqa: PTH122 - names, not paths
    plain = [stem if suffix.lower() in ARCHIVE_SUFFIXES else stem + suffix for stem, suffix in folders]
    return PurePath(*plain, kept[-1])


def _align(item: tuple[ImageRecord, str | None, str], *, out: Path, steps: Steps) -> AlignedRow:
    record, split, target = item
    facts = None
    try:
        encoded = read_encoded(record)
        facts = read_facts(encoded)
        done = _steps_of(facts, steps)
        reason = why_left_out(facts, steps) if isinstance(steps, WindowConfig) else None
        if reason is not None:
            return AlignedRow(record, split, target, "left_out", reason, facts)
        path = out / target
        if not path.exists():
            data = _encode(encoded, facts, steps)
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(data)
    except ImageError as error:
        return AlignedRow(record, split, target, "unreadable", str(error), facts)
    return AlignedRow(record, split, target, "aligned", "", facts, done)


def _encode(encoded: str | bytes, facts: FileFacts, steps: Steps) -> bytes:
    picture = load_image(encoded).image
    if isinstance(steps, AlignConfig):
        return align_to_file(picture, steps)
    buffer = io.BytesIO()
    window_picture(picture, facts, steps).save(buffer, "PNG")
    return buffer.getvalue()


def _steps_of(facts: FileFacts, steps: Steps) -> str:
    """Say what is done to this very picture."""
    if isinstance(steps, AlignConfig):
        side = min(facts.width, facts.height)
        return f"square {side}; to {steps.size}; JPEG {steps.jpeg_quality}"
    first = "its own JPEG" if facts.container == "JPEG" else "one JPEG"
    return f"{first} {steps.jpeg_quality}; square {steps.min_side}; PNG"


def _require_apart(source: Path, root: Path, out: Path) -> None:
    inner, outer = os.path.realpath(out), os.path.realpath(root)
    inside = inner == outer or inner.startswith(os.path.join(outer, ""))  # noqa: PTH118
    around = outer.startswith(os.path.join(inner, ""))  # noqa: PTH118
    if around or inner == outer or (inside and not source.is_file()):
        raise SourceError(
            f"an aligned copy is never written into the data set it is made of: {out} and {source} lie one inside the "
            "other: give a folder elsewhere."
        )


def _prepare(out: Path, steps: Steps) -> None:
    """Begin a folder, or find it begun with the same steps."""
    settings = {"format_version": FORMAT_VERSION, "steps": type(steps).__name__, **asdict(steps)}
    file = out / SETTINGS_FILE
    if file.is_file():
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SourceError(f"{file} is damaged: delete the folder and align the set again.") from error
        if found != settings:
            raise SourceError(
                f"{out} was begun with other steps ({_brief(found)}; now {_brief(settings)}): give another folder."
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SourceError(f"an aligned copy goes to a new or empty folder, {out} holds something else: give another.")
    out.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _brief(settings: object) -> str:
    if not isinstance(settings, dict):
        return "unknown"
    return ", ".join(f"{name} {value}" for name, value in settings.items() if name != "format_version")


def _write_report(rows: Sequence[AlignedRow], out: Path) -> None:
    folder = os.path.abspath(out)  # noqa: PTH100
    with replacing(out / REPORT_FILE) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in rows:
            facts = row.facts
            writer.writerow([
                _printable(relative_name(row.record.path, folder)),
                _printable(row.target) if row.status == "aligned" else "",
                row.status,
                _printable(row.reason),
                CLASS_NAMES[row.record.label],
                _printable(row.record.generator or ""),
                row.split or "",
                facts.container if facts else "",
                facts.width if facts else "",
                facts.height if facts else "",
                facts.jpeg_quality if facts and facts.jpeg_quality else "",
                row.steps,
            ])  # fmt: skip


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
