"""``cinemae fit``: one's own photographs and generated images in, a model and an honest word on it out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cinemae.app.options import DeviceOption, FollowLinksOption, ModelOption, PresetOption, resuming, tell_left_out
from cinemae.fit.config import MIN_IMAGES, WHOLE_GROUPS_FROM, FitRecipe

if TYPE_CHECKING:
    from cinemae.app.progress import ProgressBar
    from cinemae.fit.config import SplitBy
    from cinemae.fit.fit import Progress
    from cinemae.fit.report import FitReport
    from cinemae.models.results import FitWarning, HalfFigures
    from cinemae.statistics.estimate import Estimate

_DEFAULT = FitRecipe(real=("x",), fake=("x",))
_SHOWN = 3


def _sources(text: str) -> Any:  # noqa: ANN401 - typer's own type
    return typer.Option(metavar="SOURCE", help=text, show_default=False)


def fit(
    real: Annotated[
        list[str],
        _sources(
            f"Photographs, {MIN_IMAGES} or more: a folder (its sub-folders are sources), a glob, a manifest; may be "
            "given several times."
        ),
    ],
    fake: Annotated[list[str], _sources("Generated images, likewise: sub-folders are generators.")],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="Model directory to write.", show_default=False)],
    val_real: Annotated[
        list[str] | None, _sources("Photographs to measure on, in place of some that are held out.")
    ] = None,
    val_fake: Annotated[list[str] | None, _sources("Generated images to measure on, likewise.")] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keeps features, so that another run looks at new images only.",
            show_default="MODEL.work",
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            metavar="auto|groups|images",
            help="What is held out to measure on: whole sources and generators, images of each, or whole ones where "
            f"there are {WHOLE_GROUPS_FROM} of them.",
        ),
    ] = _DEFAULT.split_by,
    target_fpr: Annotated[
        float, typer.Option(metavar="X", help='Share of held-out photographs that may be called "ai".')
    ] = _DEFAULT.target_fpr,
    name: Annotated[str | None, typer.Option(help="Of the model.", show_default="its folder's")] = None,
    seed: Annotated[int, typer.Option(help="Of split and training.")] = _DEFAULT.seed,
    model: ModelOption = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|FILE|HUB_ID", help="A bare backbone to begin with, in place of a model.", show_default=False
        ),
    ] = None,
    preset: PresetOption = None,
    follow_links: FollowLinksOption = False,
    device: DeviceOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fit a model to one's own images: extract, split, train, calibrate, and say what the result is worth.

    Begins with the backbone and settings of the bundled model. A thousand images take minutes. With --preset paper it
    begins with the backbone alone, and trains on no altered copies.

    Ends with 0, with 1 if some images could not be read, with 2 if nothing could be fitted.
    """
    from cinemae.fit.fit import fit as job
    from cinemae.models.scorers import find_device
    from cinemae.sources.local_files import Listing

    recipe = FitRecipe(
        real=tuple(real),
        fake=tuple(fake),
        val_real=tuple(val_real or ()),
        val_fake=tuple(val_fake or ()),
        model=model,
        backbone=backbone,
        paper=preset is not None,
        work=work,
        name=name,
        split_by=cast("SplitBy", split),  # FitRecipe refuses any other by name
        target_fpr=target_fpr,
        seed=seed,
        device=str(find_device(device)),
    )
    listing = Listing(follow_links)
    with resuming(), _stages() as progress:
        report = job(recipe, out, progress=progress, warn=_warn, listing=listing)
    typer.echo(json.dumps(report.to_dict(), indent=1) if as_json else summarise(report, out, recipe.work_folder(out)))
    tell_left_out(listing, err=as_json)
    raise typer.Exit(1 if report.unread else 0)


def summarise(report: FitReport, out: Path, work: Path) -> str:
    """Return what a person reads at the end: what was done, how good it is, what to know, what to do next."""
    from cinemae.app.output import visible

    results, worst = report.training.results, report.training.results.per_generator
    lines = [
        f"{out}: {report.model_id}",
        *(f"  {split.sentence()}" for split in report.splits),
        f"  features: {report.num_extracted} images looked at, {report.num_reused} known from before; kept in {work}",
        "",
        "on the held-out images (AUC: 1 is perfect, 0.5 is chance; 95 % intervals):",
        f"  AUC {results.auc:.3f}",
        *_at_half(results.at_half),
        *(f"  worst generator {one.generator}: AUC {one.auc:.3f}" for one in worst[:1] if len(worst) > 1),
        *_verdicts(report),
        *_comparison(report),
        "  These figures say nothing of generators and cameras that are not in your folders.",
        *(
            line
            for warning in report.warnings
            for line in ("", f"{'WARNING' if warning.serious else 'warning'}: {warning.sentence}")
        ),
        *(f"  {path}: {reason}" for path, reason in report.unread[:_SHOWN]),
        "",
        f"every figure: {out / 'README.md'}",
        _next(report, out),
    ]
    return "\n".join(visible(line) for line in lines)


def _at_half(found: HalfFigures | None) -> list[str]:
    """Say what the middle gives, beside the thresholds that were chosen."""
    if found is None:
        return []
    return [f"  balanced accuracy at 0.5 of the probability before calibration: {found.balanced_accuracy:.3f}"]


def _next(report: FitReport, out: Path) -> str:
    """Advise the better model."""
    own = f"cinemae detect photo.jpg --model {out}"
    return {
        "better": f"next: {own}",
        "worse": f"advice: keep the bundled model, it is better on your images; to try yours: {own}",
        "undecided": f"advice: keep the bundled model until more images show which is better; to try yours: {own}",
    }[report.comparison.verdict]


def _verdicts(report: FitReport) -> list[str]:
    """Say how many images get which verdict; a model that learnt nothing was never calibrated."""
    decision, calibration = report.training.decision, report.training.results.calibration
    if calibration is None:
        return ["  every image is uncertain"]
    rates = calibration.rates
    return [
        f"  AI-generated from {decision.threshold:.3f}, photograph below {decision.real_below:.3f}; each image by "
        "thresholds chosen without it:",
        f"    {_hits(rates.photographs_called_ai, 'photographs')} are called AI-generated",
        f"    {_hits(rates.fakes_called_ai, 'generated images')} are called AI-generated",
        f"    {_hits(rates.uncertain, 'images')} are uncertain",
    ]


def _comparison(report: FitReport) -> list[str]:
    apart, probe = report.comparison, report.format_probe
    verdict = {
        "better": "yours is better here",
        "worse": "yours is worse here: use the bundled one",
        "undecided": "which is better cannot be told",
    }[apart.verdict]
    of_format = "" if probe is None else f"; on all images {100 * probe.value:.0f} % right, where 50 % is chance"
    return [
        f"  the bundled model: AUC {apart.auc_bundled:.3f}; yours less that {apart.difference:+.3f}: {verdict}",
        f"  container, size and JPEG quality alone: AUC {report.format_auc:.3f}{of_format}",
    ]


def _hits(estimate: Estimate, what: str) -> str:
    return f"{round(estimate.value * estimate.n)} of {estimate.n} {what} ({estimate:.1%})"


def _warn(warning: FitWarning) -> None:
    from cinemae.app.output import visible

    typer.echo(f"warning: {visible(warning.sentence)}", err=True)


@contextmanager
def _stages() -> Iterator[Progress]:
    """Give what tells of progress: a bar for each stage, one after the other."""
    from cinemae.app.progress import ProgressBar

    bars: dict[str, ProgressBar] = {}
    with ExitStack() as stack:

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                stack.close()  # ends the bar before
                unit = "epochs" if stage == "training" else "images"
                bars[stage] = stack.enter_context(ProgressBar(stage, total, unit=unit, log_every=60))
            bars[stage].update(done, total=total)

        yield tell
