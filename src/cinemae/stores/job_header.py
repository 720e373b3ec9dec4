"""What `store.json` and `results.json` have in common: the identity of a job, and how its images are cut into parts."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any


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
