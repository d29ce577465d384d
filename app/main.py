"""The composition root: settings in, application out."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from app import __version__
from app.api import ROUTERS, TAGS
from app.core.http import (
    add_documentation,
    add_routers,
    install_error_handlers,
    openapi_document,
    require_permissions,
)
from app.core.server import Gate, InactivityTimeout, Readiness, RequestContext, Semantics, telemetry
from app.resources import create_resources
from app.settings import Settings
from app.tables import REVISION

DESCRIPTION: Final = """\
Authors, books, documents and users. Every error is a problem (RFC 9457); single resources have an
`ETag` and take `If-Match` and `If-None-Match`; a POST with an `Idempotency-Key` may be sent again;
lists have pages and cursors; every GET also answers HEAD.
"""
EXPOSED: Final = (
    *("ETag", "Idempotency-Replayed", "Link", "Location"),
    *("Retry-After", "WWW-Authenticate", "X-Request-ID"),
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application. Without settings, it reads them from the environment.

    Its lifespan closes what requests have opened. Raises `RuntimeError` if a route states no
    permission.
    """
    settings = settings or Settings()
    app = FastAPI(
        title="Bookshelf",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=_middleware(settings),
        lifespan=_lifespan,
        telemetry=telemetry(),
    )
    app.state.resources = create_resources(settings)
    app.state.schema = REVISION
    app.state.readiness = Readiness(app.state)
    add_routers(app, ROUTERS, fast_dispatch=settings.http_fast_path)
    if settings.docs_enabled:
        add_documentation(app, settings)
    require_permissions(app)
    anonymous_access = settings.anonymous_access or "none"
    app.openapi = partial(openapi_document, app, anonymous_access)  # type: ignore[method-assign]
    install_error_handlers(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    # A route may have been added after `create_app` has checked them all.
    require_permissions(app)
    # Freeze objects created at startup so the garbage collector does not scan them again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    with app.state.readiness.until_stopped():
        yield
    await app.state.resources.close()


def _middleware(settings: Settings) -> list[Middleware]:
    """The outermost first."""
    timing, metered = settings.app_env == "development", settings.metrics_port > 0
    found = [
        Middleware(RequestContext, timing=timing, metered=metered),
        Middleware(Gate, hosts=settings.allowed_hosts),
        Middleware(InactivityTimeout, settings.request_timeout),
    ]
    if settings.cors_origins:
        found.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=EXPOSED,
            )
        )
    return [*found, Middleware(Semantics)]
