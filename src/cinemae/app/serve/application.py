"""The ASGI application, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from cinemae.app.serve.config import ServeConfig
from cinemae.app.serve.keys import ApiKeys
from cinemae.app.serve.middleware import ID_HEADER, HeadAsGet, Observed
from cinemae.app.serve.page import page_routes
from cinemae.app.serve.problems import add_problem_handlers
from cinemae.app.serve.routes import keyed, open_to_all
from cinemae.app.serve.schema import DESCRIPTION, build_document
from cinemae.app.serve.service import Service
from cinemae.app.serve.swagger import swagger_routes
from cinemae.detect.detector import Detector
from cinemae.version import __version__


class _Application(FastAPI):
    """FastAPI with our own OpenAPI document."""

    def openapi(self) -> dict[str, object]:
        if not self.openapi_schema:
            self.openapi_schema = build_document(self, keyed=self.state.service.keys.required)
        return self.openapi_schema


def create_app(config: ServeConfig, detector: Detector, keys: ApiKeys | None = None) -> FastAPI:
    """Make the application; its workers start and end with its lifespan.

    Args:
        config: The limits.
        detector: Scores the images.
        keys: Who may ask; None for everyone.
    """
    service = Service(config, detector, keys or ApiKeys())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        await asyncio.to_thread(service.batcher.close)

    app = _Application(
        title="cinemae",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(keyed)
    app.include_router(open_to_all)
    if config.page:
        app.include_router(page_routes(config))
        app.include_router(swagger_routes())
    add_problem_handlers(app)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Observed, metrics=service.metrics)
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type"],
            expose_headers=[ID_HEADER, "Retry-After"],
        )
    return app
