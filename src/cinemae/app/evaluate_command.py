"""``cinemae evaluate``, ``report`` and ``compare``: any detector on any data set, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from cinemae.app.options import (
    DeviceOption,
    FollowLinksOption,
    LayoutOption,
    ModelOption,
    PrecisionOption,
    SplitOption,
    words,
)

if TYPE_CHECKING:
    from cinemae.evaluation.compare import Side
    from cinemae.evaluation.results import EvaluationResults
    from cinemae.sources.layouts import Layout

_SEPARATOR = "::"


def evaluate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Test images: a folder (GenImage, AIGCDetectBenchmark, ForenSynths, Chameleon, or real/ and "
            "fake/GENERATOR/), a CSV manifest, WebDataset tars or Parquet files.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for predictions and report.", show_default=False)],
    detector: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="cinemae, nll, lcas, format-probe, a method of docs/evaluation.md that is trained here (options "
            "after a comma, as in npr,epochs=3), detectzoo:NAME, a module:Class, or a .csv file of scores; may be "
            "given several times.",
            show_default="cinemae",
        ),
    ] = None,
    layout: LayoutOption = "auto",
    split: SplitOption = None,
    train: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Images to train the baselines on.", show_default=False),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Images to choose thresholds on.",
            show_default="a quarter of --train, or the detector's own threshold",
        ),
    ] = None,
    corruptions: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help='Conditions beside raw and aligned: "standard" for the whole grid, or such as '
            "jpeg=50,resize=0.5+jpeg=70.",
            show_default="none",
        ),
    ] = "",
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Trainings of each baseline.")] = 3,
    mask_seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Seeds of the masks of cinemae.")] = 3,
    seed: Annotated[int, typer.Option(help="Of what is random in corruptions.")] = 0,
    examples: Annotated[int, typer.Option(metavar="N", min=0, help="Example maps of each kind in the page.")] = 3,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Accept test images that are in the training set too.")
    ] = False,
    follow_links: FollowLinksOption = False,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
) -> None:
    """Evaluate detectors on labelled images: per generator, worst first, with intervals and a bias alarm.

    Every evaluation runs on the files as they are (raw) and on both classes sent through the same resize and codec
    (aligned). Ends with 1 if some images could not be read or a folder could not be listed.
    """
    from cinemae.app.progress import ProgressBar
    from cinemae.evaluation import evaluate as job
    from cinemae.evaluation.detectors import DEFAULT_DETECTORS, Setup
    from cinemae.sources.local_files import Listing

    plan = job.Plan(
        source=source,
        layout=cast("Layout", layout),  # read_dataset refuses any other by name
        split=split,
        detectors=tuple(detector or DEFAULT_DETECTORS),
        setup=Setup(
            model,
            device,
            precision,
            seeds=seeds,
            mask_seeds=mask_seeds,
            tell=lambda line: typer.echo(line, err=True),
        ),
        train=train,
        validation=validation,
        corruptions=words(corruptions),
        allow_overlap=allow_overlap,
        seed=seed,
        examples=examples,
        listing=Listing(follow_links),
    )
    with ProgressBar("evaluating", None, log_every=60) as bar:
        predictions, results = job.evaluate(plan, out, progress=bar.update)
    _tell(results, out)
    unlisted = predictions.about["found"]["unlisted_folders"]
    raise typer.Exit(1 if results.images.num_unread or unlisted else 0)


def report(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="A predictions.parquet.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to write to.", show_default="the predictions' own"),
    ] = None,
) -> None:
    """Rebuild every number of a report from stored predictions; no picture is opened."""
    from cinemae.evaluation.predictions import Predictions
    from cinemae.evaluation.report import write_report
    from cinemae.evaluation.tables import tabulate

    stored = Predictions.load(predictions)
    results = tabulate(stored)
    folder = out or predictions.parent
    write_report(results, folder, title=f"Evaluation of {', '.join(stored.detectors)}")
    _tell(results, folder)


def compare(
    first: Annotated[
        str,
        typer.Argument(metavar="A", help="A predictions file, or FILE::DETECTOR where it holds several."),
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one, of the same images.")],
    condition: Annotated[str, typer.Option(metavar="NAME", help="Under which condition.")] = "raw",
    seed: Annotated[int, typer.Option(help="Of the resampling.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two detectors on the same images: AUC difference, McNemar's test, and where they disagree most."""
    from msgspec.structs import replace

    from cinemae.evaluation import compare as job
    from cinemae.evaluation.tables import format_probe

    side = _side(first, condition)
    compared = job.compare(side, _side(second, condition), seed=seed)
    result = replace(compared, format_probe=format_probe(side.predictions.images))
    typer.echo(json.dumps(result.to_dict(), indent=1) if as_json else job.to_text(result))


def _side(text: str, condition: str) -> Side:
    from cinemae.evaluation.compare import pick
    from cinemae.evaluation.predictions import Predictions

    file, _, name = text.partition(_SEPARATOR)
    return pick(Predictions.load(file), name or None, condition)


def _tell(results: EvaluationResults, out: Path) -> None:
    from cinemae.evaluation.sections import summary_lines

    for line in summary_lines(results):
        typer.echo(line)
    typer.echo(f"report: {out / 'report.html'}")
