"""A folder of Parquet files that many processes fill and that any run goes on with: feature stores and results.

One JSON file names the job; a part holds one row an image, in the order of the list. A part appears whole or not at
all, carries the job's identity, and is the only record of its being done: missing files are what is left to do. The
same rows make the same bytes. Two runs on one folder at once do the same work twice, and neither loses anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cinemae.errors import MissingDependencyError, StoreError
from cinemae.stores.file_folders import open_folder
from cinemae.stores.job_header import JobHeader

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingDependencyError("stores and results in Parquet need pyarrow: pip install 'cinemae[data]'.") from error

SET_ASIDE = "set aside: "
"""How the error_message of a quarantined image begins."""

_JOB_KEY = b"cinemae.job"


@dataclass(frozen=True)
class PartReport:
    """What became of one part.

    Attributes:
        part: Which.
        num_rows: Its images.
        num_failed: Those that could not be read or scored, the quarantined among them.
        quarantined: Paths of the images that ended the process that scored them, again and again.
    """

    part: int
    num_rows: int
    num_failed: int
    quarantined: tuple[str, ...]

    @classmethod
    def of(cls, part: int, outcomes: Iterable[tuple[str, str | None]]) -> PartReport:
        """Count a part's rows, given as path and error message; None where there is a result."""
        messages = list(outcomes)
        failed = [(path, message) for path, message in messages if message is not None]
        quarantined = tuple(path for path, message in failed if message.startswith(SET_ASIDE))
        return cls(part, len(messages), len(failed), quarantined)


@dataclass(frozen=True)
class PartsFormat:
    """What tells one kind of folder from the other.

    Attributes:
        what: What it holds, in the plural.
        header_name: The file that names the job.
        part: What a part is called.
        part_name: What its file is called, to be filled in with its number.
        schema: Columns.
        again: What to run to go on.
        parquet: How Parquet is written.
        older: Columns of parts that earlier versions wrote, which are read as they are.
    """

    what: str
    header_name: str
    part: str
    part_name: str
    schema: pa.Schema
    again: str
    parquet: Mapping[str, Any] = field(default_factory=dict)
    older: tuple[pa.Schema, ...] = ()


class PartsFolder:
    """The folder of one job, to be filled and to be read.

    Args:
        path: The folder, here or behind a URI.
        form: What kind of folder.
        header: The job.
    """

    def __init__(self, path: str | os.PathLike[str], form: PartsFormat, header: JobHeader) -> None:
        self.path, self.form, self.header = os.fspath(path), form, header
        self._folder = open_folder(path)

    def prepare(self) -> list[int]:
        """Make the folder, or find out what an interrupted run left to do.

        Returns:
            The parts still to be written, ascending.

        Raises:
            StoreError: If the folder holds other files, or is another job's; what differs is named.
            FingerprintMismatchError: If it holds features of another backbone or other settings.
        """
        form = self.form
        with self._writing():
            names = self._folder.make()
        if form.header_name in names:
            self.header.check_resumes(read_header(self.path, form), self.path)
        elif visible := sorted(name for name in names if not name.startswith(".")):
            raise StoreError(
                f"{form.what} are written to a new or empty folder, {self.path} holds {visible[0]} and no "
                f"{form.header_name}: name another folder."
            )
        with self._writing():
            self._folder.tidy()
            if form.header_name not in names:
                self._folder.write(form.header_name, self.header.to_json().encode())
        return [part for part in self.header.part_numbers if self.name_of(part) not in names]

    def begun(self) -> dict[str, Any] | None:
        """Return what the file that names the job says; None of a folder that was not begun.

        Raises:
            StoreError: If it cannot be read.
        """
        return read_header(self.path, self.form) if self.holds(self.form.header_name) else None

    def finished(self) -> list[int]:
        """Return the parts that are written, in the order of the list.

        Raises:
            StoreError: If the folder cannot be looked at.
        """
        with self._writing():
            names = self._folder.make()
        return [part for part in self.header.part_numbers if self.name_of(part) in names]

    def grow(self) -> None:
        """Put this job in the place of the one that the folder was begun with; its parts stay.

        Raises:
            StoreError: If the disk refuses.
        """
        with self._writing():
            self._folder.write(self.form.header_name, self.header.to_json().encode())

    def name_of(self, part: int) -> str:
        """Return the name of a part's file."""
        return self.form.part_name.format(part)

    def holds(self, name: str) -> bool:
        """Tell whether there is a file of this name, a part or another.

        Raises:
            StoreError: If the folder cannot be looked at.
        """
        with self._writing():
            return self._folder.has(name)

    def has(self, part: int) -> bool:
        """Tell whether a part is written, as `holds` does."""
        return self.holds(self.name_of(part))

    def write(self, part: int, rows: pa.Table) -> None:
        """Write one part: under a temporary name, flushed to the disk, then renamed.

        Args:
            part: Which part.
            rows: All its rows, in the order of the list.

        Raises:
            StoreError: If the rows are not as many as the part has, or the disk refuses.
        """
        expected = len(self.header.rows_of(part))
        if len(rows) != expected:
            raise StoreError(f"{self.form.part} {part} holds {expected} rows, got {len(rows)}.")
        job = {_JOB_KEY: self.header.job_of(part).encode()}
        self.write_beside(self.name_of(part), rows.replace_schema_metadata(job))

    def write_beside(self, name: str, rows: pa.Table) -> None:
        """Write a file of rows beside the parts, which is no part, as `write` does.

        Raises:
            StoreError: If the disk refuses.
        """
        file = pa.BufferOutputStream()
        with self._writing():
            pq.write_table(rows, file, **self.form.parquet)
            self._folder.write(name, file.getvalue().to_pybytes())

    @contextmanager
    def open(self, part: int) -> Iterator[pq.ParquetFile]:
        """Open one part, its footer checked; what goes wrong while it is read is a `StoreError` as well.

        Raises:
            StoreError: If it cannot be read, or is another job's.
        """
        try:
            # Buffered beforehand, it would be read by threads of Arrow's that end with Python, and can abort it.
            source = self._folder.open(self.name_of(part))
            with pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True) as file:
                self._check_part(part, file)
                yield file
        except StoreError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StoreError(
                f"{self._path_of(part)} could not be read ({error}): delete it and run {self.form.again} again, only "
                "it is made anew."
            ) from error

    def _check_part(self, part: int, file: pq.ParquetFile) -> None:
        expected, found = len(self.header.rows_of(part)), file.metadata.num_rows
        job, wanted = (file.metadata.metadata or {}).get(_JOB_KEY, b"").decode(), self.header.job_of(part)
        known = any(file.schema_arrow.equals(schema) for schema in (self.form.schema, *self.form.older))
        if job != wanted or found != expected or not known:
            raise StoreError(
                f"{self._path_of(part)} is not of this job: expected {expected} rows of job {wanted}, it "
                f"holds {found} of job {job or 'none'}: delete it and run {self.form.again} again."
            )

    def report(self, part: int) -> PartReport | None:
        """Say what became of the images of a part; None if it is not there.

        Raises:
            StoreError: If it cannot be read, or is another job's.
        """
        if not self.has(part):
            return None
        with self.open(part) as file:
            rows = file.read(columns=["path", "error_message"], use_threads=False)
        return PartReport.of(part, zip(*(column.to_pylist() for column in rows.columns), strict=True))

    def _path_of(self, part: int) -> str:
        return f"{self.path.rstrip('/')}/{self.name_of(part)}"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise StoreError(
                f"the {self.form.what} {self.path} could not be written ({error}): free space or change permissions, "
                f"then run {self.form.again} again; finished {self.form.part}s are kept."
            ) from error


def read_header(path: str | os.PathLike[str], form: PartsFormat) -> dict[str, Any]:
    """Read the file that says what a folder holds.

    Raises:
        FileNotFoundError: If there is none.
        StoreError: If it cannot be read.
    """
    name = f"{os.fspath(path).rstrip('/')}/{form.header_name}"
    try:
        values = json.loads(open_folder(path).read(form.header_name))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError) as error:
        raise StoreError(f"{name} could not be read as JSON ({error}): restore it, or name another folder.") from error
    if not isinstance(values, dict):
        raise StoreError(f"{name} must hold a JSON object: restore it, or name another folder.")
    return values
