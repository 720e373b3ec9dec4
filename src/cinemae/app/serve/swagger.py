"""The REST interface to read and to try in a browser, at ``/docs``: Swagger UI, served from here and from nowhere else.

The package fastapi-offline carries its files. Our own page around them needs no inline script, and asks no validator.
"""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Response

from cinemae.app.serve.page import HEADERS
from cinemae.app.serve.problems import Problem

_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_START = """\
SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger", deepLinking: true, validatorUrl: null });
"""
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cinemae: REST interface</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<script defer src="docs/swagger-ui-bundle.js"></script>
<script defer src="docs/start.js"></script>
</head>
<body><div id="swagger"></div></body>
</html>
"""
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
    served["start.js"] = (_START.encode(), "text/javascript")

    @router.get("/docs")
    async def index() -> Response:
        return Response(_PAGE, media_type="text/html", headers=_HEADERS)

    @router.get("/docs/{name}")
    async def static(name: str) -> Response:
        if name not in served:
            raise Problem(404, "Not Found.")
        content, kind = served[name]
        return Response(content, media_type=kind, headers=_HEADERS)

    return router
