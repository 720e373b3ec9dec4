"""Verdicts as rows: a table for people, JSON lines and CSV for programs; and where the rows go."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import typer

from cinemae.detect.words import WORDS, decimals_for, limits_in_words, percent, word_for
from cinemae.evidence.provenance import summarise
from cinemae.evidence.redelivery import ALL_REDELIVERIES, in_words

if TYPE_CHECKING:
    from cinemae.config import DecisionConfig
    from cinemae.detect.verdict import Verdict

Emit = Callable[[str], None]
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the beginning of a formula."""

_STYLES = {"ai": "bold yellow", "real": "bold cyan", "uncertain": "bold", "error": "bold red"}
_LONGEST_NAME = 240  # bytes; file systems take 255


class Writer(Protocol):
    """Writes verdicts in one format."""

    def write(self, verdict: Verdict) -> None:
        """Write one verdict."""
        ...

    def finish(self, summary: str = "") -> None:
        """Write what comes after the last one; `summary` is about what was no image."""
        ...


class LineWriter:
    """A line for each verdict, as they come: a JSON object, or a path for other programs.

    Args:
        emit: Where the lines go.
        line_of: What to write of a verdict; None for nothing.
    """

    def __init__(self, emit: Emit, line_of: Callable[[Verdict], str | None]) -> None:
        self.emit, self.line_of = emit, line_of

    def write(self, verdict: Verdict) -> None:
        """Write one line."""
        if (line := self.line_of(verdict)) is not None:
            self.emit(line)

    def finish(self, summary: str = "") -> None:
        """Nothing comes after the last line."""


def json_line(verdict: Verdict) -> str:
    """Return a verdict as one line of JSON."""
    return json.dumps(verdict.to_dict(), ensure_ascii=False, allow_nan=False)


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
        plain = verdict.to_dict()
        values: dict[str, object] = {**plain, "error_message": verdict.error_message}
        values["examined"] = ";".join(f"{name}:{value:.6g}" for name, value in (plain["examined"] or {}).items())
        values["warnings"], values["reasons"] = ";".join(verdict.warnings), " ".join(verdict.reasons)
        values["reason_kinds"] = ";".join(verdict.reason_kinds)
        values["redeliveries"] = ";".join(f"{name}:{prob!r}" for name, prob in (verdict.redeliveries or {}).items())
        values["provenance"] = ";".join(signal.sentence for signal in verdict.provenance)
        if (path := plain["path"]) and path.startswith(FORMULA_SIGNS):
            values["path"] = "./" + path
        if not self._started:
            self._emit_row(list(values))
            self._started = True
        self._emit_row(list(values.values()))

    def finish(self, summary: str = "") -> None:
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
        stable: Whether re-deliveries were scored: a column says how many agree.
        width: Columns of the terminal; None where nothing is to be broken.
        only: The words of the rows that are shown; the others are counted. None for all.
    """

    def __init__(
        self,
        emit: Emit,
        decision: DecisionConfig,
        *,
        colour: bool,
        explain: bool = False,
        stable: bool = False,
        width: int | None = None,
        only: frozenset[str] | None = None,
    ) -> None:
        self.emit, self.decision, self.colour, self.explain = emit, decision, colour, explain
        self.stable, self.width, self.only = stable, width, only
        self.counts: Counter[str] = Counter()
        self._overruled = 0
        limits = (decision.real_below, decision.threshold)
        self._limits = [percent(limit, decimals=decimals_for(limits)) for limit in limits]
        self._started = False

    def write(self, verdict: Verdict) -> None:
        """Write one line, and the header before the first."""
        word = verdict.verdict or "error"
        self.counts[word] += 1
        agree, overruled = self._agreeing(verdict)
        self._overruled += overruled
        if self.only is not None and word not in self.only:
            return
        if not self._started:
            self._row(("verdict", "probability", "copies", "warnings", "file"))
            self._started = True
        path = visible(verdict.path or "")
        if verdict.prob_fake is None:
            self._row(("not read", "-", "-", "-", path), word)
            self._below(verdict.error_message or "")
            return
        decimals = decimals_for((verdict.prob_fake, self.decision.real_below, self.decision.threshold))
        probability = percent(verdict.prob_fake, decimals=decimals).replace("less than", "<").replace("more than", ">")
        warnings = ", ".join(verdict.warnings)
        self._row((WORDS[verdict.verdict or "uncertain"], probability, agree, warnings or "-", path), word)
        if self._narrow and warnings:
            self._below(f"warnings: {warnings}")
        conflict = (verdict.conflict,) if verdict.conflict else ()
        for sentence in verdict.reasons if self.explain else conflict:
            self._below(sentence)
        if not self.explain and (said := summarise(verdict.provenance)):
            self._below(said)

    def _agreeing(self, verdict: Verdict) -> tuple[str, bool]:
        """Return how many re-deliveries agree with the picture, and whether they changed its verdict."""
        if verdict.prob_fake is None or not verdict.redeliveries:
            return "-", False
        word = word_for(verdict.prob_fake, self.decision)
        same = sum(word_for(prob, self.decision) == word for prob in verdict.redeliveries.values())
        return f"{same} of {len(verdict.redeliveries)}", verdict.verdict != word

    def _row(self, cells: tuple[str, str, str, str, str], word: str | None = None) -> None:
        verdict, probability, agree, warnings, file = cells
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(width=12)
        table.add_column(width=11, justify="right")
        if self.stable:
            table.add_column(width=6)
        if not self._narrow:
            table.add_column(width=21, overflow="fold")
        table.add_column(overflow="fold")
        between = [Text(agree)] if self.stable else []
        between += [] if self._narrow else [Text(warnings)]
        style = _STYLES.get(word or "", "") if self.colour else ""
        table.add_row(Text(verdict, style=style), Text(probability), *between, Text(file))
        out = io.StringIO()
        kind: Literal["standard"] | None = "standard" if self.colour else None
        Console(
            file=out, width=self.width or 100_000, color_system=kind, force_terminal=self.colour, legacy_windows=False
        ).print(table)
        for line in out.getvalue().splitlines():
            self.emit(line.rstrip())

    def _below(self, sentence: str) -> None:
        text = visible(sentence).replace(" %", "\N{NO-BREAK SPACE}%")
        for line in textwrap.wrap(
            text, self._text_width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
        ):
            self.emit(line.replace("\N{NO-BREAK SPACE}%", " %"))

    @property
    def _narrow(self) -> bool:
        """Whether a column of warnings would leave too little room for the file: they then stand below it."""
        return (self.width or 200) < 76

    @property
    def _text_width(self) -> int:
        return max(40, min(self.width or 98, 98))

    def _say(self, sentence: str) -> None:
        text = sentence.replace(" %", "\N{NO-BREAK SPACE}%")
        for line in textwrap.wrap(text, self.width or 100_000, break_on_hyphens=False):
            self.emit(line.replace("\N{NO-BREAK SPACE}%", " %"))

    def finish(self, summary: str = "") -> None:
        """Write the counts, what was left out, what the thresholds were set for, and that a score proves nothing."""
        total, failed = self.counts.total(), self.counts["error"]
        photographs = f"{self.counts['real']} photograph{'s' if self.counts['real'] != 1 else ''}"
        parts = [f"{self.counts['ai']} AI-generated", f"{self.counts['uncertain']} uncertain", photographs]
        parts += [f"{failed} could not be read"] if failed else []
        self.emit("")
        self._say(f"{total} image{'s' if total != 1 else ''}: {', '.join(parts)}.")
        if summary:
            self._say(visible(summary))
        if self.stable:
            changed = f"{self._overruled} verdict{'s' if self._overruled != 1 else ''} became uncertain by that"
            made = in_words(ALL_REDELIVERIES)
            self._say(
                f"The column copies says how many altered copies got the picture's own verdict: {made}. {changed}."
            )
        low, high = self._limits
        below = (
            "below it a photograph" if low == high else f"below {low} a photograph, in between the model cannot tell"
        )
        self._say(
            f"The probability is that of being AI-generated: from {high} on an image is called AI-generated, {below}."
        )
        self._say(limits_in_words(self.decision))
        self._say("A score is a signal, not proof: judge nobody by it alone.")


def visible(text: str) -> str:
    r"""Return text with everything that a terminal would act on, or not show, as an escape.

    Example:
        >>> print(visible("a" + chr(10) + "b" + chr(0xdce9)))
        a\nb\xe9
    """
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


@contextmanager
def open_output(path: Path | None, emit_stdout: Emit, *, end: str = "\n") -> Iterator[Emit]:
    """Give a function that writes lines to a file, or to standard output if there is no path.

    The file appears when all is written. If the work ends early, what there is stays beside it as ``.partial``.

    Args:
        path: The file; None for standard output.
        emit_stdout: Writes a line to standard output.
        end: What comes after each line.
    """
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
        yield emit_stdout if end == "\n" else lambda line: print_raw(line + end)
        return
    target = Path(os.path.realpath(path))
    device = target.exists() and not target.is_file()
    partial = target if device else target.with_name(target.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:

            def emit(line: str) -> None:
                file.write(line + end)
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


def print_raw(text: str) -> None:
    """Write to standard output as it is."""
    sys.stdout.write(text)
    sys.stdout.flush()


class MirroredFolder:
    """Names for one file an image: the folders of the images below one root, and no name twice.

    An image below the working directory keeps its folders; of another one, those from the argument on that named it.

    Args:
        root: The folder to write below; made where needed.
        suffix: Put after each name.
        arguments: Folders and files as the user named them.
    """

    def __init__(self, root: Path, *, suffix: str = ".png", arguments: Sequence[str] = ()) -> None:
        self.root, self.suffix = root, suffix
        self._arguments = [os.path.abspath(argument) for argument in arguments]  # noqa: PTH100 - resolves no links
        self._used: set[str] = set()

    def path_for(self, image_path: str) -> Path:
        """Return a new file's path, its folder made."""
        whole = os.path.abspath(image_path)  # noqa: PTH100 - resolves no links, so that the names are those given
        parts = self._inside(whole).parts
        stem, end = (parts[-1], self.suffix) if self.suffix else os.path.splitext(parts[-1])  # noqa: PTH122
        while len(os.fsencode(stem)) > _LONGEST_NAME - len(os.fsencode(end)):
            stem = stem[:-1]
        for count in range(len(self._used) + 1):
            candidate = Path(*parts[:-1], f"{stem}-{count + 1}{end}" if count else f"{stem}{end}")
            if str(candidate) not in self._used:
                break
        self._used.add(str(candidate))
        target = self.root / candidate
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _inside(self, whole: str) -> Path:
        if whole.startswith(os.getcwd() + os.sep):  # noqa: PTH109
            return Path(os.path.relpath(whole))
        for argument in self._arguments:
            if whole.startswith(argument.rstrip(os.sep) + os.sep):
                return Path(os.path.relpath(whole, Path(argument).parent))
        return Path(Path(whole).name)
