"""``cinemae pretrain``: photographs in, a backbone out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cinemae.app.options import FollowLinksOption, resuming, tell_left_out, with_groups
from cinemae.errors import SourceError
from cinemae.pretrain_config import PretrainConfig

if TYPE_CHECKING:
    from cinemae.backbones.pretrain import Progress
    from cinemae.sources.local_files import Listing

_DEFAULT = PretrainConfig()


@dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """Architecture and recipe, by the names of `PretrainConfig`."""

    image_size: Annotated[int, typer.Option(help="Pixels of the square image.")] = _DEFAULT.image_size
    patch_size: Annotated[int, typer.Option(help="Pixels of a square patch.")] = _DEFAULT.patch_size
    hidden_size: Annotated[int, typer.Option(help="Width of the encoder.")] = _DEFAULT.hidden_size
    num_hidden_layers: Annotated[int, typer.Option("--num-layers", help="Depth of the encoder.")] = (
        _DEFAULT.num_hidden_layers
    )
    num_attention_heads: Annotated[int, typer.Option("--num-heads", help="Attention heads of the encoder.")] = (
        _DEFAULT.num_attention_heads
    )
    decoder_hidden_size: Annotated[int, typer.Option(help="Width of the decoder.")] = _DEFAULT.decoder_hidden_size
    decoder_num_hidden_layers: Annotated[int, typer.Option("--decoder-num-layers", help="Depth of the decoder.")] = (
        _DEFAULT.decoder_num_hidden_layers
    )
    decoder_num_attention_heads: Annotated[
        int, typer.Option("--decoder-num-heads", help="Attention heads of the decoder.")
    ] = _DEFAULT.decoder_num_attention_heads
    mask_ratio: Annotated[float, typer.Option(help="Share of hidden patches.")] = _DEFAULT.mask_ratio
    batch_size: Annotated[int, typer.Option(help="Crops a step.")] = _DEFAULT.batch_size
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = _DEFAULT.learning_rate
    weight_decay: Annotated[float, typer.Option(help="Of AdamW, on matrices only.")] = _DEFAULT.weight_decay
    warmup_steps: Annotated[int, typer.Option(help="Steps until the highest learning rate.")] = _DEFAULT.warmup_steps
    schedule: Annotated[str, typer.Option(metavar="cosine|constant", help="Course of the learning rate.")] = (
        _DEFAULT.schedule
    )
    ema_decay: Annotated[
        float, typer.Option(help="Of the moving average of the weights, which is what is written.")
    ] = _DEFAULT.ema_decay
    min_scale: Annotated[float, typer.Option(help="Smallest share of a photograph's area in a crop.")] = (
        _DEFAULT.min_scale
    )
    max_scale: Annotated[float, typer.Option(help="Largest share of a photograph's area in a crop.")] = (
        _DEFAULT.max_scale
    )
    recompress: Annotated[float, typer.Option(help="Share of crops that pass through JPEG.")] = _DEFAULT.recompress
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = _DEFAULT.seed


@with_groups
def pretrain(
    folders: Annotated[
        list[str],
        typer.Argument(metavar="FOLDER", help="Photographs: folders, globs or files.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="BACKBONE",
            help="Folder to write, in the Hub's layout; a run that was stopped is gone on with.",
            show_default=False,
        ),
    ],
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Stop after so many steps.", show_default=False)
    ] = None,
    hours: Annotated[
        float | None, typer.Option(metavar="HOURS", help="Stop after so many hours.", show_default=False)
    ] = None,
    init_from: Annotated[
        Path | None, typer.Option(metavar="BACKBONE", help="Begin with the weights of this one.", show_default=False)
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="BACKBONE|HUB_ID",
            help="Begin with the encoder of this one, such as cinemae backbone convert writes, and a fresh decoder; "
            "the sizes of image, patch and encoder are its own.",
            show_default=False,
        ),
    ] = None,
    freeze_encoder: Annotated[
        bool, typer.Option("--freeze-encoder", help="Train the decoder alone; the encoder stays bit for bit.")
    ] = False,
    *,
    settings: PretrainOptions,
    follow_links: FollowLinksOption = False,
) -> None:
    """Pretrain a masked autoencoder on photographs, or a decoder for a trained encoder.

    Stops after --steps or --hours, whichever of the two is given; the same command goes on with a stopped run.
    Ends with 1 if an argument names nothing or a folder cannot be listed.
    """
    config = PretrainConfig.from_dict(vars(settings))
    from cinemae.app.progress import ProgressBar
    from cinemae.backbones.pretrain import Budget
    from cinemae.backbones.pretrain import pretrain as run
    from cinemae.backbones.pretrain_start import Start
    from cinemae.sources.local_files import Listing

    start = Start(init_from, encoder, freeze_encoder)
    budget = Budget(steps, hours)
    listing = Listing(follow_links)
    paths, unlisted = _photographs(folders, listing)
    with resuming(), ProgressBar("pretraining", 1.0, unit="", delay=0, log_every=60) as bar:
        last = run(
            paths,
            out,
            config,
            budget,
            start=start,
            progress=lambda line: bar.update(line.spent, note=_describe(line)),
        )
    typer.echo(f"{out}: {_describe(last)}")
    tell_left_out(listing)
    raise typer.Exit(1 if unlisted else 0)


def _photographs(folders: list[str], listing: Listing) -> tuple[list[str], int]:
    """Return the files to learn from, and how many folders could not be listed; each is named on standard error."""
    from cinemae.app.output import visible
    from cinemae.sources.local_files import list_images
    from cinemae.sources.records import Unlisted

    paths: list[str] = []
    refusals: list[str] = []
    for folder in folders:
        try:
            for record in list_images(folder, listing):
                if isinstance(record.place, Unlisted):
                    refusals.append(record.place.reason)
                else:
                    paths.append(record.path)
        except SourceError as error:
            refusals.append(str(error))
    if not paths:
        raise SourceError(refusals[0])
    for refusal in refusals:
        typer.echo(f"left out: {visible(refusal)}", err=True)
    return paths, len(refusals)


def _describe(line: Progress) -> str:
    held_out = "" if line.validation_loss is None else f", held-out {line.validation_loss:.3f}"
    return f"step {line.step:,}, loss {line.loss:.3f}{held_out}, {line.images_per_second:.0f} images/s"
