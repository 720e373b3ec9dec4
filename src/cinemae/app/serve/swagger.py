"""The REST interface to read and to try in a browser, at ``/docs``: Swagger UI, served from here and from nowhere else.

The package fastapi-offline carries its files. Our own page around them needs no inline script, and asks no validator;
its style sheet mends what Swagger UI draws too faintly to be read by all.
"""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Response

from cinemae.app.serve.page import HEADERS, STATIC
from cinemae.app.serve.problems import Problem

_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
"""Swagger UI sets styles on its elements, and shows the pictures that it is answered."""


def swagger_routes() -> APIRouter:
    """Return the routes; they need no API key, as the document that they show."""
    router = APIRouter(include_in_schema=False)
    folder = files("fastapi_offline") / "static"
    served = {name: ((folder / name).read_bytes(), kind) for name, kind in _FILES.items()}
    page = (STATIC / "docs.html").read_bytes()

    @router.get("/docs")
    async def index() -> Response:
        return Response(page, media_type="text/html", headers=_HEADERS)

    @router.get("/docs/{name}")
    async def static(name: str) -> Response:
        if name not in served:
            raise Problem(404, "Not Found.")
        content, kind = served[name]
        return Response(content, media_type=kind, headers=_HEADERS)

    return router
