"""What is answered when there is no result: RFC 9457 problem details, ``application/problem+json``."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

MEDIA_TYPE = "application/problem+json"
CLIENT_CLOSED_REQUEST = 499
"""What the log says of a client that went away; nobody reads the answer."""

CLOSE = {"Connection": "close"}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. Every answer that is no result has this form, but for a request that is not HTTP.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri",
            "description": "Which kind of problem; about:blank for HTTP's own.",
        },
        "title": {"type": "string", "description": "The kind in words."},
        "status": {"type": "integer", "description": "The HTTP status code."},
        "detail": {"type": "string", "description": "What came and what to do."},
        "results": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/Verdict"},
            "description": "With 422 for an image that cannot be read: the row that it would be among others.",
        },
    },
}


class Problem(Exception):  # noqa: N818 - the name of the RFC; it is an answer more than an error
    """An answer other than the result.

    Args:
        status: HTTP status code.
        detail: What came and what to do, one sentence.
        kind: The last word of the type; None for ``about:blank``, a plain HTTP error.
        headers: Of the answer.
        members: Further members of the JSON object.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        kind: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.kind = status, detail, kind
        self.headers, self.members = dict(headers or {}), dict(members or {})

    def response(self) -> JSONResponse:
        """Return the answer."""
        title = HTTPStatus(self.status).phrase if self.kind is None else self.kind.replace("-", " ").capitalize()
        content = {
            "type": "about:blank" if self.kind is None else f"urn:cinemae:problem:{self.kind}",
            "title": title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }
        return JSONResponse(content, self.status, self.headers, MEDIA_TYPE)


def overloaded(detail: str, retry_after: float) -> Problem:
    """Return 503 with the header that says when to come again, in whole seconds."""
    return Problem(503, detail, "overloaded", headers={"Retry-After": str(max(1, round(retry_after)))})


def add_problem_handlers(app: FastAPI) -> None:
    """Make every error of the application a problem."""

    @app.exception_handler(Problem)
    async def answer_problem(_: Request, problem: Problem) -> Response:
        return problem.response()

    @app.exception_handler(HTTPException)
    async def answer_http(_: Request, error: HTTPException) -> Response:
        return Problem(error.status_code, f"{error.detail}.", headers=error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def answer_validation(_: Request, error: RequestValidationError) -> Response:
        reasons = [f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors()]
        return Problem(422, f"{'; '.join(reasons)}.", "invalid-parameter").response()

    @app.exception_handler(ClientDisconnect)
    async def answer_nobody(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)


def describe(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route for these status codes."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: schema}} for status in statuses}
