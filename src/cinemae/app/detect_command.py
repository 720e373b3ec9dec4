"""``cinemae detect``: paths in, verdicts out."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
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
from cinemae.app.triage import Copies, Order, in_order, read_only
from cinemae.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from cinemae.app.output import Emit, Writer
    from cinemae.config import DecisionConfig
    from cinemae.detect.detector import Detector
    from cinemae.detect.verdict import Verdict
    from cinemae.sources.local_files import Listing
    from cinemae.sources.records import ImageRecord

STDIN = "-"


class Format(StrEnum):
    """How verdicts are written."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"
    PATHS = "paths"


@dataclass(frozen=True)
class _Style:
    format: Format
    output: Path | None
    explain: bool
    stable: bool
    null: bool
    only: frozenset[str] | None
    order: Order


@dataclass(frozen=True)
class _Job:
    detector: Detector
    records: Iterator[ImageRecord]
    total: int | None
    batch_size: int | None
    max_failures: int | None
    heatmaps: Path | None
    copy_to: Path | None
    arguments: list[str]
    report: Path | None
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
            metavar="table|jsonl|csv|paths",
            help="A table for people; JSON lines, as they come, CSV, or the paths alone for programs.",
        ),
    ] = Format.TABLE,
    json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
    print0: Annotated[
        bool, typer.Option("--print0", "-0", help="Write the paths alone, a NUL after each, as xargs -0 reads them.")
    ] = False,
    from0: Annotated[
        bool,
        typer.Option("--from0", help="The list on standard input has a NUL after each path, as find -print0 writes."),
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="VERDICTS",
            help="Write only these verdicts: ai, uncertain, real, error, joined by commas. The others are counted.",
            show_default="all",
        ),
    ] = None,
    sort: Annotated[
        Order,
        typer.Option(
            metavar="given|score",
            help="score: the highest probability first, once all are scored; given: as they come.",
        ),
    ] = Order.GIVEN,
    copy_to: Annotated[
        Path | None,
        typer.Option(file_okay=False, metavar="DIR", help="Copy the files of the verdicts that are written there."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            dir_okay=False,
            metavar="FILE",
            help="Write there, not to standard output; complete or not at all.",
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
    report: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            metavar="FILE",
            help="Write an HTML page to keep, send or print: a contact sheet of many images, and a page an image.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="P", help="Probability from which an image is called AI-generated.", show_default="the model's own"
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

    Each image gets a probability and one of three verdicts: AI-generated, uncertain, photograph (for programs: ai,
    uncertain, real). A score is a signal, not proof.

    An argument that names nothing and a folder that cannot be listed are rows as well. Ends with 0 if all images were
    scored, 1 if some could not be read, 2 if nothing could be done.
    """
    choice = EngineChoice(engine, address, workers, device, 0 if fail_fast else max_failures)
    in_parts = engine is EngineName.RAY or results is not None
    if in_parts and (results is None or heatmap is not None or copy_to is not None or report is not None):
        raise ConfigError(
            "a run in parts keeps verdicts in a folder, and no pixels: give --results DIR with --engine ray, and leave "
            "--heatmap, --report and --copy-to to a run without either."
        )
    from cinemae.app.report.writer import require_html
    from cinemae.sources.local_files import Listing

    if report is not None:
        require_html(report)
    others = {Format.JSONL} if json else {Format.PATHS} if print0 else set(Format)
    if (json and print0) or format not in {Format.TABLE, *others}:
        raise ConfigError("--json, --print0 and --format name the format: give one of them.")
    listing = Listing(follow_links)
    found, total = _find(paths, listing, b"\0" if from0 else b"\n")
    chosen = Format.PATHS if print0 else Format.JSONL if json else format
    style = _Style(chosen, output, total == 1 if explain is None else explain, stable, print0, read_only(only), sort)
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
    job = _Job(
        detector, found, total, batch_size, choice.max_failures, heatmap, copy_to, paths, report, stable, listing
    )
    scored, failed = _write_all(job, style)
    raise typer.Exit(_exit_code(failed, scored + failed, style))


def _exit_code(failed: int, total: int, style: _Style) -> int:
    """Say how many failed where the table does not, and return what the command ends with."""
    if failed and (style.format != Format.TABLE or style.output is not None):
        where = "" if style.format is Format.PATHS else ": see error_message"
        typer.echo(f"{failed} of {total} images could not be read{where}.", err=True)
    return 1 if failed else 0


def _detect_in_parts(
    records: list[ImageRecord], listing: Listing, request: DetectRequest, choice: EngineChoice, style: _Style
) -> int:
    """Judge images into a results folder, then write all verdicts as a run without one does."""
    from cinemae.app.output import open_output

    if not records:
        raise SourceError("the list on standard input names no image: give one path a line.")
    job, report, unlisted = detect_in_parts(records, request, choice)
    with open_output(style.output, typer.echo, end="\0" if style.null else "\n") as emit:
        writer = _make_writer(style, emit, job.decision)
        for verdict in in_order(itertools.chain(job.verdicts(), unlisted), style.order):
            if style.format is Format.TABLE or _wanted(verdict, style):
                writer.write(verdict)
        _finish(writer, style, listing)
    return _exit_code(report.num_failed, report.num_rows, style)


def _write_all(job: _Job, style: _Style) -> tuple[int, int]:
    """Write every verdict; return how many images were scored and how many failed."""
    from cinemae.app.output import MirroredFolder, open_output
    from cinemae.app.progress import ProgressBar
    from cinemae.app.report.writer import open_report
    from cinemae.detect.detector import DEFAULT_BATCH_SIZE
    from cinemae.sources.sources import encoded_images

    verdicts = job.detector.detect_batch(
        encoded_images(job.records),
        batch_size=job.batch_size or DEFAULT_BATCH_SIZE,
        keep_pixels=job.heatmaps is not None or job.report is not None,
        stable=job.stable,
    )
    maps = MirroredFolder(job.heatmaps, arguments=job.arguments) if job.heatmaps else None
    copies = Copies(job.copy_to, job.arguments) if job.copy_to else None
    counts = [0, 0]
    drawn = 0
    end = "\0" if style.null else "\n"
    with (
        ProgressBar("scoring", job.total) as bar,
        open_output(style.output, bar.write, end=end) as emit,
        open_report(job.report, job.detector.decision, by_score=style.order is Order.SCORE) as report,
        closing(verdicts),
    ):
        writer = _make_writer(style, emit, job.detector.decision)
        bar.update(0)

        def counted() -> Iterator[Verdict]:
            nonlocal drawn
            for verdict in verdicts:
                counts[verdict.status == "error"] += 1
                bar.update(sum(counts))
                if maps and verdict.status == "ok" and verdict.path and _wanted(verdict, style):
                    verdict.save_heatmap(maps.path_for(verdict.path))
                    drawn += 1
                if report is not None and _wanted(verdict, style):
                    report.add(verdict)
                yield dataclasses.replace(verdict, _kept=None)
                if job.max_failures is not None and counts[1] > job.max_failures:
                    break

        for verdict in in_order(counted(), style.order):
            wanted = _wanted(verdict, style)
            if wanted or style.format is Format.TABLE:
                writer.write(verdict)
            if copies and wanted:
                copies.add(verdict)
        if not sum(counts):
            raise SourceError("the list on standard input names no image: give one path a line.")
        _finish(writer, style, job.listing)
    if maps:
        typer.echo(f"{drawn} heat map{'s' if drawn != 1 else ''} in {maps.root}.", err=True)
    if job.report is not None:
        typer.echo(f"The report is {job.report}.", err=True)
    if copies:
        typer.echo(copies.summary(), err=True)
    return counts[0], counts[1]


def _finish(writer: Writer, style: _Style, listing: Listing) -> None:
    """Write the summary; rows for programs have none, so what was left out is said on standard error."""
    summary = listing.summary()
    writer.finish(summary)
    if summary and (style.format != Format.TABLE or style.output is not None):
        typer.echo(summary, err=True)


def _wanted(verdict: Verdict, style: _Style) -> bool:
    return style.only is None or (verdict.verdict or "error") in style.only


def _make_writer(style: _Style, emit: Emit, decision: DecisionConfig) -> Writer:
    from cinemae.app.output import CsvWriter, LineWriter, TableWriter, json_line

    if style.format is Format.TABLE:
        terminal = style.output is None and sys.stdout.isatty()
        bounded = style.output is None and (terminal or os.environ.get("COLUMNS", "").isdecimal())
        return TableWriter(
            emit,
            decision,
            colour=terminal and "NO_COLOR" not in os.environ,
            explain=style.explain,
            stable=style.stable,
            width=max(60, shutil.get_terminal_size().columns) if bounded else None,
            only=style.only,
        )
    if style.format is Format.PATHS:
        return LineWriter(emit, lambda verdict: verdict.path)
    return LineWriter(emit, json_line) if style.format is Format.JSONL else CsvWriter(emit)


def _find(arguments: list[str], listing: Listing, end: bytes = b"\n") -> tuple[Iterator[ImageRecord], int | None]:
    """Return the images in order, and how many there are if that is known before the work.

    Raises:
        SourceError: If no source given as argument names an image.
    """
    from cinemae.sources.sources import find_records, listed_or_unlisted

    if STDIN not in arguments:
        records = list(find_records(arguments, listing))
        return iter(records), len(records)
    named = {one: list(listed_or_unlisted(one, listing)) for one in arguments if one != STDIN}
    return (record for one in arguments for record in named.get(one) or _listed_on_stdin(listing, end)), None


def _listed_on_stdin(listing: Listing, end: bytes) -> Iterator[ImageRecord]:
    """Yield the images on standard input; what is not there comes as it is, to be a row that says so."""
    from cinemae.sources.sources import listed_name

    for line in sys.stdin.buffer if end == b"\n" else _split_at(end):
        if text := os.fsdecode(line.rstrip(b"\r\n" if end == b"\n" else end)):
            yield from listed_name(text, listing)


def _split_at(end: bytes) -> Iterator[bytes]:
    """Yield what standard input holds, split, as it comes."""
    rest = b""
    while block := os.read(sys.stdin.fileno(), 65536):
        *whole, rest = (rest + block).split(end)
        yield from whole
    yield rest
