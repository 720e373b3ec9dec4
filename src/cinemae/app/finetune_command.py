"""``cinemae train --unfreeze``: images in, a model with a fine-tuned backbone out, or the history of its NLL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cinemae.app.options import FollowLinksOption, tell_left_out
from cinemae.backbones.finetune_config import FinetuneConfig, FinetuneRecipe, StepLine
from cinemae.errors import ConfigError

if TYPE_CHECKING:
    from cinemae.backbones.finetune_nll import NllReport
    from cinemae.sources.local_files import Listing
    from cinemae.sources.records import ImageRecord
    from cinemae.training.train import TrainReport


_FINETUNE = FinetuneConfig()


def _with_unfreeze(metavar: str, text: str, default: object) -> Any:  # noqa: ANN401 - typer's own type
    return typer.Option(metavar=metavar, help=f"With --unfreeze: {text}", show_default=str(default))


@dataclass(frozen=True, kw_only=True)
class UnfreezeOptions:
    """What belongs to training from images; None where not given."""

    unfreeze: Annotated[
        str | None,
        typer.Option(
            metavar="none|encoder|decoder|both",
            help="Train from images, end to end, and let these parts of the backbone learn too.",
            show_default="train from stores",
        ),
    ] = None
    objective: Annotated[
        str | None,
        _with_unfreeze(
            "bce|reconstruction",
            "what to learn: to classify, or to redraw patches, following the NLL of each generator instead of making "
            "a model.",
            _FINETUNE.objective,
        ),
    ] = None
    model: Annotated[
        str | None,
        _with_unfreeze(
            "DIR|HUB_ID", "the model whose backbone, image and mask settings to begin with.", "the bundled one"
        ),
    ] = None
    backbone_learning_rate: Annotated[
        float | None, _with_unfreeze("X", "Adam's, for the backbone.", _FINETUNE.backbone_learning_rate)
    ] = None
    masks: Annotated[
        str | None,
        _with_unfreeze("fixed|fresh", "train under the masks of scoring, or others at each step.", _FINETUNE.masks),
    ] = None
    reconstructed: Annotated[
        str | None,
        _with_unfreeze("both|real|fake", "which training images to learn to redraw.", _FINETUNE.reconstructed),
    ] = None
    fresh_decoder: Annotated[
        bool | None,
        _with_unfreeze(
            "", "begin to redraw with a decoder of random weights in place of the trained one.", _FINETUNE.fresh_decoder
        ),
    ] = None
    measure_every: Annotated[
        int | None, _with_unfreeze("N", "steps between two measurements of the NLL.", _FINETUNE.measure_every)
    ] = None
    max_steps: Annotated[int | None, _with_unfreeze("N", "end a run after so many steps.", "no limit")] = None
    max_seconds: Annotated[float | None, _with_unfreeze("X", "end a run after so many seconds.", "no limit")] = None
    follow_links: FollowLinksOption = False
    device: Annotated[str | None, _with_unfreeze("auto|cpu|cuda|mps", "where to train.", "auto")] = None

    def given(self) -> dict[str, Any]:
        """Return what was given, by name."""
        values = {option.name: (getattr(self, option.name), option.default) for option in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

    def config(self) -> FinetuneConfig:
        """Return the settings of fine-tuning."""
        others = ("model", "device", "follow_links")
        return FinetuneConfig.from_dict({k: v for k, v in self.given().items() if k not in others})


def require_stores(sources: Sequence[Path], options: UnfreezeOptions) -> None:
    """Refuse what makes sense with --unfreeze only: its options, and images in place of stores.

    Raises:
        ConfigError: If there is either.
    """
    if stray := [f"--{name.replace('_', '-')}" for name in options.given()]:
        raise ConfigError(
            f"{', '.join(stray)} belongs to training from images: give --unfreeze as well, or leave it out."
        )
    for source in sources:
        if source.exists() and not _is_store(source):
            raise ConfigError(
                f"a head is trained on feature stores, and {source} is none: make one of its images with cinemae "
                "extract, or train from the images with --unfreeze."
            )


def finetune_from_images(
    sources: Sequence[Path],
    val: Sequence[Path],
    backbone: Path | None,
    options: UnfreezeOptions,
    shared: dict[str, Any],
    out: Path,
) -> None:
    """Fine-tune, tell the user what came of it, and end with 1 if images could not be read.

    Args:
        sources: Image sources to train on.
        val: Image sources to validate on.
        backbone: A bare backbone to begin with, in place of a model's.
        options: Those of --unfreeze.
        shared: What training from stores takes as well, by the names of `FinetuneRecipe`, and what of it is not to be
            the beginning model's.
        out: Directory to write.

    Raises:
        ConfigError: If there is nothing to validate on, a store was given, or two things to begin with.
    """
    from cinemae.models.scorers import find_device
    from cinemae.sources.local_files import Listing

    config = options.config()
    if not val:
        raise ConfigError("training from images needs images to validate on, of their own: name them with --val.")
    listing = Listing(options.follow_links)
    recipe = FinetuneRecipe(
        training=_read(sources, listing),
        validation=_read(val, listing),
        finetune=config,
        device=str(find_device(options.device or "auto")),
        **_beginning(backbone, options.model) | shared,
    )
    if config.objective == "reconstruction":
        followed = _follow_nll(recipe, out)
        summary, unreadable = _summarise_nll(followed, out), sum(followed.results["unreadable"].values())
    else:
        report = _finetune(recipe, out)
        summary, unreadable = summarise_model(report, out), sum((report.results.unreadable or {}).values())
    typer.echo(summary)
    tell_left_out(listing)
    if unreadable:
        typer.echo(f"{unreadable} images could not be read: {out / 'unreadable.txt'}")
        raise typer.Exit(1)


def summarise_model(report: TrainReport, out: Path) -> str:
    """Return the few lines that a command ends with."""
    results, decision = report.results, report.decision
    seeds = results.mean_generator_auc_over_seeds
    spread = "" if seeds.std is None else f", {seeds.mean:.3f} ± {seeds.std:.3f} over {len(seeds.values)} seeds"
    half = ""
    if at_half := results.at_half:
        half = f"balanced accuracy at 0.5 of the probability before calibration: {at_half.balanced_accuracy:.3f}\n"
    return (
        f"{out}: validation AUC {results.mean_generator_auc:.3f} (mean over generators{spread})\n"
        f'"ai" from {decision.threshold:.3f}, "real" below {decision.real_below:.3f}: {decision.rule}\n'
        f"{half}{results.split}\n"
        f"every figure: {out / 'README.md'}"
    )


def _read(sources: Sequence[Path], listing: Listing) -> list[ImageRecord]:
    from cinemae.sources.datasets import read_records

    for source in sources:
        if _is_store(source):
            raise ConfigError(
                f"--unfreeze trains from images, and {source} is a feature store: give the images that it was "
                "extracted from."
            )
    return [record for source in sources for record in read_records(source, listing)]


def _beginning(backbone: Path | None, model: str | None) -> dict[str, Any]:
    """Return `backbone` and `extractor` of the recipe."""
    from cinemae.models.directory import BACKBONE_DIR, read_model_config, resolve_model

    if backbone is not None:
        if model is not None:
            raise ConfigError(
                "training begins with a model or with a bare backbone: give --model or --backbone, not both."
            )
        return {"backbone": backbone}
    directory = resolve_model(model)
    return {"backbone": directory / BACKBONE_DIR, "extractor": read_model_config(directory).extractor}


def _finetune(recipe: FinetuneRecipe, out: Path) -> TrainReport:
    from cinemae.app.progress import ProgressBar
    from cinemae.backbones.finetune import finetune

    first, runs = recipe.train.seed, recipe.train.num_seeds
    with ProgressBar("fine-tuning", None, unit="steps", log_every=60) as bar:

        def tell(line: StepLine) -> None:
            done = (line.seed - first) * line.num_steps + line.step
            bar.update(done, total=runs * line.num_steps, note=f"seed {line.seed}, loss {line.loss:.3f}")

        return finetune(recipe, out, progress=tell)


def _follow_nll(recipe: FinetuneRecipe, out: Path) -> NllReport:
    from cinemae.app.progress import ProgressBar
    from cinemae.backbones.finetune_nll import train_reconstruction

    with ProgressBar("fine-tuning", None, unit="steps", log_every=60) as bar:
        return train_reconstruction(
            recipe,
            out,
            progress=lambda line: bar.update(line.step, total=line.num_steps, note=f"loss {line.loss:.3f}"),
        )


def _summarise_nll(report: NllReport, out: Path) -> str:
    first, last = report.history[0], report.history[-1]
    groups = "\n".join(
        f"  {name}: {first.groups[name].value:.2f} at step 0, {group.value:.2f} at step {last.step} (n = {group.n})"
        for name, group in last.groups.items()
    )
    return f"{out}: mean patch NLL_approx of held-out images\n{groups}\nevery figure: {out / 'nll.json'}"


def _is_store(source: Path) -> bool:
    from cinemae.stores.store_format import HEADER_NAME  # here, as it needs NumPy, which --help does without

    return (source / HEADER_NAME).is_file()
