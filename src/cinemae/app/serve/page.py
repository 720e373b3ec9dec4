"""The page at ``/``: a few files read once and served from memory. It talks with this service and with nobody else."""

from __future__ import annotations

import html
import json
from pathlib import Path
from string import Template

from fastapi import APIRouter, Response

from cinemae.app.serve.config import ServeConfig
from cinemae.app.serve.problems import Problem
from cinemae.detect.reasons import GROUPS
from cinemae.detect.words import WORDS
from cinemae.evidence.image_warnings import WARNINGS
from cinemae.sources.records import IMAGE_SUFFIXES
from cinemae.version import __version__

MAX_FILES = 2000
"""Images that the page lists; they are sent a few at a time. What is more is work for ``cinemae detect``."""

STATIC = Path(__file__).resolve().parent / "static"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer here. The browser then loads, sends and runs nothing but what this service serves."""

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def page_routes(config: ServeConfig) -> APIRouter:
    """Return the routes of the page; they need no API key, for they tell nothing that is not public.

    Args:
        config: The page names its limits.
    """
    router = APIRouter(include_in_schema=False)
    page = render(config)
    files = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in _TYPES}

    @router.get("/")
    async def index() -> Response:
        return Response(page, media_type="text/html", headers=HEADERS)

    @router.get("/static/{name}")
    async def static(name: str) -> Response:
        if name not in files:
            raise Problem(404, "Not Found.")
        return Response(files[name], media_type=_TYPES[Path(name).suffix], headers=HEADERS)

    return router


def render(config: ServeConfig) -> str:
    """Return the page's HTML with its limits and the sentences that explain warnings."""
    template = Template((STATIC / "index.html").read_text(encoding="utf-8"))
    pairs = (f"<dt>{html.escape(name)}</dt><dd>{html.escape(sentence)}</dd>" for name, sentence in WARNINGS.items())
    return template.substitute(
        max_files=MAX_FILES,
        max_bytes=config.max_bytes,
        words=html.escape(json.dumps({**WORDS, "error": "could not be read"})),
        groups=html.escape(json.dumps(dict(GROUPS))),
        suffixes=",".join(sorted(IMAGE_SUFFIXES)),
        version=__version__,
        warnings="\n".join(pairs),
    )
