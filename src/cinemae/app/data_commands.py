"""``cinemae data check``, ``align`` and ``manifest``: what a data set is, before anything is measured on it."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from cinemae.app.options import FollowLinksOption, LayoutOption, SplitOption, resuming, tell_left_out
from cinemae.errors import ConfigError

if TYPE_CHECKING:
    from cinemae.doctor.align_dataset import AlignReport, Steps
    from cinemae.sources.layouts import Layout

data = typer.Typer(
    help="Look after a data set: check it, align its classes, list it with checksums.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_MOST_SHOWN = 5
_CLASS_NAMES = {0: "real", 1: "fake", None: "no label"}


class Preset(StrEnum):
    """Which steps both classes go through."""

    ALIGNED = "aligned"
    GROMMELT = "grommelt"


@data.command()
def check(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder (GenImage, AIGCDetectBenchmark, ForenSynths, Chameleon, or real/ and fake/GENERATOR/, below "
            "train/ and val/ if there are splits), a CSV manifest, WebDataset tars or Parquet files.",
            show_default=False,
        ),
    ],
    layout: LayoutOption = "auto",
    split: SplitOption = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Another data set that may share no image with this one, such as the training set; may be given "
            "several times.",
            show_default=False,
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv", help="Hold the files against this list of SHA-256.", show_default=False, dir_okay=False
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all of it as JSON.", show_default=False)
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with plots and pictures.", show_default=False),
    ] = None,
    follow_links: FollowLinksOption = False,
    seed: Annotated[int, typer.Option(help="Of the format probe.")] = 0,
) -> None:
    """Examine a data set: broken, double and leaked images, and formats that give the classes away.

    Every file is opened, decoded and hashed; nothing is changed. Ends with 0 if nothing serious was found, 1 if
    something was, 2 if nothing could be examined.
    """
    from cinemae.app.output import open_output, visible
    from cinemae.app.progress import ProgressBar
    from cinemae.doctor.check import CheckOptions, check_dataset
    from cinemae.doctor.text import to_text
    from cinemae.evaluation.doctor_page import write_doctor_page

    _require_folders(json_file, html_file)
    options = CheckOptions(
        layout=cast("Layout", layout),
        split=split,
        against=tuple(against or ()),
        manifest=None if manifest is None else str(manifest),
        seed=seed,
        follow_links=follow_links,
    )
    with ProgressBar("checking", None, log_every=60) as bar:
        report = check_dataset(source, options, progress=bar.update)
    for line in to_text(report).splitlines():
        typer.echo(visible(line))
    if json_file is not None:
        with open_output(json_file, typer.echo) as emit:
            emit(json.dumps(report.to_dict(), indent=1, allow_nan=False))
    if html_file is not None:
        write_doctor_page(report, html_file)
        typer.echo(f"page: {visible(str(html_file))}")
    raise typer.Exit(1 if report.count("serious") else 0)


@data.command()
def align(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="The data set; nothing is written into it.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="A new folder, or one that an earlier run began: it goes on.", show_default=False
        ),
    ],
    preset: Annotated[
        Preset,
        typer.Option(
            metavar="aligned|grommelt",
            help="aligned: every picture to one square and one JPEG. grommelt: only pictures within a window of sizes "
            "that one JPEG of the same quality explains, none scaled (arXiv 2403.17608).",
        ),
    ] = Preset.ALIGNED,
    size: Annotated[
        int | None, typer.Option(metavar="N", help="aligned: side of the square in pixels.", show_default="256")
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            metavar="MIN-MAX",
            help="grommelt: sides allowed, in pixels; MIN is what is cut out.",
            show_default="450-550",
        ),
    ] = None,
    quality: Annotated[int | None, typer.Option(metavar="Q", help="Of the JPEG.", show_default="96")] = None,
    layout: LayoutOption = "auto",
    split: SplitOption = None,
    follow_links: FollowLinksOption = False,
) -> None:
    """Write a data set anew with both classes through the same steps, in the folders they had.

    OUT/alignment.csv says of every image what was done or why it was left out; OUT/manifest.csv lists what there is
    now. Ends with 0 if all images could be read, 1 if some could not or a class came out empty.
    """
    from cinemae.app.progress import ProgressBar
    from cinemae.doctor.align_dataset import align_dataset
    from cinemae.sources.layouts import read_dataset
    from cinemae.sources.local_files import Listing

    steps = _steps(preset, size, window, quality)
    listing = Listing(follow_links)
    dataset = read_dataset(source, cast("Layout", layout), split, listing=listing)
    with resuming(), ProgressBar("aligning", len(dataset.records), log_every=60) as bar:
        report = align_dataset(source, dataset, out, steps, progress=bar.update)
    _tell_alignment(report, out)
    tell_left_out(listing)
    counts = report.counts()
    empty = any(counts[label] and not counts[label]["aligned"] for label in (0, 1))
    unreadable = sum(count["unreadable"] for count in counts.values())
    raise typer.Exit(1 if empty or unreadable else 0)


@data.command()
def manifest(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder, a glob or a CSV manifest.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE.csv", help="Where to write it; paths are relative to it.", show_default=False)
    ],
    layout: LayoutOption = "auto",
    split: SplitOption = None,
    follow_links: FollowLinksOption = False,
) -> None:
    """List a data set as CSV with the SHA-256 of each file, to pass on, to evaluate and to check against.

    Columns: path, label, generator, split, sha256, bytes, width, height, format. Ends with 0 if all files are listed,
    1 if some could not be (each is named on standard error).
    """
    from cinemae.app.output import visible
    from cinemae.app.progress import ProgressBar
    from cinemae.sources.layouts import read_dataset
    from cinemae.sources.local_files import Listing
    from cinemae.sources.manifest import write_manifest

    _require_folders(out)
    listing = Listing(follow_links)
    dataset = read_dataset(source, cast("Layout", layout), split, listing=listing)
    with ProgressBar("hashing", len(dataset.records), log_every=60) as bar:
        report = write_manifest(dataset.records, dataset.splits, out, progress=bar.update)
    for path, reason in report.left_out:
        typer.echo(visible(f"left out: {path}: {reason}"), err=True)
    typer.echo(visible(f"{out}: {report.num_rows:,} files, {len(report.left_out)} left out"))
    tell_left_out(listing)
    raise typer.Exit(1 if report.left_out else 0)


def _require_folders(*files: Path | None) -> None:
    """Refuse at once what could not be written at the end."""
    for file in files:
        if file is not None and (not file.parent.is_dir() or file.is_dir()):
            raise ConfigError(f"a result goes to a file in a folder that is there, got {file}: make the folder first.")


def _steps(preset: Preset, size: int | None, window: str | None, quality: int | None) -> Steps:
    """Turn the options into the settings of one preset."""
    from cinemae.pictures.alignment import AlignConfig, WindowConfig

    chosen = {} if quality is None else {"jpeg_quality": quality}
    if preset is Preset.ALIGNED:
        if window is not None:
            raise ConfigError(
                "preset aligned takes pictures of any size, got --window: give --size, or --preset grommelt."
            )
        return AlignConfig(**chosen, **({} if size is None else {"size": size}))
    if size is not None:
        raise ConfigError("preset grommelt scales nothing, got --size: give --window MIN-MAX, or --preset aligned.")
    if window is not None:
        ends = re.fullmatch(r"(\d{1,5})-(\d{1,5})", window)
        if ends is None:
            raise ConfigError(f"a window is two sides in pixels such as 450-550, got {window!r}: correct it.")
        chosen |= {"min_side": int(ends[1]), "max_side": int(ends[2])}
    return WindowConfig(**chosen)


def _tell_alignment(report: AlignReport, out: Path) -> None:
    from cinemae.app.output import visible
    from cinemae.doctor.align_dataset import MANIFEST_FILE, REPORT_FILE
    from cinemae.sources.text_table import table_of

    typer.echo(report.description)
    counts = report.counts()
    rows = [
        (name, *(f"{number:,}" for number in (counts[label].total(), *(counts[label][word] for word in _STATUSES))))
        for label, name in _CLASS_NAMES.items()
        if counts[label]
    ]
    typer.echo(table_of(("class", "images", "aligned", "left out", "unreadable"), rows))
    for reason, (real, fake) in list(report.reasons().items())[:_MOST_SHOWN]:
        typer.echo(visible(f"left out: {reason}: {real:,} real, {fake:,} fake"))
    if len(report.reasons()) > _MOST_SHOWN:
        typer.echo(f"left out for {len(report.reasons()) - _MOST_SHOWN} other reasons: see {REPORT_FILE}")
    if report.emptied_generators():
        typer.echo(visible(f"no image is left of: {', '.join(report.emptied_generators())}"))
    for label, name in _CLASS_NAMES.items():
        if label is not None and counts[label] and not counts[label]["aligned"]:
            typer.echo(f"WARNING: no {name} image came through: the steps do not suit this set.")
    typer.echo(visible(f"what was done: {out / REPORT_FILE}; list: {out / MANIFEST_FILE}"))
    typer.echo(visible(f"check it: cinemae data check {out}"))


_STATUSES = ("aligned", "left_out", "unreadable")
