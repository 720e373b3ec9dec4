"""``cinemae serve``: the REST service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cinemae.app.options import CacheOption, CompileOption, DeviceOption, ModelOption, PrecisionOption
from cinemae.app.serve.config import ServeConfig
from cinemae.errors import MissingDependencyError

SERVE_EXTRA = ("fastapi", "prometheus_client", "python_multipart", "starlette", "uvicorn")


def serve(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; 0.0.0.0 is every network this machine is in.")
    ] = ServeConfig.host,
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65_535, help="0 takes a free one.")] = ServeConfig.port,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    compile: CompileOption = False,
    cache: CacheOption = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Images scored at the same time; they share the cores.",
            show_default="one a core, at most 4",
        ),
    ] = None,
    max_batch: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Most images handed to the model together.",
            show_default="1 with model.onnx, which computes image by image; else 8",
        ),
    ] = None,
    max_wait_ms: Annotated[
        float, typer.Option(metavar="MS", min=0, help="How long a worker with fewer waits for more.")
    ] = ServeConfig.max_wait_ms,
    queue: Annotated[
        int, typer.Option(metavar="N", min=1, help="Most images waiting or being scored; beyond it 503.")
    ] = ServeConfig.queue,
    max_bytes: Annotated[
        int, typer.Option(metavar="N", min=1, help="Largest request; four times as much is held at one time.")
    ] = ServeConfig.max_bytes,
    max_pixels: Annotated[
        int, typer.Option(metavar="N", min=1, help="Largest image, width times height.")
    ] = ServeConfig.max_pixels,
    max_files: Annotated[
        int, typer.Option(metavar="N", min=1, help="Most images of one request.")
    ] = ServeConfig.max_files,
    timeout: Annotated[
        float,
        typer.Option(metavar="S", help="Seconds for a request to arrive, and again for its images to be scored."),
    ] = ServeConfig.timeout,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            metavar="FILE",
            help="API keys, one a line; those in the variable CINEMAE_API_KEYS count as well.",
            show_default="no key is needed",
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Let this origin's pages call the service; may be given again."),
    ] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Serve a page for people at /.")] = ServeConfig.page,
) -> None:
    """Score images over HTTP, for programs and on a page for people, until interrupted.

    Listens on this machine alone unless told otherwise. Nothing but the scores of --cache is written to disk; logs are
    JSON lines on standard error and hold neither images nor file names. Asked to terminate, it answers what it accepted
    and ends with 0.
    """
    config = ServeConfig(
        host=host,
        port=port,
        workers=workers,
        max_batch=max_batch,
        max_wait_ms=max_wait_ms,
        queue=queue,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        max_files=max_files,
        timeout=timeout,
        cors_origins=tuple(cors_origin or ()),
        page=page,
    )
    try:
        from cinemae.app.serve.keys import read_keys
        from cinemae.app.serve.server import serve as run
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in SERVE_EXTRA:
            raise
        raise MissingDependencyError(
            f"this needs {package}, which is not installed: pip install 'cinemae[serve]'"
        ) from error
    from cinemae.app.cache_command import open_cache
    from cinemae.detect.detector import Detector
    from cinemae.models.checked_scores import read_checked_scores
    from cinemae.models.directory import resolve_model
    from cinemae.models.scorers import make_scorer

    keys = read_keys(api_key_file)
    threads = config.threads_per_image
    directory = resolve_model(model)
    scorer = make_scorer(directory, device, precision=precision, compiled=compile, num_threads=threads)
    kept = None if cache is None else open_cache(cache, model, scorer)
    detector = Detector(scorer, cache=kept, checked=read_checked_scores(directory))
    run(config, detector, keys, lambda url: typer.echo(f"cinemae serves {detector.model_id} on {url}"))
