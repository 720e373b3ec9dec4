"""Verdicts as rows: a table for people, JSON lines and CSV for programs; and where the rows go."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import typer

from cinemae.evidence.provenance import summarise

if TYPE_CHECKING:
    from cinemae.config import DecisionConfig
    from cinemae.detect.verdict import Verdict

Emit = Callable[[str], None]
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the beginning of a formula."""

_COLOURS = {"ai": "yellow", "real": "cyan", "uncertain": None, "error": "red"}
_LONGEST_NAME = 240  # bytes; file systems take 255


class Writer(Protocol):
    """Writes verdicts in one format."""

    def write(self, verdict: Verdict) -> None:
        """Write one verdict."""
        ...

    def finish(self) -> None:
        """Write what comes after the last one."""
        ...


class JsonlWriter:
    """One JSON object a line, as the verdicts come."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit

    def write(self, verdict: Verdict) -> None:
        """Write one object."""
        self.emit(json.dumps(verdict.to_dict(), ensure_ascii=False, allow_nan=False))

    def finish(self) -> None:
        """Nothing comes after the last object."""


class CsvWriter:
    """The keys of the JSON object and error_message as columns; a list's entries joined by ";".

    Of what a file says its sentence is written, of a re-delivery ``name:prob_fake``, of what was examined
    ``name:value``; reasons are joined by a space.

    A relative path that a spreadsheet would run as a formula is written with ``./`` before it: the same file.
    """

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self._started = False

    def write(self, verdict: Verdict) -> None:
        """Write one row, and the header before the first."""
        values = {**verdict.to_dict(), "error_message": verdict.error_message}
        values["examined"] = ";".join(f"{name}:{value:.6g}" for name, value in (values["examined"] or {}).items())
        values["warnings"], values["reasons"] = ";".join(verdict.warnings), " ".join(verdict.reasons)
        values["redeliveries"] = ";".join(f"{name}:{prob!r}" for name, prob in (verdict.redeliveries or {}).items())
        values["provenance"] = ";".join(signal.sentence for signal in verdict.provenance)
        if values["path"] and values["path"].startswith(FORMULA_SIGNS):
            values["path"] = "./" + values["path"]
        if not self._started:
            self._emit_row(list(values))
            self._started = True
        self._emit_row(list(values.values()))

    def finish(self) -> None:
        """Nothing comes after the last row."""

    def _emit_row(self, cells: list[object]) -> None:
        row = io.StringIO()
        csv.writer(row, lineterminator="\r\n").writerow(cells)  # a cell with either in it is quoted
        self.emit(row.getvalue().removesuffix("\r\n"))


class TableWriter:
    """Aligned columns as the verdicts come, and at the end what they mean.

    Args:
        emit: Where lines go.
        decision: The thresholds that were used.
        colour: Whether to colour the verdicts.
        explain: Write the reasons below each image.
    """

    def __init__(self, emit: Emit, decision: DecisionConfig, *, colour: bool, explain: bool = False) -> None:
        self.emit, self.decision, self.colour, self.explain = emit, decision, colour, explain
        self.counts: Counter[str] = Counter()

    def write(self, verdict: Verdict) -> None:
        """Write one line, and the header before the first."""
        if not self.counts:
            self.emit(_row("verdict", "probability", "warnings", "file"))
        word = verdict.verdict or "error"
        self.counts[word] += 1
        path = visible(verdict.path or "")
        if verdict.prob_fake is None:
            message = visible(verdict.error_message or "")
            text = message if path in message else f"{path}: {message}"
            self.emit(self._paint(_row(word, "-", "-", text), word))
            return
        probability = f"{verdict.prob_fake:.3f}"
        self.emit(self._paint(_row(word, probability, ", ".join(verdict.warnings) or "-", path), word))
        conflict = (verdict.conflict,) if verdict.conflict else ()
        for sentence in verdict.reasons if self.explain else conflict:
            self._below(sentence)
        if self.explain and verdict.examined:
            self._below(verdict.examined.sentence)
        if said := summarise(verdict.provenance):
            self._below(said)

    def _below(self, sentence: str) -> None:
        for line in textwrap.wrap(visible(sentence), 98, initial_indent="    ", subsequent_indent="    "):
            self.emit(line)

    def finish(self) -> None:
        """Write the counts, what the thresholds were set for, and that a score proves nothing."""
        total, failed = self.counts.total(), self.counts["error"]
        parts = [f"{self.counts[word]} {word}" for word in ("ai", "uncertain", "real")]
        parts += [f"{failed} could not be read"] if failed else []
        self.emit("")
        self.emit(f"{total} image{'s' if total != 1 else ''}: {', '.join(parts)}.")
        limits = f'"ai" from {self.decision.threshold:.3f}, "real" below {self.decision.real_below:.3f}'
        self.emit(f"The probability is that of being AI-generated; {limits}.")
        if not self.explain:  # the reasons have said it
            self.emit(f"How that was set: {self.decision.rule}.")
        self.emit("A score is a signal, not proof: judge nobody by it alone.")

    def _paint(self, line: str, word: str) -> str:
        return typer.style(word, fg=_COLOURS[word], bold=True) + line[len(word) :] if self.colour else line


def _row(verdict: str, probability: str, warnings: str, file: str) -> str:
    return f"{verdict:<9}  {probability:>11}  {warnings:<20}  {file}"


def visible(text: str) -> str:
    r"""Return text with everything that a terminal would act on, or not show, as an escape.

    Example:
        >>> print(visible("a" + chr(10) + "b" + chr(0xdce9)))
        a\nb\xe9
    """
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


@contextmanager
def open_output(path: Path | None, emit_stdout: Emit) -> Iterator[Emit]:
    """Give a function that writes lines to a file, or to standard output if there is no path.

    The file appears when all is written. If the work ends early, what there is stays beside it as ``.partial``.

    Args:
        path: The file; None for standard output.
        emit_stdout: Writes a line to standard output.
    """
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
        yield emit_stdout
        return
    target = Path(os.path.realpath(path))
    device = target.exists() and not target.is_file()
    partial = target if device else target.with_name(target.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:

            def emit(line: str) -> None:
                file.write(line + "\n")
                file.flush()

            yield emit
    except BaseException:
        if not device and partial.is_file():
            if partial.stat().st_size:
                typer.echo(f"the rows so far are in {visible(str(partial))}", err=True)
            else:
                partial.unlink()
        raise
    if not device:
        partial.replace(target)


class HeatmapFolder:
    """Names for heat maps: the folders of the images below one root, ``.png`` after each name, and no name twice.

    Args:
        root: The folder to write below; made where needed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._used: set[str] = set()

    def path_for(self, image_path: str) -> Path:
        """Return a new file's path, its folder made."""
        whole = os.path.abspath(image_path)  # noqa: PTH100 - resolves no links, so that the names are those given
        inside = os.path.relpath(whole) if whole.startswith(os.getcwd() + os.sep) else whole  # noqa: PTH109
        parts = Path(inside).parts[1:] if Path(inside).is_absolute() else Path(inside).parts
        name = parts[-1]
        while len(os.fsencode(name)) > _LONGEST_NAME:
            name = name[:-1]
        for count in range(len(self._used) + 1):
            candidate = Path(*parts[:-1], f"{name}-{count + 1}.png" if count else f"{name}.png")
            if str(candidate) not in self._used:
                break
        self._used.add(str(candidate))
        target = self.root / candidate
        target.parent.mkdir(parents=True, exist_ok=True)
        return target
