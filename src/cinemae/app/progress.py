"""How far long work has come: a bar where a person is looking, now and then a line where a log is kept."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress


class ProgressBar:
    """A bar with rate and remaining time on standard error, shown only once the work turns out to be long.

    Args:
        verb: What is being done.
        total: How much there is to do; None if unknown.
        unit: What the rate counts.
        delay: Seconds before the bar appears.
        log_every: Seconds between lines where standard error is no terminal; None for no lines.
    """

    def __init__(
        self,
        verb: str,
        total: float | None,
        *,
        unit: str = "images",
        delay: float = 1.0,
        log_every: float | None = None,
    ) -> None:
        self.verb, self.total, self.unit, self.delay, self.log_every = verb, total, unit, delay, log_every
        self._began = self._logged = time.monotonic()
        self._first: float | None = None
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: float, total: float | None = None, *, note: str | None = None) -> None:
        """Say how much is done.

        Args:
            done: So far; what the first call names was done before and does not count for the rate.
            total: If it has become known.
            note: Shown in place of the rate.
        """
        self.total = total if total is not None else self.total
        now = time.monotonic()
        if self._first is None:
            self._first, self._began = done, now
        rate = (done - self._first) / (now - self._began) if now > self._began else 0.0
        text = note or f"{rate:.1f} {self.unit}/s"
        if sys.stderr.isatty():
            self._draw(done, text, now)
        elif self.log_every is not None and now - self._logged >= self.log_every:
            self._logged = now
            share = f"{done:,.0f} of {self.total:,.0f} {self.unit}" if self.unit and self.total else f"{done:.0%}"
            sys.stderr.write(f"{self.verb}: {share}, {text}\n")
            sys.stderr.flush()

    def write(self, line: str) -> None:
        """Write a line to standard output without tearing the bar."""
        if self._bar is not None and sys.stdout.isatty():
            from rich.text import Text

            self._bar.console.print(Text.from_ansi(line), soft_wrap=True)
            return
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def _draw(self, done: float, text: str, now: float) -> None:
        if self._bar is None:
            if now - self._began < self.delay:
                return
            self._bar = _make_bar(counted=bool(self.unit))
            self._bar.add_task(self.verb, total=self.total, text=text)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done, total=self.total, text=text)


def _make_bar(*, counted: bool) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn() if counted else TaskProgressColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
