"""What a request is answered with: the detector behind its queue, the limits, the keys, the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from starlette.requests import ClientDisconnect, Request

from cinemae.app.serve.batching import (
    Batcher,
    BatchSettings,
    Kind,
    QueueClosedError,
    QueueFullError,
    Scored,
)
from cinemae.app.serve.body import ByteBudget, Lease, Upload, read_images
from cinemae.app.serve.config import ServeConfig
from cinemae.app.serve.keys import ApiKeys
from cinemae.app.serve.metrics import Metrics
from cinemae.app.serve.problems import Problem, overloaded
from cinemae.detect.detector import DEFAULT_BATCH_SIZE, Detector
from cinemae.detect.heatmap import lcas_levels
from cinemae.errors import ModelDirError

_COME_AGAIN_SECONDS = 5.0


class Service:
    """Scores the images of requests.

    Args:
        config: The limits.
        detector: Scores them.
        keys: Who may ask.
    """

    def __init__(self, config: ServeConfig, detector: Detector, keys: ApiKeys) -> None:
        self.config, self.detector, self.keys = config, detector, keys
        self.metrics = Metrics(detector.model_id)
        settings = BatchSettings(
            workers=config.num_workers,
            max_batch=config.max_batch or (1 if detector.scorer.one_by_one else DEFAULT_BATCH_SIZE),
            max_wait=config.max_wait_ms / 1000,
            queue=config.queue,
            max_pixels=config.max_pixels,
        )
        self.batcher = Batcher(detector, settings, self.metrics)
        self.budget = ByteBudget(config.max_bytes_in_flight)
        self.metrics.watch("cinemae_images_pending", "Images that wait or are scored.", lambda: self.batcher.pending)
        self.metrics.watch("cinemae_bytes_in_flight", "Encoded bytes held in memory.", lambda: self.budget.used)

    async def score(self, request: Request, kind: Kind) -> list[tuple[Upload, Scored]]:
        """Read a request's images and score them.

        Args:
            request: Nothing of its body has been read.
            kind: What is asked.

        Returns:
            What came of each image, in their order.

        Raises:
            Problem: If the body is refused, the queue is full or the time is over.
            ClientDisconnect: If the client went away; what still waited is dropped.
        """
        lease, futures = self.budget.lease(), list[Future[Scored]]()
        try:
            self.batcher.require_room()
            uploads = await read_images(request, self.config, lease.take)
            request.scope["logged"] = {"images": len(uploads), "bytes": sum(len(one.data) for one in uploads)}
            if kind.draws and len(uploads) != 1:
                raise Problem(422, f"a heat map is made of one image, got {len(uploads)}: send one.", "one-image")
            futures = self.batcher.submit([upload.data for upload in uploads], kind)
            return list(zip(uploads, await self._wait(request, futures), strict=True))
        except QueueFullError as error:
            detail = f"the queue has no room for these images ({self.config.queue} at a time): send them again later."
            raise overloaded(detail, error.retry_after) from error
        except QueueClosedError as error:
            detail = "the service is shutting down: send the request again later."
            raise overloaded(detail, _COME_AGAIN_SECONDS) from error
        finally:
            self.batcher.abandon(futures)
            _release_when_done(lease, futures)

    def require_heatmaps(self) -> None:
        """Raise unless the model can draw heat maps.

        Raises:
            Problem: 404, if it holds no reference of photographs to draw the colours against.
        """
        try:
            lcas_levels(np.zeros(1), self.detector.config.reference)
        except ModelDirError as error:
            raise Problem(404, f"this service draws no heat maps: {error}", "no-heat-maps") from error

    async def _wait(self, request: Request, futures: Sequence[Future[Scored]]) -> list[Scored]:
        """Wait for all images, the end of the time, or the client's going."""
        everything = asyncio.gather(*map(asyncio.wrap_future, futures))
        gone = asyncio.create_task(_disconnect(request))
        waiting: set[asyncio.Future[Any]] = {everything, gone}
        try:
            await asyncio.wait(waiting, timeout=self.config.timeout, return_when=asyncio.FIRST_COMPLETED)
            if everything.done():
                return everything.result()
            if gone.done():
                raise ClientDisconnect
        finally:
            gone.cancel()
            everything.cancel()
        seconds = f"{self.config.timeout:g} seconds"
        raise overloaded(f"the images were not scored within {seconds}: send fewer, or later.", _COME_AGAIN_SECONDS)


async def _disconnect(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _release_when_done(lease: Lease, futures: Sequence[Future[Scored]]) -> None:
    """Give the bytes back when no worker holds them any more, which may be after the answer."""
    held = [asyncio.wrap_future(future) for future in futures if not future.done()]
    if held:
        asyncio.gather(*held, return_exceptions=True).add_done_callback(lambda _: lease.release())
    else:
        lease.release()
