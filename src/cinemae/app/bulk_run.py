"""What ``detect`` and ``extract`` share when they run in parts: which engine, progress, and how they end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from cinemae.app.options import EngineName, resuming
from cinemae.errors import ConfigError, FailureLimitError, SourceError

if TYPE_CHECKING:
    from cinemae.detect.detect_job import DetectJob, DetectorSource
    from cinemae.detect.verdict import Verdict
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
) -> tuple[DetectJob, BulkReport, list[Verdict]]:
    """Judge images into a results folder, with ``report.json`` beside the parts.

    Returns:
        The job, its counts, and the rows of what is no image, which are no part of the job.

    Raises:
        CinemaeError: What the model, the folder or the engine raises.
    """
    engine = choice.engine()  # what is missing is found out before the model is loaded
    from cinemae.detect.detect_job import continue_job, detect_job
    from cinemae.sources.records import Unlisted
    from cinemae.stores.bulk import write_report
    from cinemae.stores.results import write_unlisted

    images = [record for record in records if not isinstance(record.place, Unlisted)]
    unlisted = [record for record in records if isinstance(record.place, Unlisted)]
    if not images and unlisted:
        raise SourceError(_reason(unlisted[0]))
    job = detect_job(request.source, request.results, images, stable=request.stable, batch_size=request.batch_size)
    job, images = continue_job(job, images)
    _tell_changed(job)
    report = run_in_parts(job, images, engine, "scoring", choice, num_unlisted=len(unlisted))
    verdicts = [job.failed_row(record, _reason(record)) for record in unlisted]
    write_unlisted(job.parts, [verdict.to_dict() | {"error_message": verdict.error_message} for verdict in verdicts])
    num_rows, num_failed = report.num_rows + len(unlisted), report.num_failed + len(unlisted)
    report = dataclasses.replace(report, num_rows=num_rows, num_failed=num_failed)
    write_report(job.out, report)
    return job, report, verdicts


def _reason(record: ImageRecord) -> str:
    return getattr(record.place, "reason", "")


def _tell_changed(job: DetectJob) -> None:
    """Name images that no longer hold what was scored: their rows stay."""
    from cinemae.app.output import visible
    from cinemae.stores.grown_results import find_changed

    changed = list(find_changed(job.parts, job.parts.finished()))
    if changed:
        images = "1 image has" if len(changed) == 1 else f"{len(changed):,} images have"
        parts = sorted({one.part_file for one in changed})
        named = ", ".join(parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")
        typer.echo(
            f"{images} changed since scored, {visible(changed[0].path)} first; the rows are of what was there before. "
            f"To score anew, delete {named} in {job.out} and run the same command.",
            err=True,
        )


def run_in_parts(
    job: BulkJob, records: Sequence[ImageRecord], engine: Engine, verb: str, choice: EngineChoice, num_unlisted: int = 0
) -> BulkReport:
    """Run a job with a bar, and name what was set aside; `num_unlisted` failures beside it count for --max-failures.

    Raises:
        typer.Exit: With 1, if more images failed than --max-failures allows.
    """
    from cinemae.app.output import visible
    from cinemae.app.progress import ProgressBar
    from cinemae.stores.bulk import run_bulk

    try:
        with resuming(), ProgressBar(verb, len(records), log_every=60) as bar:
            FailureLimitError.check(num_unlisted, choice.max_failures)
            report = run_bulk(
                job,
                records,
                engine,
                max_failures=None if choice.max_failures is None else choice.max_failures - num_unlisted,
                progress=bar.update,
            )
    except FailureLimitError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    for path in report.quarantined:
        typer.echo(f"set aside, it ends the process that opens it: {visible(path)}", err=True)
    return report
