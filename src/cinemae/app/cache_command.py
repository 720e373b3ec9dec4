"""``cinemae cache info``, ``prune`` and ``clear``: look after the file in which scores are kept by content."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cinemae.errors import ConfigError

if TYPE_CHECKING:
    from cinemae.detect.verdict_cache import VerdictCache
    from cinemae.models.scorers import Scorer

AUTO = "auto"

cache = typer.Typer(
    help="Look after the scores that detect and serve keep with --cache.", no_args_is_help=True, rich_markup_mode=None
)

FileArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE", envvar="CINEMAE_CACHE", help="The cache; auto is the one in the user's folder for caches."
    ),
]


@cache.command()
def info(file: FileArgument = AUTO) -> None:
    """Say what a cache holds."""
    from cinemae.stores.score_cache import read_cache_info

    path = cache_path(file)
    found = read_cache_info(path)
    unused = "" if found.oldest_days is None else f", the one longest unused for {found.oldest_days} days"
    typer.echo(f"{path}: {found.num_scores:,} scores{unused}; {found.num_bytes / 1e6:.1f} MB")
    for name, count in found.contexts.items():
        typer.echo(f"  {count:>12,}  {name}")


@cache.command()
def prune(
    file: FileArgument = AUTO,
    unused_days: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Drop what was not used for so many days.", show_default=False),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Drop the scores of models whose name does not contain this.", show_default=False
        ),
    ] = None,
) -> None:
    """Drop scores that are no longer wanted, and shrink the file."""
    from cinemae.stores.score_cache import prune_cache

    if unused_days is None and keep is None:
        raise ConfigError("prune drops what is old or of other models: give --unused-days or --keep.")
    path = cache_path(file)
    typer.echo(f"{path}: {prune_cache(path, unused_days=unused_days, keep=keep):,} scores dropped")


@cache.command()
def clear(file: FileArgument = AUTO) -> None:
    """Delete a cache, damaged or not."""
    from cinemae.stores.score_cache import clear_cache

    path = cache_path(file)
    typer.echo(f"{path}: {'deleted' if clear_cache(path) else 'there was none'}")


def open_cache(file: str | None, model: str | None, scorer: Scorer) -> VerdictCache:
    """Open the cache that ``--cache`` names; without it one that ends with this process.

    Args:
        file: What was given.
        model: Of the command's option.
        scorer: What runs it.
    """
    from cinemae.detect.verdict_cache import VerdictCache
    from cinemae.models.directory import resolve_model

    path = None if file is None else cache_path(file)
    return VerdictCache.open(path, resolve_model(model), scorer, warn=_warn)


def cache_path(file: str) -> str:
    """Return the file that ``--cache`` names."""
    from cinemae.stores.score_cache import default_cache_path

    return os.fspath(default_cache_path() if file == AUTO else Path(file).expanduser())


def _warn(sentence: str) -> None:
    from cinemae.app.output import visible

    typer.echo(f"warning: {visible(sentence)}", err=True)
