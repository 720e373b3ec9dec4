"""The command line: which commands there are, and how any of them ends.

Exit codes: 0 done, 1 some images could not be read (or a data set has serious faults), 2 wrong usage or nothing could
be done, 130 interrupted, 141 the reader of standard output went away. An error that cinemae raises on purpose is one
line on standard error.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cinemae.app.backbone_command import backbone
from cinemae.app.bench_command import bench
from cinemae.app.cache_command import cache
from cinemae.app.calibrate_command import calibrate
from cinemae.app.data_commands import data
from cinemae.app.detect_command import detect
from cinemae.app.evaluate_command import compare, evaluate, report
from cinemae.app.export_command import export
from cinemae.app.extract_command import extract
from cinemae.app.fit_command import fit
from cinemae.app.info_command import info
from cinemae.app.pretrain_command import pretrain
from cinemae.app.reproduce_command import reproduce
from cinemae.app.serve_command import serve
from cinemae.app.train_commands import train
from cinemae.errors import CinemaeError
from cinemae.settings import DECODING_ENVIRONMENT, silence_decoders
from cinemae.version import __version__

_TRAIN_EXTRA = (
    "faiss",
    "imagehash",
    "jaxtyping",
    "jinja2",
    "matplotlib",
    "onnx",
    "onnxscript",
    "pyarrow",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
    "transformers",
)


class _Commands(TyperGroup):
    """Turns what a command raises into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own signature
        try:
            return super().invoke(ctx)
        except CinemaeError as error:
            raise _fail(str(error)) from error
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in _TRAIN_EXTRA:
                raise
            extra = "data" if ctx.invoked_subcommand == "data" else "train"
            raise _fail(f"this needs {package}, which is not installed: pip install 'cinemae[{extra}]'") from error
        except BrokenPipeError as error:
            _silence_stdout()
            raise typer.Exit(141) from error
        except OSError as error:
            raise _fail(f"{error.filename or 'reading or writing failed'}: {error.strerror or error}") from error
        except KeyboardInterrupt as error:
            raise typer.Exit(130) from error


app = typer.Typer(
    name="cinemae",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"cinemae {__version__}")
        raise typer.Exit


@app.callback()
def cinemae(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Tell AI-generated images from photographs, with a masked autoencoder (the CINEMAE method)."""


def version() -> None:
    """Show the version."""
    typer.echo(f"cinemae {__version__}")


for _command in (
    *(detect, info, version, serve),
    *(fit, calibrate, extract, train, export, pretrain),
    *(evaluate, report, compare, reproduce, bench),
):
    app.command()(_command)
app.add_typer(data, name="data")
app.add_typer(cache, name="cache")
app.add_typer(backbone, name="backbone")


def main() -> None:
    """Run the command line."""
    silence_decoders()
    for name, value in DECODING_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        app(prog_name="cinemae")
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(sentence: str) -> typer.Exit:
    from cinemae.app.output import visible

    typer.echo(f"error: {visible(sentence)}", err=True)
    return typer.Exit(2)


def _silence_stdout() -> None:
    """Give the interpreter somewhere to flush to, so that it does not complain while it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
