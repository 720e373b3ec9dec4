"""Images from many requests, in one bounded queue, scored a few together.

A worker takes what waits, up to `max_batch` images and no more than its share, so that no worker idles while another
hoards. It waits for more only if told to. A score depends on the image alone (see `cinemae.models.scorers`), so it
does not depend on who else was in the queue.
"""

from __future__ import annotations

import io
import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from cinemae.app.report.drawings import Drawings
from cinemae.detect.detector import Detector
from cinemae.detect.verdict import Verdict
from cinemae.errors import log_unexpected
from cinemae.sources.stream import NUM_WORKERS

FIRST_GUESS_SECONDS = 0.1
"""What an image is taken to need until one was scored."""


class Kind(Enum):
    """What is asked of an image; only images of one kind go together."""

    PLAIN = "plain"
    STABLE = "stable"
    HEATMAP = "heatmap"
    BARE_HEATMAP = "bare heatmap"
    REPORT = "report"
    STABLE_REPORT = "stable report"

    @property
    def draws(self) -> bool:
        """Whether a heat map is asked for."""
        return self in (Kind.HEATMAP, Kind.BARE_HEATMAP)

    @property
    def reports(self) -> bool:
        """Whether the pictures of a report are asked for."""
        return self in (Kind.REPORT, Kind.STABLE_REPORT)

    @property
    def stable(self) -> bool:
        """Whether re-deliveries are scored as well."""
        return self in (Kind.STABLE, Kind.STABLE_REPORT)


@dataclass(frozen=True)
class Scored:
    """What came of one image: its verdict, and the heat map as PNG or a report's pictures if that was asked for."""

    verdict: Verdict
    heatmap: bytes | None = None
    drawings: Drawings | None = None


class Observer(Protocol):
    """Is told of every batch, in the worker's thread."""

    def batch_scored(self, scored: Sequence[Scored], seconds: float) -> None:
        """Take note of a batch and how long it took."""
        ...


@dataclass(eq=False)
class _Job:
    data: bytes
    kind: Kind
    future: Future[Scored] = field(default_factory=Future)


class QueueFullError(Exception):
    """There is no room for the images.

    Args:
        retry_after: Seconds until there should be.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the queue is full for about {retry_after:.0f} s")
        self.retry_after = retry_after


class QueueClosedError(Exception):
    """The service is shutting down."""


@dataclass(frozen=True)
class BatchSettings:
    """The settings of `Batcher`; see `cinemae.app.serve.config.ServeConfig`."""

    workers: int
    max_batch: int
    max_wait: float
    queue: int
    max_pixels: int


class Batcher:
    """The queue and the threads that empty it.

    Args:
        detector: Scores the images; called from several threads.
        settings: How many at a time; max_wait in seconds.
        observer: Is told of every batch.
    """

    def __init__(self, detector: Detector, settings: BatchSettings, observer: Observer | None = None) -> None:
        self.detector, self.settings, self.observer = detector, settings, observer
        self._jobs: deque[_Job] = deque()
        self._pending = 0
        self._seconds = FIRST_GUESS_SECONDS
        self._closing = False
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(max(settings.workers, NUM_WORKERS), thread_name_prefix="cinemae-image")
        self._threads = [
            threading.Thread(target=self._work, name=f"cinemae-score-{index}", daemon=True)
            for index in range(settings.workers)
        ]

    def start(self) -> None:
        """Start the workers."""
        for thread in self._threads:
            thread.start()

    @property
    def ready(self) -> bool:
        """Whether images are taken and every worker is alive."""
        return not self._closing and all(thread.is_alive() for thread in self._threads)

    @property
    def pending(self) -> int:
        """Images that wait or are being scored."""
        return self._pending

    def require_room(self, count: int = 1) -> None:
        """Raise unless so many images would be taken now.

        Raises:
            QueueFullError: If there is no room.
            QueueClosedError: If no more are taken.
        """
        if self._closing:
            raise QueueClosedError
        if self._pending + count > self.settings.queue:
            raise QueueFullError(self._pending * self._seconds / self.settings.workers)

    def submit(self, images: Iterable[bytes], kind: Kind) -> list[Future[Scored]]:
        """Queue all of them or none.

        Args:
            images: Encoded images.
            kind: What is asked of them.

        Returns:
            One future an image, in their order. An image that cannot be read is a verdict with status "error".

        Raises:
            QueueFullError: If there is no room for all.
            QueueClosedError: If no more are taken.
        """
        jobs = [_Job(data, kind) for data in images]
        with self._changed:
            self.require_room(len(jobs))
            self._jobs.extend(jobs)
            self._pending += len(jobs)
            self._changed.notify_all()
        return [job.future for job in jobs]

    def abandon(self, futures: Sequence[Future[Scored]]) -> None:
        """Drop what still waits of these: nobody wants the answer any more."""
        unwanted = {id(future) for future in futures if not future.done()}
        if not unwanted:
            return
        with self._changed:
            kept = [job for job in self._jobs if id(job.future) not in unwanted]
            self._pending -= len(self._jobs) - len(kept)
            self._jobs = deque(kept)
        for future in futures:
            future.cancel()

    def close(self) -> None:
        """Take no more, score all that was taken, and end the workers."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._pool.shutdown()

    def _work(self) -> None:
        while batch := self._take():
            begin = time.perf_counter()
            scored = self._score(batch)
            seconds = time.perf_counter() - begin
            with self._changed:
                self._pending -= len(batch)
                if scored:
                    self._seconds += 0.1 * (seconds / len(scored) - self._seconds)  # a running mean
            if scored and self.observer is not None:
                self.observer.batch_scored(scored, seconds)

    def _take(self) -> list[_Job]:
        """Wait for images and return some of one kind; none at the end."""
        limit = self.settings.max_batch
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._jobs or self._closing)
                if self.settings.max_wait and not self._closing:
                    self._changed.wait_for(lambda: len(self._jobs) >= limit or self._closing, self.settings.max_wait)
                if self._jobs:
                    share = math.ceil(len(self._jobs) / self.settings.workers)
                    batch = [self._jobs.popleft()]
                    while len(batch) < min(limit, share) and self._jobs[0].kind is batch[0].kind:
                        batch.append(self._jobs.popleft())
                    return batch
                if self._closing:
                    return []  # else another worker took them meanwhile

    def _score(self, batch: Sequence[_Job]) -> list[Scored]:
        """Answer every job of a batch that is still wanted; return what came of them."""
        wanted = [job for job in batch if job.future.set_running_or_notify_cancel()]
        scored, waiting = list[Scored](), deque(wanted)
        try:
            for verdict in self._verdicts(waiting):
                scored.append(_answer(waiting[0], verdict))
                waiting.popleft()
        except Exception:  # what broke for one image must not take the others with it
            scored += [self._score_alone(job) for job in waiting]
        return scored

    def _verdicts(self, jobs: Sequence[_Job]) -> Iterator[Verdict]:
        kind = jobs[0].kind if jobs else Kind.PLAIN
        return self.detector.detect_batch(
            [job.data for job in jobs],
            batch_size=self.settings.max_batch,
            keep_pixels=kind.draws or kind.reports,
            stable=kind.stable,
            max_pixels=self.settings.max_pixels,
            pool=self._pool,
        )

    def _score_alone(self, job: _Job) -> Scored:
        try:
            return _answer(job, next(self._verdicts([job])))
        except Exception as error:  # one that the detector could not make a verdict of, such as a map's
            scored = Scored(Verdict(None, "error", error_message=log_unexpected(error)))
            job.future.set_result(scored)
            return scored


def _answer(job: _Job, verdict: Verdict) -> Scored:
    """Hand a verdict to whoever waits; draw first what was asked for."""
    heatmap = None
    drawings = Drawings.of(verdict) if job.kind.reports else None
    if job.kind.draws and verdict.status == "ok":
        buffer = io.BytesIO()
        verdict.heatmap(legend=job.kind is Kind.HEATMAP).save(buffer, "PNG")
        heatmap = buffer.getvalue()
    scored = Scored(verdict.without_pixels(), heatmap, drawings)
    job.future.set_result(scored)
    return scored
