"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from cinemae.errors import ConfigError

if TYPE_CHECKING:
    from cinemae.sources.local_files import Listing

ModelOption = Annotated[
    str | None,
    typer.Option(metavar="DIR|HUB_ID", help="Model directory or Hub id.", show_default="the bundled model"),
]
DeviceOption = Annotated[
    str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to run; all but auto and cpu need torch.")
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        metavar="auto|fp32|bf16|int8",
        help="What the backbone computes in: int8 runs on a processor, bf16 needs torch; auto is bf16 on CUDA devices "
        "that have it, on a processor what the model names, else fp32.",
    ),
]
CompileOption = Annotated[
    bool,
    typer.Option("--compile", help="Run with torch, and compile the model at its first call: for long runs on a GPU."),
]
CacheOption = Annotated[
    str | None,
    typer.Option(
        metavar="auto|FILE",
        envvar="CINEMAE_CACHE",
        help="Keep scores there by content, and do not score the same content again; auto is a file in the user's "
        "folder for caches. No image, name or path is kept.",
        show_default="copies within a run are scored once",
    ),
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


class EngineName(StrEnum):
    """Where bulk work runs."""

    LOCAL = "local"
    RAY = "ray"


EngineOption = Annotated[
    EngineName,
    typer.Option(metavar="local|ray", help="Run on this machine's cores, or on a Ray cluster (extra ray)."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT|auto",
        help="A Ray cluster to join.",
        show_default="a cluster of this machine alone, started for the run",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Workers on Ray, a core and a model each.", show_default="one a core"),
]
MaxFailuresOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="Stop once more images than this cannot be read.",
        show_default="any number may fail",
    ),
]


FollowLinksOption = Annotated[
    bool,
    typer.Option(
        "--follow-links",
        help="Enter links to folders that lead out of the folder named, each folder once.",
    ),
]

LayoutOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="How it is laid out: genimage, aigcdetect, forensynths, chameleon, tree, manifest, tar, parquet, or auto, "
        "which tells by the names of folders.",
    ),
]
SplitOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which part of a data set that has parts.", show_default="all")
]


class PresetName(StrEnum):
    """Settings that go together."""

    PAPER = "paper"


PresetOption = Annotated[
    PresetName | None,
    typer.Option(
        metavar="paper",
        help="The paper and nothing else, but for the options given beside it.",
        show_default="no preset",
    ),
]


class Dtype(StrEnum):
    """What a backbone computes in."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


DtypeOption = Annotated[Dtype, typer.Option(metavar="float32|bfloat16", help="What the backbone computes in.")]


def whole_numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Read a list such as "256,64".

    Args:
        option: What the user calls it.
        text: The list; None if it was not given.

    Raises:
        ConfigError: If it is none.

    Example:
        >>> whole_numbers("--cls-layers", "6, 9,12")
        (6, 9, 12)
    """
    try:
        return None if text is None else tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(f"{option} is a list of whole numbers such as 256,64, got {text!r}.") from error


def words(text: str) -> tuple[str, ...]:
    """Read a list such as "a, b".

    Example:
        >>> words("cls, mean,std")
        ('cls', 'mean', 'std')
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def given_options(context: typer.Context) -> frozenset[str]:
    """Return the names of the options that the user gave, and did not leave at their default."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(name for name, source in sources.items() if source is not None and source.name != "DEFAULT")


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take dataclasses of options: each field is an option of its own, at the place of its group."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Any]] = {
        name: kind for name, kind in hints.items() if isinstance(kind, type) and is_dataclass(kind)
    }
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        options = {field.name: field.default for field in fields(groups[name])} if name in groups else {}
        kinds = get_type_hints(groups[name], include_extras=True) if name in groups else hints
        for option, default in (options or {name: parameter.default}).items():
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(inspect.Parameter(option, kind, default=default, annotation=kinds[option]))

    @functools.wraps(command)
    def run(**given: Any) -> None:  # noqa: ANN401 - whatever typer has read
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def tell_left_out(listing: Listing, *, err: bool = False) -> None:
    """Say what was met in folders and not taken, if anything was.

    Args:
        listing: What listed them.
        err: Say it on standard error, beside what is written for programs.
    """
    from cinemae.app.output import visible

    if summary := listing.summary():
        typer.echo(visible(summary), err=err)


@contextmanager
def resuming() -> Iterator[None]:
    """Tell whoever interrupts long work that it can go on."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted: run the same command again to go on.", err=True)
        raise
