"""What ``detect`` and ``extract`` share when they run in parts: which engine, progress, and how they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from cinemae.app.options import EngineName, resuming
from cinemae.errors import ConfigError, FailureLimitError

if TYPE_CHECKING:
    from cinemae.detect.detect_job import DetectJob, DetectorSource
    from cinemae.sources.records import ImageRecord
    from cinemae.stores.bulk import BulkJob, BulkReport, Engine


@dataclass(frozen=True)
class EngineChoice:
    """The options that say where work runs.

    Attributes:
        name: Which engine.
        address: Of a Ray cluster; None to start one here.
        workers: Scoring processes of the cluster.
        device: A graphics processor asked for is asked of Ray as well.
        max_failures: Stop once more images than this failed.

    Raises:
        ConfigError: If an option of Ray's comes without it.
    """

    name: EngineName
    address: str | None
    workers: int | None
    device: str
    max_failures: int | None

    def __post_init__(self) -> None:
        if self.name is EngineName.LOCAL and (self.address is not None or self.workers is not None):
            raise ConfigError("--address and --workers are for a cluster: add --engine ray.")

    def engine(self) -> Engine:
        """Return the engine.

        Raises:
            MissingDependencyError: If it is Ray's, and Ray is not installed.
        """
        if self.name is EngineName.LOCAL:
            from cinemae.detect.local_engine import local_engine

            return local_engine()
        from cinemae.detect.ray_engine import RayConfig, ray_engine

        gpus = 1.0 if self.device.startswith("cuda") else 0.0
        return ray_engine(RayConfig(self.address, self.workers, gpus_per_worker=gpus))


@dataclass(frozen=True)
class DetectRequest:
    """A run of ``detect`` that keeps its results.

    Attributes:
        source: The detector.
        results: The results folder.
        stable: Score re-deliveries too.
        batch_size: Images handed to the model together.
    """

    source: DetectorSource
    results: str
    stable: bool
    batch_size: int | None


def detect_in_parts(
    records: Sequence[ImageRecord], request: DetectRequest, choice: EngineChoice
) -> tuple[DetectJob, BulkReport]:
    """Judge images into a results folder, with ``report.json`` beside the parts.

    Raises:
        CinemaeError: What the model, the folder or the engine raises.
    """
    engine = choice.engine()  # what is missing is found out before the model is loaded
    from cinemae.detect.detect_job import detect_job
    from cinemae.stores.bulk import write_report

    job = detect_job(request.source, request.results, records, stable=request.stable, batch_size=request.batch_size)
    report = run_in_parts(job, records, engine, "scoring", choice)
    write_report(job.out, report)
    return job, report


def run_in_parts(
    job: BulkJob, records: Sequence[ImageRecord], engine: Engine, verb: str, choice: EngineChoice
) -> BulkReport:
    """Run a job with a bar, and name what was set aside.

    Raises:
        typer.Exit: With 1, if more images failed than --max-failures allows.
    """
    from cinemae.app.output import visible
    from cinemae.app.progress import ProgressBar
    from cinemae.stores.bulk import run_bulk

    try:
        with resuming(), ProgressBar(verb, len(records), log_every=60) as bar:
            report = run_bulk(
                job,
                records,
                engine,
                max_failures=choice.max_failures,
                progress=lambda done, total: bar.update(done, total=total),
            )
    except FailureLimitError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    for path in report.quarantined:
        typer.echo(f"set aside, it ends the process that opens it: {visible(path)}", err=True)
    return report
