"""What ``detect`` does with many verdicts: pick those of some words, put them in order, copy their files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from cinemae.errors import ConfigError

if TYPE_CHECKING:
    from cinemae.detect.verdict import Verdict

_WORDS = {
    **{word: word for word in ("ai", "uncertain", "real", "error")},
    "ai-generated": "ai",
    "photograph": "real",
    "photographs": "real",
}


class Order(StrEnum):
    """In which order verdicts are written."""

    GIVEN = "given"
    SCORE = "score"


def read_only(text: str | None) -> frozenset[str] | None:
    """Read the verdicts of ``--only``.

    Raises:
        ConfigError: If one is none.

    Example:
        >>> sorted(read_only("AI, uncertain"))
        ['ai', 'uncertain']
    """
    if text is None:
        return None
    names = [name.strip().lower() for name in text.split(",")]
    if unknown := [name for name in names if name not in _WORDS]:
        raise ConfigError(f"--only takes ai, uncertain, real and error, joined by commas, got {unknown[0]!r}.")
    return frozenset(_WORDS[name] for name in names)


def in_order(verdicts: Iterable[Verdict], order: Order) -> Iterator[Verdict]:
    """Yield the verdicts as they come, or all together, the highest probability first and what failed last."""
    if order is Order.GIVEN:
        yield from verdicts
        return
    yield from sorted(
        verdicts, key=lambda verdict: -1.0 if verdict.prob_fake is None else verdict.prob_fake, reverse=True
    )


class Copies:
    """Copies the files of images to one folder; an image out of an archive or behind a URI has none.

    Args:
        root: The folder.
        arguments: Folders and files as the user named them.
    """

    def __init__(self, root: Path, arguments: Sequence[str]) -> None:
        from cinemae.app.output import MirroredFolder

        self._names = MirroredFolder(root, suffix="", arguments=arguments)
        self.root, self.copied, self.without_file = root, 0, 0

    def add(self, verdict: Verdict) -> None:
        """Copy one file."""
        if verdict.path is None or not os.path.isfile(verdict.path):  # noqa: PTH113 - a name that may be no path
            self.without_file += 1
            return
        shutil.copy2(verdict.path, self._names.path_for(verdict.path))
        self.copied += 1

    def summary(self) -> str:
        """Say what was done."""
        said = f"{self.copied} file{'s' if self.copied != 1 else ''} copied to {self.root}"
        return (
            f"{said}; {self.without_file} could not be, as no file of their own." if self.without_file else f"{said}."
        )
