"""``cinemae bench``: how fast a model is on this machine, as a block to paste into a page."""

from __future__ import annotations

from typing import Annotated

import typer

from cinemae.app.options import CompileOption, DeviceOption, PrecisionOption
from cinemae.errors import ConfigError


def bench(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="Model directory or Hub id.", show_default="the bundled model"),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|FILE|HUB_ID",
            help="Measure a bare backbone's frozen half in place of a model, and say what the paper's tables take.",
            show_default=False,
        ),
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    compiled: CompileOption = False,
    batch_size: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Images handed to the model together; may be given several times.",
            show_default="1, 8 and 32; of a backbone 1, 16 and 64",
        ),
    ] = None,
    images: Annotated[int, typer.Option(metavar="N", min=1, help="Pictures to draw.")] = 32,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="How often each stage is timed.")] = 5,
    price: Annotated[float, typer.Option(metavar="USD", min=0, help="Of an hour, with --backbone.")] = 2.5,
) -> None:
    """Measure images a second by stage, and memory, and check the scores against the exact path.

    Prints Markdown for docs/benchmarks.md. The pictures are drawn in code: no data is needed, and figures of two
    machines are of the same work. Not measured on a GPU by us: please send what --device cuda prints.
    """
    if backbone is not None:
        if model is not None or compiled or precision == "int8":
            raise ConfigError("MODEL, --compile and int8 are a model's: --backbone measures a backbone alone.")
        from cinemae.evaluation.frozen_speed import FrozenSpeedConfig, measure_frozen_speed

        chosen = tuple(batch_size) if batch_size else FrozenSpeedConfig.batch_sizes
        frozen = FrozenSpeedConfig(device, precision, chosen, images, rounds, price)
        typer.echo(measure_frozen_speed(backbone, frozen).to_markdown())
        return
    from cinemae.evaluation.speed import SpeedConfig, measure_speed

    sizes = tuple(batch_size) if batch_size else SpeedConfig.batch_sizes
    config = SpeedConfig(device, precision, compiled, sizes, images, rounds)
    typer.echo(measure_speed(model, config).to_markdown())
