"""``cinemae fast``: a model's fast tier, with its price."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cinemae.app.options import DeviceOption
from cinemae.config import TrainConfig

if TYPE_CHECKING:
    from cinemae.statistics.estimate import Estimate
    from cinemae.training.fast_tier import FastTier

_TRAIN = TrainConfig()


def fast(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model directory.", show_default=False)],
    real: Annotated[
        list[str],
        typer.Option(
            metavar="SOURCE",
            help="Photographs that the model was not trained on: a folder, a glob, a CSV manifest, a tar or a Parquet "
            "file; may be given several times.",
            show_default=False,
        ),
    ],
    fake: Annotated[list[str], typer.Option(metavar="SOURCE", help="Generated images, likewise.", show_default=False)],
    target_fpr: Annotated[
        float, typer.Option(help='Share of photographs that may be called "ai".')
    ] = _TRAIN.target_fpr,
    target_fnr: Annotated[
        float, typer.Option(help='Share of generated images that may be called "real".')
    ] = _TRAIN.target_fnr,
    seed: Annotated[int, typer.Option(help="Of the folds that figures are measured on.")] = _TRAIN.seed,
    device: DeviceOption = "auto",
) -> None:
    """Make a model's fast tier: every second tile of an image, one masked pass, thresholds of its own.

    It is written into MODEL/fast, `detect --fast` uses it, and its price in accuracy, on the images given, stands in
    its card. Ends with 1 if images were left out because they could not be read.
    """
    from cinemae.app.progress import ProgressBar
    from cinemae.calibration.recalibrate import RecalibrationRecipe
    from cinemae.models.scorers import find_device
    from cinemae.training.fast_tier import make_fast

    targets = TrainConfig.from_dict({"target_fpr": target_fpr, "target_fnr": target_fnr, "seed": seed})
    recipe = RecalibrationRecipe(model=model, real=real, fake=fake, targets=targets, device=str(find_device(device)))
    with ProgressBar("scoring", None, log_every=60) as bar:
        tier = make_fast(recipe, progress=lambda done, total: bar.update(done, total=total))
    typer.echo("\n".join(_summary(tier)))
    if tier.unreadable:
        typer.echo(f"{len(tier.unreadable)} images could not be read, the first: {tier.unreadable[0]}")
        raise typer.Exit(1)


def _summary(tier: FastTier) -> list[str]:
    decision = tier.config.decision
    return [
        f"{tier.directory}: {tier.views[0]} of {tier.views[1]} views, {tier.passes[0]} of {tier.passes[1]} masks",
        f"  AUC {_words(tier.auc)}, of the whole model {_words(tier.whole_auc)}; lost: {_words(tier.lost)}",
        f'  "ai" from {decision.threshold:.3f}, "real" below {decision.real_below:.3f}: {decision.rule}',
        f"every figure: {tier.directory / 'results.json'}",
    ]


def _words(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
