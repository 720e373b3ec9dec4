"""The service's routes. Bodies are read by `cinemae.app.serve.body`, so that nothing is spooled to disk."""

from __future__ import annotations

import dataclasses
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query, Request, Response, Security
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from cinemae.app.report.document import ReportContext, render
from cinemae.app.serve.batching import Kind, Scored
from cinemae.app.serve.body import Upload
from cinemae.app.serve.problems import Problem, describe
from cinemae.app.serve.schema import RESULTS_SCHEMA, request_body
from cinemae.app.serve.service import Service
from cinemae.detect.verdict import Verdict
from cinemae.errors import UNEXPECTED
from cinemae.verdict_row import VerdictRow
from cinemae.version import __version__

_REFUSED = describe(400, 401, 408, 411, 413, 415, 422, 500, 503)
_PNG = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
_JSON = {"application/json": {"schema": {"type": "object"}}}


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


async def _require_key(
    request: Request,
    header: Annotated[str | None, Security(APIKeyHeader(name="X-API-Key", auto_error=False))],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))],
) -> None:
    keys = _service(request).keys
    if not keys.allow(header if header is not None else bearer.credentials if bearer else None):
        detail = "the service needs an API key: send it as Authorization: Bearer KEY, or as X-API-Key: KEY."
        raise Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})


_Stable = Annotated[
    bool,
    Query(
        description="Score re-deliveries of each image too (saved anew, smaller, mirrored, other masks); where one of "
        "them gets another verdict, the verdict is uncertain. Takes six times as long."
    ),
]
keyed = APIRouter(dependencies=[Depends(_require_key)])
"""What needs an API key, if there are any."""

open_to_all = APIRouter()
"""What tells no more than that the service is there."""


@keyed.post(
    "/v1/detect",
    tags=["images"],
    summary="Score images",
    response_class=JSONResponse,
    responses={
        200: {"content": {"application/json": {"schema": RESULTS_SCHEMA}}},
        **_REFUSED,
    },
    openapi_extra={"requestBody": request_body()},
)
async def detect(
    request: Request,
    stable: _Stable = False,
) -> Response:
    """Return one row an image, as `cinemae detect --format jsonl` writes it; `path` is the file name given."""
    kind = Kind.STABLE if stable else Kind.PLAIN
    scored = await _service(request).score(request, kind)
    _require_readable(scored)
    return JSONResponse({"results": _rows(scored)})


@keyed.post(
    "/v1/heatmap",
    tags=["images"],
    summary="Draw how hard each part of an image is to predict from its surroundings",
    response_class=Response,
    responses={200: {"content": _PNG}, **describe(404), **_REFUSED},
    openapi_extra={"requestBody": request_body(most=1)},
)
async def heatmap(
    request: Request,
    legend: Annotated[
        bool, Query(description="Draw the colour bar below; without it the map has the proportions of the image.")
    ] = True,
) -> Response:
    """Return a PNG. Photographs and generated images both have parts that are hard to predict."""
    service = _service(request)
    service.require_heatmaps()
    scored = await service.score(request, Kind.HEATMAP if legend else Kind.BARE_HEATMAP)
    _require_readable(scored)
    return Response(scored[0][1].heatmap, media_type="image/png")


@keyed.post(
    "/v1/report",
    tags=["images"],
    summary="Make a report to keep: one HTML page on some images",
    response_class=Response,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}, **_REFUSED},
    openapi_extra={"requestBody": request_body()},
)
async def report(
    request: Request,
    stable: _Stable = False,
) -> Response:
    """Return the page that `cinemae detect --report` writes; an image that cannot be read is told in it."""
    service = _service(request)
    scored = await service.score(request, Kind.STABLE_REPORT if stable else Kind.REPORT)
    named = [(dataclasses.replace(one.verdict, path=upload.name), one.drawings) for upload, one in scored]
    page = render(named, ReportContext.now(service.detector.decision))
    headers = {"Content-Disposition": 'attachment; filename="cinemae-report.html"'}
    return Response(page, media_type="text/html", headers=headers)


@keyed.get(
    "/v1/model",
    tags=["service"],
    summary="Tell the model, its thresholds and the limits",
    responses={200: {"content": _JSON}, **describe(401, 500)},
)
async def model(request: Request) -> JSONResponse:
    """Return which model scores, how it decides, and what a request may hold."""
    service = _service(request)
    detector, config = service.detector, service.config
    limits = ("max_bytes", "max_pixels", "max_files", "timeout")
    return JSONResponse(
        {
            "model": detector.model_id,
            "version": __version__,
            "fingerprint": detector.config.fingerprint,
            "decision": detector.decision.to_dict(),
            "limits": {name: getattr(config, name) for name in limits},
        }
    )


@keyed.get(
    "/metrics",
    tags=["service"],
    summary="Tell Prometheus how the service does",
    responses={200: {"content": {"text/plain": {}}}, **describe(401, 500)},
)
async def metrics(request: Request) -> Response:
    """Return counts and times."""
    content, media_type = _service(request).metrics.expose(request.headers.get("accept", ""))
    return Response(content, headers={"Content-Type": media_type})


@open_to_all.get(
    "/healthz", tags=["service"], summary="Tell that the process lives", responses={200: {"content": _JSON}}
)
async def healthz() -> JSONResponse:
    """Answer 200 as long as the process lives."""
    return JSONResponse({"status": "ok"})


@open_to_all.get(
    "/readyz",
    tags=["service"],
    summary="Tell whether images are scored",
    responses={200: {"content": _JSON}, **describe(503)},
)
async def readyz(request: Request) -> JSONResponse:
    """Answer 200 if so, else 503."""
    if not _service(request).batcher.ready:
        raise Problem(503, "no images are scored: the service is starting, stopping or broken.", "not-ready")
    return JSONResponse({"status": "ok"})


def _rows(scored: list[tuple[Upload, Scored]]) -> list[VerdictRow]:
    return [dataclasses.replace(one.verdict, path=upload.name).to_dict() for upload, one in scored]


def _require_readable(scored: list[tuple[Upload, Scored]]) -> None:
    """Refuse a request whose one image could not be read; among several it is a row."""
    verdict: Verdict = scored[0][1].verdict
    if len(scored) == 1 and verdict.status == "error":
        message, members = verdict.error_message or "", {"results": _rows(scored)}
        if message.startswith(UNEXPECTED):  # ours to mend, not the client's
            raise Problem(500, message, members=members)
        raise Problem(422, message, "unreadable-image", members=members)
