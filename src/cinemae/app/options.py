"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer

ModelOption = Annotated[
    str | None,
    typer.Option(metavar="DIR|HUB_ID", help="Model directory or Hub id.", show_default="the bundled model"),
]
DeviceOption = Annotated[
    str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to run; all but auto and cpu need torch.")
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Images handed to the model together: changes speed and memory only.",
        show_default=False,
    ),
]


class Dtype(StrEnum):
    """What a backbone computes in."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


@contextmanager
def resuming() -> Iterator[None]:
    """Tell whoever interrupts long work that it can go on."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted: run the same command again to go on.", err=True)
        raise
