"""``cinemae calibrate``: labelled images in, a model whose probabilities and thresholds fit them out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cinemae.app.options import DeviceOption, FollowLinksOption, tell_left_out
from cinemae.config import TrainConfig
from cinemae.errors import ConfigError

if TYPE_CHECKING:
    from cinemae.calibration.calibrate import CalibratedModel, CalibrationRecipe
    from cinemae.statistics.figures import HeldOutRates

_TRAIN = TrainConfig()


def calibrate(
    real: Annotated[
        list[str],
        typer.Option(
            metavar="SOURCE",
            help="Photographs: a folder, a glob, a CSV manifest, a tar or a Parquet file; may be given several times.",
            show_default=False,
        ),
    ],
    fake: Annotated[
        list[str],
        typer.Option(
            metavar="SOURCE",
            help="Generated images, likewise, best by the generators that are expected; may be given several times.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Model directory or Hub id.", show_default="the bundled model")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Model directory to write.", show_default="MODEL itself is changed"),
    ] = None,
    target_fpr: Annotated[
        float, typer.Option(help='Share of photographs that may be called "ai".')
    ] = _TRAIN.target_fpr,
    target_fnr: Annotated[
        float, typer.Option(help='Share of generated images that may be called "real".')
    ] = _TRAIN.target_fnr,
    trained_on: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="STORE",
            help="A feature store that the model was trained on: its images are refused here, and what is unlike "
            "anything seen is learnt from it anew; may be given several times.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the folds that figures are measured on.")] = _TRAIN.seed,
    follow_links: FollowLinksOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Fit a model's probabilities and thresholds to one's own images; what it looks at stays as it is.

    Give images like those that verdicts will be asked for, none of which the model was trained on. Of Platt scaling and
    isotonic regression the better on held-out images is taken. Ends with 1 if images were left out because they could
    not be read.
    """
    import cinemae.calibration.calibrate as job  # what is missing is found out here, at once
    from cinemae.models.directory import resolve_model
    from cinemae.models.scorers import find_device
    from cinemae.sources.local_files import Listing

    directory = resolve_model(model)
    if out is None and (model is None or not Path(model).is_dir()):
        raise ConfigError("the bundled model and those of the Hub are not changed in place: name a new one with --out.")
    recipe = job.CalibrationRecipe(
        model=directory,
        real=real,
        fake=fake,
        trained_on=trained_on or (),
        targets=TrainConfig.from_dict({"target_fpr": target_fpr, "target_fnr": target_fnr, "seed": seed}),
        device=str(find_device(device)),
        listing=Listing(follow_links),
    )
    found = _run(recipe)
    target = job.save_calibrated(found, out)
    typer.echo("\n".join(_summary(found, target)))
    tell_left_out(recipe.listing)
    if found.images.unreadable:
        typer.echo(f"{len(found.images.unreadable)} images could not be read: {target / job.UNREADABLE}")
        raise typer.Exit(1)


def _run(recipe: CalibrationRecipe) -> CalibratedModel:
    from cinemae.app.progress import ProgressBar
    from cinemae.calibration.calibrate import calibrate_model

    with ProgressBar("scoring", None, log_every=60) as bar:
        return calibrate_model(recipe, progress=bar.update)


def _summary(found: CalibratedModel, target: Path) -> list[str]:
    """Return what the command ends with: what was chosen, what it is worth on held-out images, and what to mind."""
    figures, decision = found.report.to_figures(), found.config.decision
    before, after = (figures.held_out[name].calibration_error for name in ("none", "chosen"))
    kind = {"platt": "Platt scaling", "isotonic": "isotonic regression"}[decision.calibration]
    copies = found.images.num_duplicates
    return [
        f"{target}: calibrated on {figures.n_real} photographs and {figures.n_fake} generated images"
        + (f", {copies} copies of the same left out" if copies else ""),
        f"  probability: {kind}; calibration error {before.value:.3f} before, {after:.3f} after",
        f'  "ai" from {decision.threshold:.3f}, "real" below {decision.real_below:.3f}: {decision.rule}',
        "  held out, each image judged by a rule chosen without it:",
        *_rates(figures.rates),
        *(f"  mind: {sentence}" for sentence in found.report.warnings),
        f"every figure: {target / 'README.md'}",
    ]


def _rates(rates: HeldOutRates) -> list[str]:
    return [
        f"    photographs:      {rates.photographs_called_ai:.1%} called ai, "
        f"{rates.photographs_called_real:.1%} called real",
        f"    generated images: {rates.fakes_called_ai:.1%} called ai, {rates.fakes_called_real:.1%} called real",
        f"    all:              {rates.uncertain:.1%} uncertain",
    ]
