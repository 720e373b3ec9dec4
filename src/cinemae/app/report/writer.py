"""A report of any number of images, written as the verdicts come: memory holds the contact sheet alone."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cinemae.app.report.document import ReportContext, article, frame, sheet_entry
from cinemae.app.report.drawings import Drawings
from cinemae.config import DecisionConfig
from cinemae.detect.verdict import Verdict
from cinemae.errors import ConfigError
from cinemae.sources.whole_files import replacing


class ReportWriter:
    """Puts articles aside as they come: the sheet that stands before them is known at the end.

    Args:
        context: What holds for all images.
        aside: A file to put the articles in.
        by_score: Put the highest probability first, and what has none last; else the order in which they came.
    """

    def __init__(self, context: ReportContext, aside: IO[bytes], *, by_score: bool = False) -> None:
        self.context, self.by_score = context, by_score
        self._aside = aside
        self._sheet: list[str] = []
        self._verdicts: list[Verdict] = []
        self._ends = [0]

    def add(self, verdict: Verdict) -> None:
        """Take one image, with its pixels kept."""
        number, drawings = len(self._sheet) + 1, Drawings.of(verdict)
        self._ends.append(
            self._ends[-1] + self._aside.write(article(number, verdict, drawings, self.context).encode("utf-8"))
        )
        self._sheet.append(sheet_entry(number, verdict, drawings))
        self._verdicts.append(verdict.without_pixels())

    def finish(self, target: IO[bytes]) -> None:
        """Write the page."""
        places = list(range(len(self._sheet)))
        if self.by_score:
            score = [verdict.prob_fake for verdict in self._verdicts]
            places.sort(key=lambda place: math.inf if score[place] is None else -(score[place] or 0.0))
        start, end = frame([self._sheet[place] for place in places], [self._verdicts[place] for place in places])
        target.write(start.encode("utf-8"))
        for place in places:
            self._aside.seek(self._ends[place])
            target.write(self._aside.read(self._ends[place + 1] - self._ends[place]))
        target.write(end.encode("utf-8"))


@contextmanager
def open_report(
    path: Path | None, decision: DecisionConfig, *, by_score: bool = False
) -> Iterator[ReportWriter | None]:
    """Give a writer; the file appears when all is done, and not at all if the work ends early.

    Args:
        path: The file; None for no report.
        decision: The limits of the verdicts.
        by_score: As for `ReportWriter`.
    """
    if path is None:
        yield None
        return
    target = Path(os.path.realpath(path))
    with tempfile.TemporaryFile(dir=target.parent) as aside:
        writer = ReportWriter(ReportContext.now(decision), aside, by_score=by_score)
        yield writer
        with replacing(target) as temporary, temporary.open("wb") as file:
            writer.finish(file)


def require_html(report: Path) -> None:
    """Refuse a name that is not an HTML page's.

    Raises:
        ConfigError: If it is not.
    """
    if report.suffix.lower() not in (".html", ".htm"):
        pdf = ", open it in a browser and print it to PDF" if report.suffix.lower() == ".pdf" else ""
        raise ConfigError(f"a report is written as an HTML page, got {str(report)!r}: end the name in .html{pdf}.")
