"""Scores images in a process of its own, so that an image that kills its process costs that image alone.

A decoder that crashes, an image that makes the system take the memory back, a file that hangs its reader: they end the
child or get it ended. Rows come back batch by batch; what came before the end is kept. The batch at fault is tried
again, then image by image, and an image that ends the child `MAX_DEATHS` times by itself is set aside with a row that
says so. The others of its batch are scored together once more, as if it could not have been read.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Self

from cinemae.errors import CinemaeError, WorkerError
from cinemae.settings import DECODING_ENVIRONMENT, Settings, require, silence_decoders
from cinemae.sources.records import ImageRecord
from cinemae.stores.bulk import BulkJob, report_rows
from cinemae.stores.parts import SET_ASIDE, PartReport

MAX_DEATHS = 3
"""How often an image may end the process that works on it alone, and how often a process may end while it starts."""

START_PATIENCE_S = 600.0
"""Seconds that loading the model may take."""

_THREAD_VARIABLES = ("CINEMAE_CORES", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class GuardConfig(Settings):
    """How a scoring process is held.

    Attributes:
        num_threads: Threads that compute in it.
        patience_s: Seconds without a batch of results after which it is ended.
    """

    num_threads: int = 1
    patience_s: float = 600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_threads >= 1, f"num_threads must be at least 1, got {self.num_threads}.")
        require(self.patience_s > 0, f"patience_s must be above 0, got {self.patience_s}.")


class _DiedError(Exception):
    """The child ended, or was ended because it gave no result; the text says how."""


class PartWorker:
    """Does whole parts of a job: what every engine runs, one a worker.

    Args:
        job: The work.
        config: Threads and patience.
    """

    def __init__(self, job: BulkJob, config: GuardConfig) -> None:
        self.job, self.config = job, config
        self._child: _Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None

    def run(
        self, part: int, records: Sequence[ImageRecord], tell: Callable[[int], None] = lambda number: None
    ) -> PartReport:
        """Score and write one part, unless its file is there.

        Args:
            part: Which.
            records: Its images.
            tell: Called with each number of images that there are rows of.

        Raises:
            WorkerError: If the scoring process cannot be started.
            CinemaeError: Whatever the job raises.
        """
        if (done := self.job.parts.report(part)) is not None:  # an attempt that was thought lost had got so far
            return done
        rows = self._score(records, tell)
        self.job.write(part, rows)
        return report_rows(part, rows)

    def _score(self, records: Sequence[ImageRecord], tell: Callable[[int], None]) -> list[Any]:
        rows: list[Any] = []
        while len(rows) < len(records):
            before = len(rows)
            try:
                for batch in self._stream(records[before:]):
                    rows += batch
                    tell(len(batch))
            except _DiedError:
                if len(rows) == before:  # no batch in between: what is at fault is near
                    rows += self._score_carefully(records[before : before + self.job.batch_size])
                    tell(len(rows) - before)
        return rows

    def _score_carefully(self, batch: Sequence[ImageRecord]) -> list[Any]:
        """Score one batch by itself; if that does not do, find out by which images."""
        with suppress(_DiedError):
            return self._score_at_once(batch)
        alone = [self._score_alone(record) for record in batch]
        survivors = [index for index, (_, died) in enumerate(alone) if not died]
        rows = [row for row, _ in alone]
        with suppress(_DiedError):  # together, since a batch may round otherwise than its images do alone
            together = self._score_at_once([batch[index] for index in survivors])
            for index, row in zip(survivors, together, strict=True):
                rows[index] = row
        return rows

    def _score_alone(self, record: ImageRecord) -> tuple[Any, bool]:
        """Return the row of an image, and whether it was set aside."""
        how = ""
        for _ in range(MAX_DEATHS):
            try:
                return self._score_at_once([record])[0], False
            except _DiedError as died:
                how = str(died)
        reason = (
            f"{SET_ASIDE}the process that worked on this image alone ended {MAX_DEATHS} times ({how}): look at the "
            "file before anything opens it again."
        )
        return self.job.failed_row(record, reason), True

    def _score_at_once(self, records: Sequence[ImageRecord]) -> list[Any]:
        return [row for batch in self._stream(records) for row in batch] if records else []

    def _stream(self, records: Sequence[ImageRecord]) -> Iterator[Sequence[Any]]:
        if self._child is None:
            self._child = self._start()
        finished = False
        try:
            yield from self._child.score(records)
            finished = True
        finally:
            if not finished:
                self._child.end()
                self._child = None

    def _start(self) -> _Child:
        how = ""
        for _ in range(MAX_DEATHS):
            try:
                return _Child(self.job, self.config)
            except _DiedError as died:
                how = str(died)
        raise WorkerError(
            f"the process that scores images ended {MAX_DEATHS} times while it loaded the model ({how}): give it more "
            "memory, or fewer workers to a machine."
        )


class _Child:
    """The other process, its model loaded."""

    def __init__(self, job: BulkJob, config: GuardConfig) -> None:
        self._patience_s = config.patience_s
        self._connection, theirs = Pipe()
        threads = dict.fromkeys(_THREAD_VARIABLES, str(config.num_threads))
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of this package
            [sys.executable, "-m", "cinemae.detect.child", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**DECODING_ENVIRONMENT, **os.environ, **threads},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the process that asked for the work
        )
        theirs.close()
        try:
            for message in (sys.path, job, config.num_threads):
                self._connection.send(message)
            self._receive(START_PATIENCE_S)
        except OSError as error:
            raise self._died() from error
        except BaseException:
            self.end()
            raise

    def score(self, records: Sequence[ImageRecord]) -> Iterator[Sequence[Any]]:
        try:
            self._connection.send(records)
            while (rows := self._receive(self._patience_s)) is not None:
                yield rows
        except OSError as error:
            raise self._died() from error

    def end(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _receive(self, patience_s: float) -> Any:  # noqa: ANN401 - rows, or None after the last
        if not self._connection.poll(patience_s):
            self.end()
            raise _DiedError(f"no result for {patience_s:g} s")
        try:
            value, error = self._connection.recv()
        except EOFError as ended:
            raise self._died() from ended
        if isinstance(error, CinemaeError):
            raise error
        if error is not None:
            raise _DiedError(str(error))
        return value

    def _died(self) -> _DiedError:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = 0
        self.end()
        if code >= 0:
            return _DiedError(f"exit code {code}")
        known = {member.value: member.name for member in signal.Signals}
        return _DiedError(f"signal {known.get(-code, -code)}")


def serve(connection: Connection) -> None:
    """Score what comes through `connection`, until it is closed: the child's side.

    First come the module search path, the job and the number of threads; then lists of records. Each answer is a pair
    of a value and an exception: (None, None) once the model is loaded, then (rows, None) for every batch and
    (None, None) after the last.
    """
    sys.path[:] = connection.recv()  # before anything that has to be imported
    silence_decoders()
    try:
        score = connection.recv().load(connection.recv())
        connection.send((None, None))
        while True:
            for rows in score(connection.recv()):
                connection.send((list(rows), None))
            connection.send((None, None))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # nobody is left to score for
    except Exception as error:  # raised again on the other side
        known = isinstance(error, CinemaeError)  # of another kind it may not be picklable
        connection.send((None, error if known else RuntimeError(f"{type(error).__name__}: {error}")))
