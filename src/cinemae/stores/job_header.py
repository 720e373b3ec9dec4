"""What `store.json` and `results.json` have in common: the identity of a job, and how its images are cut into parts."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from cinemae.errors import StoreError

REMEDY = "go on with what it was begun with, or name another folder."
"""What to do where a folder is another job's."""


class JobHeader(ABC):
    """A list of images that is worked on in parts.

    Attributes:
        num_rows: Images in all, readable or not.
    """

    num_rows: int

    @property
    @abstractmethod
    def rows_per_part(self) -> int:
        """Rows a part; the last may hold fewer."""

    @property
    @abstractmethod
    def job(self) -> str:
        """16 hex digits over all that fixes the rows; every part carries them."""

    @abstractmethod
    def to_json(self) -> str:
        """Return the text of the file that says what a folder holds."""

    @abstractmethod
    def check_resumes(self, values: Mapping[str, Any], folder: str) -> None:
        """Check that this job may go on where the one that `values`, in `folder`, describe has stopped.

        Raises:
            CinemaeError: If it may not; what differs is named.
        """

    def check_same(self, begun: JobHeader, folder: str, names: Sequence[str]) -> None:
        """Check that the job that a folder was begun with agrees with this one in some fields.

        Raises:
            StoreError: If one differs.
        """
        for name in names:
            before, now = getattr(begun, name), getattr(self, name)
            if before != now:
                raise StoreError(f"{folder} was begun with {name} {before}, now it is {now}: {REMEDY}")

    @property
    def num_parts(self) -> int:
        """How many parts there are when all is done."""
        return math.ceil(self.num_rows / self.rows_per_part)

    @property
    def part_numbers(self) -> Sequence[int]:
        """The parts, in the order of the list."""
        return range(self.num_parts)

    def job_of(self, part: int) -> str:
        """Return what `part` carries: this job, or the one that made it before the list grew."""
        return self.job

    def rows_of(self, part: int) -> range:
        """Return which rows of the list `part` holds."""
        return range(part * self.rows_per_part, min((part + 1) * self.rows_per_part, self.num_rows))
