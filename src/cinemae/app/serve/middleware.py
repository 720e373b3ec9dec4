"""Around every request: an id, a log line, metrics, safe headers, and no exception that gets out."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cinemae.app.serve.logs import logger
from cinemae.app.serve.metrics import Metrics
from cinemae.app.serve.problems import CLIENT_CLOSED_REQUEST, Problem

ID_HEADER = "X-Request-ID"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_KNOWN_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class Observed:
    """An ASGI application, observed.

    Args:
        app: What answers.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(ID_HEADER, "")
        scope["request_id"] = given if _ID.fullmatch(given) else uuid.uuid4().hex
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[ID_HEADER] = scope["request_id"]
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        begin = time.perf_counter()
        with self.metrics.in_progress.track_inprogress():
            try:
                await self.app(scope, receive, send_with_headers)
            except Exception:
                logger.exception("a request failed", extra={"fields": {"request_id": scope["request_id"]}})
                if not status:
                    problem = Problem(500, "the service failed on this request: its log says more, by the request id.")
                    await problem.response()(scope, receive, send_with_headers)
            finally:
                self._record(scope, status or CLIENT_CLOSED_REQUEST, time.perf_counter() - begin)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        """Log and count; a path that is no route, or a method that nobody knows, is not repeated."""
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _KNOWN_METHODS else "other"
        self.metrics.requests.labels(method, route, status).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)
        fields: dict[str, Any] = {
            "request_id": scope["request_id"],
            "method": method,
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
            **scope.get("logged", {}),
        }
        logger.info("request", extra={"fields": fields})


class HeadAsGet:
    """Answer HEAD as GET, without the body: FastAPI has a route for GET alone.

    Args:
        app: The application within.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self.app({**scope, "method": "GET"}, receive, send_head)
