"""``cinemae export``: a model's graph, in float32 or in int8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cinemae.app.options import FollowLinksOption, tell_left_out
from cinemae.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cinemae.sources.local_files import Listing

_CHECKED = "With --precision int8: {} to check the graph on; may be given several times."


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model directory.", show_default=False)],
    precision: Annotated[
        str,
        typer.Option(
            metavar="fp32|int8",
            help="float32, or products of 8-bit integers: two to three times as fast on a processor with VNNI, a third "
            "to two thirds faster without, a quarter of the memory, and scores that differ a little.",
        ),
    ] = "fp32",
    check_real: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help=_CHECKED.format("photographs, none that the model was trained on,"),
            show_default=False,
        ),
    ] = None,
    check_fake: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help=_CHECKED.format("generated images, likewise,"), show_default=False),
    ] = None,
    follow_links: FollowLinksOption = False,
    transformers: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Then copy the model into this new directory, with what transformers' pipelines need to load it.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a model's ONNX graph, for use without torch.

    A graph in int8 is written beside the one in float32 if, on the images to check on, its AUC is at most 0.003 lower.
    """
    from cinemae.models.directory import INT8_FILE, ONNX_FILE
    from cinemae.models.export import export_onnx
    from cinemae.sources.local_files import Listing

    if precision not in ("fp32", "int8"):
        raise ConfigError(f"a graph is exported in fp32 or int8, got {precision!r}.")
    if precision == "int8" and not (check_real and check_fake):
        raise ConfigError("a graph in int8 is checked on images before it is kept: give --check-real and --check-fake.")
    if precision == "fp32" and (check_real or check_fake):
        raise ConfigError("a graph in fp32 is not checked on images: leave --check-real and --check-fake out.")
    path = model / ONNX_FILE
    if precision == "fp32" or not path.is_file():
        export_onnx(model)
    lines = []
    if precision == "int8":
        lines, path = _export_int8(model, check_real or (), check_fake or (), Listing(follow_links)), model / INT8_FILE
    size = sum(file.stat().st_size for file in (path, *model.glob(f"{path.stem}.{'[0-9a-f]' * 12}.data")))
    typer.echo("\n".join([f"{path}: {size / 1e6:.1f} MB", *lines]))
    if transformers is not None:
        from cinemae.models.publish import save_model

        typer.echo(f"{save_model(model, transformers, transformers=True)}: with what transformers needs")


def _export_int8(model: Path, real: Sequence[str], fake: Sequence[str], listing: Listing) -> list[str]:
    """Write the graph; return what is to be said of it."""
    from cinemae.app.progress import ProgressBar
    from cinemae.evaluation.precision import export_int8

    with ProgressBar("checking", None, log_every=60) as bar:
        found = export_int8(model, real, fake, listing=listing, progress=bar.update)
    tell_left_out(listing)
    return [
        f"  against float32 on {found.num_real} photographs and {found.num_fake} generated images"
        + (f", {found.num_unread} could not be read" if found.num_unread else ""),
        f"  prob_fake: differs by {found.mean_deviation:.4f} on average, {found.p99_deviation:.4f} at the 99th "
        f"percentile, {found.max_deviation:.4f} at most",
        f"  verdicts: {found.verdict_changes} others",
        f"  AUC: {found.auc_fp32:.4f} to {found.auc_int8:.4f}, loss {found.auc_drop:.4f} "
        f"[{found.auc_drop_low:.4f}, {found.auc_drop_high:.4f}]",
    ]
