"""``cinemae detect``: paths in, verdicts out."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cinemae.app.options import BatchSizeOption, DeviceOption, ModelOption
from cinemae.errors import SourceError

if TYPE_CHECKING:
    from cinemae.app.output import Emit, Writer
    from cinemae.detector import Detector
    from cinemae.verdict import Verdict

STDIN = "-"


class Format(StrEnum):
    """How verdicts are written."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True)
class _Job:
    detector: Detector
    paths: Iterator[str]
    total: int | None
    batch_size: int | None
    fail_fast: bool
    heatmaps: Path | None
    stable: bool
    explain: bool


def detect(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Image files, folders (searched to the bottom), globs, or - for a list of paths on standard input, "
            "one a line.",
            show_default=False,
        ),
    ],
    model: ModelOption = None,
    format: Annotated[
        Format,
        typer.Option(
            metavar="table|jsonl|csv", help="A table for people; JSON lines, as they come, or CSV for programs."
        ),
    ] = Format.TABLE,
    output: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, metavar="FILE", help="Write there, not to standard output; complete or not at all."
        ),
    ] = None,
    heatmap: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            metavar="DIR",
            help="Write a PNG for each image that shows which parts are hard to predict from context.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="P", help='Probability from which an image is called "ai".', show_default="the model's own"
        ),
    ] = None,
    stable: Annotated[
        bool,
        typer.Option(
            "--stable",
            help="Score a few re-deliveries too (saved anew, smaller, mirrored, other masks); where one of them gets "
            "another verdict, the verdict is uncertain. Takes six times as long.",
        ),
    ] = False,
    explain: Annotated[
        bool | None,
        typer.Option(help="Write the reasons below each line of the table.", show_default="for a single image"),
    ] = None,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = "auto",
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first image that cannot be read.")
    ] = False,
) -> None:
    """Tell whether images are AI-generated.

    Each image gets a probability and one of three verdicts: ai, uncertain, real. A score is a signal, not proof.

    Ends with 0 if all images were scored, 1 if some could not be read, 2 if nothing could be done.
    """
    found, total = _find(paths)
    from cinemae.detector import Detector

    detector = Detector.from_pretrained(model, device=device, threshold=threshold)
    if heatmap is not None:
        import numpy as np

        from cinemae.heatmap import lcas_levels

        lcas_levels(np.zeros(1), detector.config.reference)  # a model without reference is refused before the work
    explain = total == 1 if explain is None else explain
    job = _Job(detector, found, total, batch_size, fail_fast, heatmap, stable, explain)
    scored, failed = _write_all(job, format, output)
    if failed and (format != Format.TABLE or output is not None):
        typer.echo(f"{failed} of {scored + failed} images could not be read: see error_message.", err=True)
    raise typer.Exit(1 if failed else 0)


def _write_all(job: _Job, format: Format, output: Path | None) -> tuple[int, int]:
    """Write every verdict; return how many images were scored and how many failed."""
    from cinemae.app.output import HeatmapFolder, open_output
    from cinemae.app.progress import ProgressBar

    maps = HeatmapFolder(job.heatmaps) if job.heatmaps else None
    counts = [0, 0]
    with ProgressBar("scoring", job.total) as bar, open_output(output, bar.write) as emit:
        colour = output is None and sys.stdout.isatty() and "NO_COLOR" not in os.environ
        writer = _make_writer(format, emit, job, colour=colour)
        bar.update(0)
        with closing(_verdicts(job)) as verdicts:
            for verdict in verdicts:
                if maps and verdict.status == "ok" and verdict.path:
                    verdict.save_heatmap(maps.path_for(verdict.path))
                writer.write(verdict)
                counts[verdict.status == "error"] += 1
                bar.update(sum(counts))
                if job.fail_fast and counts[1]:
                    break
        if not sum(counts):
            raise SourceError("the list on standard input names no image: give one path a line.")
        writer.finish()
    return counts[0], counts[1]


def _verdicts(job: _Job) -> Generator[Verdict, None, None]:
    from cinemae.detector import DEFAULT_BATCH_SIZE

    batch_size = job.batch_size or DEFAULT_BATCH_SIZE
    return job.detector.detect_batch(
        job.paths, batch_size=batch_size, keep_pixels=job.heatmaps is not None, stable=job.stable
    )


def _make_writer(format: Format, emit: Emit, job: _Job, *, colour: bool) -> Writer:
    from cinemae.app.output import CsvWriter, JsonlWriter, TableWriter

    if format is Format.TABLE:
        return TableWriter(emit, job.detector.decision, colour=colour, explain=job.explain)
    return JsonlWriter(emit) if format is Format.JSONL else CsvWriter(emit)


def _find(arguments: list[str]) -> tuple[Iterator[str], int | None]:
    """Return the images in order, and how many there are if that is known before the work.

    Raises:
        SourceError: If a path, folder or glob given as argument names no image.
    """
    from cinemae.data.datasets import find_images

    if STDIN not in arguments:
        paths = list(find_images(arguments))
        return iter(paths), len(paths)
    named = {argument: list(find_images([argument])) for argument in arguments if argument != STDIN}
    return (path for argument in arguments for path in named.get(argument) or _listed_on_stdin()), None


def _listed_on_stdin() -> Iterator[str]:
    """Yield the paths on standard input; what is not there comes as it is, to be a row that says so."""
    from cinemae.data.datasets import find_images

    for line in sys.stdin.buffer:
        text = os.fsdecode(line.rstrip(b"\r\n"))
        if not text:
            continue
        try:
            yield from find_images([text])
        except SourceError:
            yield text
