"""What Prometheus may know: counts and times, nothing of an image but its verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

from cinemae.app.serve.batching import Scored
from cinemae.version import __version__

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The service's metrics, in a registry of their own.

    Args:
        model_id: The model's name and settings.
    """

    def __init__(self, model_id: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        build = Gauge("cinemae_build_info", "Always 1.", ["version", "model"], registry=self.registry)
        build.labels(__version__, model_id).set(1)
        self.requests = Counter(
            "cinemae_requests", "Answered requests.", ["method", "route", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "cinemae_request_seconds", "From headers to answer.", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self.in_progress = Gauge("cinemae_requests_in_progress", "Requests being answered.", registry=self.registry)
        self.images = Counter("cinemae_images", "Scored images.", ["verdict"], registry=self.registry)
        self.batch_images = Histogram(
            "cinemae_batch_images", "Images scored together.", buckets=(1, 2, 4, 8, 16, 32), registry=self.registry
        )
        self.batch_seconds = Histogram(
            "cinemae_batch_seconds", "To decode and score a batch.", buckets=_SECONDS, registry=self.registry
        )

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Add a gauge that is read when asked for."""
        Gauge(name, what, registry=self.registry).set_function(value)

    def batch_scored(self, scored: Sequence[Scored], seconds: float) -> None:
        """Count a batch; see `cinemae.app.serve.batching.Observer`."""
        self.batch_images.observe(len(scored))
        self.batch_seconds.observe(seconds)
        for one in scored:
            self.images.labels(one.verdict.verdict or "error").inc()

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Return all of it in the text format that the client accepts, and the format's media type."""
        encoder, media_type = choose_encoder(accept)
        return encoder(self.registry), media_type
