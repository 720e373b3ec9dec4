"""``cinemae detect``: paths in, verdicts out."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cinemae.app.bulk_run import DetectRequest, EngineChoice, detect_in_parts
from cinemae.app.options import (
    AddressOption,
    BatchSizeOption,
    CacheOption,
    DeviceOption,
    EngineName,
    EngineOption,
    FollowLinksOption,
    MaxFailuresOption,
    ModelOption,
    PrecisionOption,
    WorkersOption,
)
from cinemae.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from cinemae.app.output import Emit, Writer
    from cinemae.config import DecisionConfig
    from cinemae.detect.detector import Detector
    from cinemae.sources.local_files import Listing
    from cinemae.sources.records import ImageRecord

STDIN = "-"


class Format(StrEnum):
    """How verdicts are written."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True)
class _Style:
    format: Format
    output: Path | None
    explain: bool


@dataclass(frozen=True)
class _Job:
    detector: Detector
    records: Iterator[ImageRecord]
    total: int | None
    batch_size: int | None
    max_failures: int | None
    heatmaps: Path | None
    stable: bool
    listing: Listing


def detect(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Image files, folders (searched to the bottom), globs, WebDataset tars, Parquet files, s3://, gs://, "
            "hf:// and http(s):// addresses of these, .txt lists of any, or - for a list on standard input.",
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
    precision: PrecisionOption = "auto",
    cache: CacheOption = None,
    follow_links: FollowLinksOption = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first image that cannot be read.")
    ] = False,
    max_failures: MaxFailuresOption = None,
    results: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|URI",
            help="Keep the verdicts there in Parquet, a file a finished part: an interrupted run is gone on with.",
            show_default=False,
        ),
    ] = None,
    engine: EngineOption = EngineName.LOCAL,
    address: AddressOption = None,
    workers: WorkersOption = None,
) -> None:
    """Tell whether images are AI-generated.

    Each image gets a probability and one of three verdicts: ai, uncertain, real. A score is a signal, not proof.

    An argument that names nothing and a folder that cannot be listed are rows as well. Ends with 0 if all images were
    scored, 1 if some could not be read, 2 if nothing could be done.
    """
    choice = EngineChoice(engine, address, workers, device, 0 if fail_fast else max_failures)
    in_parts = engine is EngineName.RAY or results is not None
    if in_parts and (results is None or heatmap is not None):
        raise ConfigError(
            "a run in parts keeps verdicts in a folder, and no pixels: give --results DIR with --engine ray, and leave "
            "--heatmap to a run without either."
        )
    from cinemae.sources.local_files import Listing

    listing = Listing(follow_links)
    found, total = _find(paths, listing)
    style = _Style(format, output, total == 1 if explain is None else explain)
    from cinemae.app.cache_command import cache_path, open_cache

    if results is not None:
        from cinemae.detect.detect_job import DetectorSource

        kept = None if cache is None else cache_path(cache)
        source = DetectorSource(model, device, precision, threshold, kept)
        request = DetectRequest(source, results, stable, batch_size)
        raise typer.Exit(_detect_in_parts(list(found), listing, request, choice, style))
    from cinemae.detect.detector import THREADS_PER_IMAGE, Detector

    threads = None if total == 1 else THREADS_PER_IMAGE
    detector = Detector.from_pretrained(
        model, device=device, precision=precision, threshold=threshold, num_threads=threads
    )
    detector.cache = open_cache(cache, model, detector.scorer)
    if heatmap is not None:
        import numpy as np

        from cinemae.detect.heatmap import lcas_levels

        lcas_levels(np.zeros(1), detector.config.reference)  # a model without reference is refused before the work
    job = _Job(detector, found, total, batch_size, choice.max_failures, heatmap, stable, listing)
    scored, failed = _write_all(job, style)
    raise typer.Exit(_exit_code(failed, scored + failed, style))


def _exit_code(failed: int, total: int, style: _Style) -> int:
    """Say how many failed where the table does not, and return what the command ends with."""
    if failed and (style.format != Format.TABLE or style.output is not None):
        typer.echo(f"{failed} of {total} images could not be read: see error_message.", err=True)
    return 1 if failed else 0


def _detect_in_parts(
    records: list[ImageRecord], listing: Listing, request: DetectRequest, choice: EngineChoice, style: _Style
) -> int:
    """Judge images into a results folder, then write all verdicts as a run without one does."""
    from cinemae.app.output import open_output

    if not records:
        raise SourceError("the list on standard input names no image: give one path a line.")
    job, report, unlisted = detect_in_parts(records, request, choice)
    with open_output(style.output, typer.echo) as emit:
        writer = _make_writer(style, emit, job.decision)
        for verdict in itertools.chain(job.verdicts(), unlisted):
            writer.write(verdict)
        _finish(writer, style, listing)
    return _exit_code(report.num_failed, report.num_rows, style)


def _write_all(job: _Job, style: _Style) -> tuple[int, int]:
    """Write every verdict; return how many images were scored and how many failed."""
    from cinemae.app.output import HeatmapFolder, open_output
    from cinemae.app.progress import ProgressBar
    from cinemae.detect.detector import DEFAULT_BATCH_SIZE
    from cinemae.sources.sources import encoded_images

    verdicts = job.detector.detect_batch(
        encoded_images(job.records),
        batch_size=job.batch_size or DEFAULT_BATCH_SIZE,
        keep_pixels=job.heatmaps is not None,
        stable=job.stable,
    )
    maps = HeatmapFolder(job.heatmaps) if job.heatmaps else None
    counts = [0, 0]
    with ProgressBar("scoring", job.total) as bar, open_output(style.output, bar.write) as emit, closing(verdicts):
        writer = _make_writer(style, emit, job.detector.decision)
        bar.update(0)
        for verdict in verdicts:
            if maps and verdict.status == "ok" and verdict.path:
                verdict.save_heatmap(maps.path_for(verdict.path))
            writer.write(verdict)
            counts[verdict.status == "error"] += 1
            bar.update(sum(counts))
            if job.max_failures is not None and counts[1] > job.max_failures:
                break
        if not sum(counts):
            raise SourceError("the list on standard input names no image: give one path a line.")
        _finish(writer, style, job.listing)
    return counts[0], counts[1]


def _finish(writer: Writer, style: _Style, listing: Listing) -> None:
    """Write the summary; rows for programs have none, so what was left out is said on standard error."""
    summary = listing.summary()
    writer.finish(summary)
    if summary and (style.format != Format.TABLE or style.output is not None):
        typer.echo(summary, err=True)


def _make_writer(style: _Style, emit: Emit, decision: DecisionConfig) -> Writer:
    from cinemae.app.output import CsvWriter, JsonlWriter, TableWriter

    if style.format is Format.TABLE:
        colour = style.output is None and sys.stdout.isatty() and "NO_COLOR" not in os.environ
        return TableWriter(emit, decision, colour=colour, explain=style.explain)
    return JsonlWriter(emit) if style.format is Format.JSONL else CsvWriter(emit)


def _find(arguments: list[str], listing: Listing) -> tuple[Iterator[ImageRecord], int | None]:
    """Return the images in order, and how many there are if that is known before the work.

    Raises:
        SourceError: If no source given as argument names an image.
    """
    from cinemae.sources.sources import find_records, listed_or_unlisted

    if STDIN not in arguments:
        records = list(find_records(arguments, listing))
        return iter(records), len(records)
    named = {one: list(listed_or_unlisted(one, listing)) for one in arguments if one != STDIN}
    return (record for one in arguments for record in named.get(one) or _listed_on_stdin(listing)), None


def _listed_on_stdin(listing: Listing) -> Iterator[ImageRecord]:
    """Yield the images on standard input; what is not there comes as it is, to be a row that says so."""
    from cinemae.sources.sources import listed_name

    for line in sys.stdin.buffer:
        if text := os.fsdecode(line.rstrip(b"\r\n")):
            yield from listed_name(text, listing)
