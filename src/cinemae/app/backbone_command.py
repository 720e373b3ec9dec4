"""``cinemae backbone``: weights of others as backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

backbone = typer.Typer(help="Make a backbone of another model's weights.", no_args_is_help=True, rich_markup_mode=None)


@backbone.callback()
def _backbone() -> None:
    """Make a backbone of another model's weights."""


@backbone.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="DINOv2 without register tokens, or CLIP's image half: Hub id such as facebook/dinov2-small or "
            "openai/clip-vit-base-patch16, folder in the Hub's layout, or an ONNX file of Hugging Face's model.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="BACKBONE", help="Folder to write, in the Hub's layout.", show_default=False)
    ],
    image_size: Annotated[
        int, typer.Option(help="Pixels of the square image, a multiple of the patch's, such as 224.")
    ] = 224,
    float16: Annotated[
        bool, typer.Option("--float16", help="Round the weights to float16: what holds them takes half the space.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Round the layers' matrices to 8-bit integers: a quarter of the space.")
    ] = False,
    layers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Keep the encoder's first N layers alone.", show_default="all"),
    ] = None,
) -> None:
    """Turn DINOv2 or CLIP into the encoder of a masked autoencoder.

    It has no decoder yet: cinemae pretrain --encoder BACKBONE --freeze-encoder trains one.
    """
    from cinemae.backbones.convert import convert_encoder

    config = convert_encoder(source, out, image_size=image_size, layers=layers, float16=float16, int8=int8).config
    grid = config.image_size // config.patch_size
    typer.echo(
        f"{out}: {config.num_hidden_layers} layers of width {config.hidden_size}, {grid}x{grid} patches of "
        f"{config.patch_size} pixels; train its decoder with cinemae pretrain --encoder {out} --freeze-encoder"
    )
