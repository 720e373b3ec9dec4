"""Parts on a Ray cluster: Ray Data streams them through actors, each of which holds one scoring process.

Only the lists of records go through Ray's object store, in windows of a bounded number of parts, and only counts come
back: workers write the parts' files themselves. Ray restarts an actor that is lost with its process or its machine and
repeats what it had in hand; a part whose file is there is not scored again, so a repetition costs time, not truth. An
image that kills is no matter for Ray: `cinemae.detect.guarded` finds and sets it aside in the worker.

Nothing is sent to the makers of Ray. A cluster started here listens on the loopback address alone and has no dashboard.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib
import io
import json
import logging
import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TextIO

from cinemae import errors
from cinemae.detect.guarded import GuardConfig, PartWorker
from cinemae.errors import CinemaeError, ConfigError, MissingDependencyError, WorkerError
from cinemae.settings import Settings, require, usable_cores
from cinemae.stores.bulk import BulkJob, Engine, Part
from cinemae.stores.parts import PartReport
from cinemae.version import __version__

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what Ray will do anyway, and warns about until it does
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else every run begins with an error line about Ray Data's own actors
    "RAY_DEDUP_LOGS": "0",  # else messages are held back, and come when nobody filters them any more
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""On every system: the one switch that makes Ray use 127.0.0.1 throughout. It is read when Ray is imported."""

PARTS_A_WORKER = 64
"""Parts of a window for each worker; between windows workers load their models anew."""
IN_FLIGHT = 2
"""Parts handed to a worker at a time: the second waits where the first is worked on."""
OBJECT_STORE_BYTES = 2**27
_CONNECT_SECONDS = 10.0
_THREADS = ("StreamingExecutor-", "iter_threaded", "ray-data-metadata-prefetch")
"""How the names of the threads begin in which Ray Data works for a stream."""
_THREADS_SECONDS = 60.0


@dataclass(frozen=True)
class RayConfig(Settings):
    """Where and how wide a bulk run on Ray is.

    Attributes:
        address: Of a cluster, "auto" for the one that this machine belongs to; None to start one on this machine.
        num_workers: Scoring processes; None for as many as the cluster has cores for.
        cores_per_worker: Cores that each takes, and threads that compute in it.
        gpus_per_worker: Graphics processors that each takes.
        patience_s: Seconds without a result after which a scoring process is ended.
    """

    address: str | None = None
    num_workers: int | None = None
    cores_per_worker: int = 1
    gpus_per_worker: float = 0.0
    patience_s: float = GuardConfig.patience_s

    def __post_init__(self) -> None:
        super().__post_init__()
        workers = self.num_workers
        require(workers is None or workers >= 1, f"num_workers must be at least 1, got {workers}.")
        require(self.cores_per_worker >= 1, f"cores_per_worker must be at least 1, got {self.cores_per_worker}.")


def ray_engine(config: RayConfig) -> Engine:
    """Return the engine that runs on Ray.

    Raises:
        MissingDependencyError: If Ray is not installed.
    """
    ray = _import_ray(loopback=config.address is None)

    def run(job: BulkJob, parts: Iterable[Part], _: Callable[[int], None]) -> Generator[PartReport, None, None]:
        with _without_messages(), _connected(ray, config) as num_workers:
            waiting = iter(parts)
            while window := list(islice(waiting, PARTS_A_WORKER * num_workers)):
                stream = _stream(ray, window, job, config, min(num_workers, len(window)))
                yield from _reports(ray, stream)
                del stream
                gc.collect()  # Ray Data leaves cycles that hold a window's blocks in the object store

    return run


class _PartActor:
    """What an actor runs: one scoring process, part after part."""

    def __init__(self, version: str, job: bytes, config: dict[str, Any]) -> None:
        self._version, self._job, self._config = version, job, config
        self._worker: PartWorker | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        """Do a part. What goes wrong on purpose is an answer as well: Ray would wrap its kind and words away."""
        try:
            if self._worker is None:
                self._worker = self._start()
            report = self._worker.run(int(row["part"]), pickle.loads(row["records"]))  # noqa: S301 - as below
        except CinemaeError as error:
            return {"answer": json.dumps({"error": type(error).__name__, "message": str(error)})}
        return {"answer": json.dumps(dataclasses.asdict(report))}

    def _start(self) -> PartWorker:
        if self._version != __version__:
            raise ConfigError(
                f"every machine needs the same cinemae: a worker has {__version__}, the run came with {self._version}."
            )
        return PartWorker(pickle.loads(self._job), GuardConfig(**self._config))  # noqa: S301 - from our own driver


def _stream(ray: Any, window: list[Part], job: BulkJob, config: RayConfig, num_workers: int) -> Any:  # noqa: ANN401
    """Lay out a window of parts as Ray Data runs it, one part a block."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    rows = [{"part": part, "records": pickle.dumps(records)} for part, records in window]
    guard = GuardConfig(num_threads=config.cores_per_worker, patience_s=config.patience_s)
    return ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        _PartActor,
        fn_constructor_args=(__version__, pickle.dumps(job), guard.to_dict()),
        compute=ray.data.ActorPoolStrategy(size=num_workers, max_tasks_in_flight_per_actor=IN_FLIGHT),
        num_cpus=config.cores_per_worker,
        num_gpus=config.gpus_per_worker or None,
    )


def _reports(ray: Any, stream: Any) -> Iterator[PartReport]:  # noqa: ANN401
    try:
        with contextlib.closing(iter(stream.iter_rows())) as rows:  # ends the stream, whatever comes in between
            for row in rows:
                answer = json.loads(row["answer"])
                if "error" in answer:
                    raise getattr(errors, answer["error"], WorkerError)(answer["message"])
                yield PartReport(**{**answer, "quarantined": tuple(answer["quarantined"])})
    except ray.exceptions.RayError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise WorkerError(
            f"the run on Ray failed ({reason}): finished parts are kept, run the same command again."
        ) from error
    finally:
        _wait_for_threads()


def _wait_for_threads() -> None:
    """Wait until Ray Data's threads have ended: one that still asks Ray after `ray.shutdown` ends the whole process."""
    deadline = time.monotonic() + _THREADS_SECONDS
    for thread in threading.enumerate():
        if thread.name.startswith(_THREADS):
            thread.join(max(deadline - time.monotonic(), 0.0))


@contextlib.contextmanager
def _connected(ray: Any, config: RayConfig) -> Iterator[int]:  # noqa: ANN401
    """Join the cluster, or start one; give the number of workers; leave it afterwards."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if config.address is None:
        cores = max(usable_cores(), (config.num_workers or 1) * config.cores_per_worker)
        options |= {"address": "local", "num_cpus": cores, "include_dashboard": False}
        options |= {"object_store_memory": OBJECT_STORE_BYTES, "_node_ip_address": "127.0.0.1"}
    else:
        _check_address(config.address)
        options["address"] = config.address
    try:
        with _stderr_closed():  # Ray's C++ half announces that it obeys RAY_BACKEND_LOG_LEVEL
            ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"Ray could not be started or joined ({error}): check --address.") from error
    try:
        room = int(ray.cluster_resources().get("CPU", 0)) // config.cores_per_worker
        yield config.num_workers or max(room, 1)
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse an address where nothing answers: Ray itself would try for minutes, then end the process."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        if address == "auto":
            return
        raise ConfigError(f'the address of a Ray cluster is HOST:PORT or "auto", got {address!r}.')
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise ConfigError(f"no Ray cluster answers at {address} ({error}): check --address.") from error


def _import_ray(*, loopback: bool) -> Any:  # noqa: ANN401 - not everyone has it, or its types
    os.environ.update({**_ENVIRONMENT, **(_LOOPBACK if loopback else {})})
    try:
        importlib.import_module("ray.data")
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise MissingDependencyError("--engine ray needs Ray: pip install 'cinemae[ray]'.") from error


@contextlib.contextmanager
def _stderr_closed() -> Iterator[None]:
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class _Filtered(io.TextIOBase):
    """Standard output without what Ray's own thread writes there about lost workers."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread().name == "ray_listen_error_messages":
            return len(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


@contextlib.contextmanager
def _without_messages() -> Iterator[None]:
    """Keep Ray's messages out of what programs read."""
    with contextlib.redirect_stdout(_Filtered(sys.stdout)):
        yield
