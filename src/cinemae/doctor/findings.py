"""What a check found: one thing, how bad it is, a sentence, what to do, and which files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["serious", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("serious", "warning", "note")
"""Worst first. "serious" makes figures measured on the set untrue, or hides files from them."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes:
        check: A word that stays the same between releases, such as "leak".
        severity: How bad it is.
        title: A few words.
        sentence: The rule, and what was found.
        advice: What to do.
        groups: The files: names that belong together, or single ones.
        figures: Numbers behind the sentence, plain JSON types.
    """

    check: str
    severity: Severity
    title: str
    sentence: str
    advice: str
    groups: tuple[tuple[str, ...], ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def num_files(self) -> int:
        """Files named, each once."""
        return len({name for group in self.groups for name in group})

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "check": self.check,
            "severity": self.severity,
            "title": self.title,
            "sentence": self.sentence,
            "advice": self.advice,
            "num_files": self.num_files,
            "groups": [list(group) for group in self.groups],
            "figures": self.figures,
        }


def singles(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return each name as a group of its own."""
    return tuple((name,) for name in names)


def count_of(number: int, word: str) -> str:
    """Return a number with its noun.

    Example:
        >>> count_of(1, "file"), count_of(2_000, "file")
        ('1 file', '2,000 files')
    """
    return f"{number:,} {word if number == 1 else f'{word}s'}"
