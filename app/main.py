"""The composition root: settings in, application out."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from app import TITLE, __version__
from app.api import ROUTERS, TAGS
from app.core.db import Database
from app.core.http import (
    RequirePermissions,
    add_documentation,
    add_routers,
    install_error_handlers,
    openapi_document,
    require_permissions,
)
from app.core.server import (
    HeadAndTrailingSlash,
    InactivityTimeout,
    Readiness,
    RequestContext,
    RequestLimits,
    Shutdown,
    telemetry_config,
)
from app.core.storage import Storage
from app.resources import Resources
from app.settings import Settings
from app.tables import REVISION
from app.tokens.service import find_principal
from app.users.passwords import PasswordHasher

DESCRIPTION: Final = """\
Authors, books, documents and users. Every error is a problem (RFC 9457). Single resources have an
`ETag` and accept `If-Match` and `If-None-Match`. Every resource has the same value as `version`,
also in lists and files. It changes whenever a displayed value changes: the version of a book
combines those of the book and of its author. A POST with an `Idempotency-Key` may be sent again.
Lists have pages and cursors. Every GET also answers HEAD.
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
    shutdown = Shutdown()
    app = FastAPI(
        title=TITLE,
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=_middleware(settings, shutdown),
        lifespan=partial(_lifespan, shutdown),
        telemetry=telemetry_config(),
    )
    app.state.resources = _create_resources(settings, shutdown)
    add_routers(app, ROUTERS, fast_dispatch=settings.http_fast_path)
    if settings.docs_enabled:
        add_documentation(app, settings)
    require_permissions(app)
    anonymous_access = settings.anonymous_access or "none"
    app.openapi = partial(openapi_document, app, anonymous_access)  # type: ignore[method-assign]
    install_error_handlers(app)
    return app


def _create_resources(settings: Settings, shutdown: Shutdown) -> Resources:
    database = Database(settings)
    storage = Storage(settings)
    return Resources(
        settings=settings,
        database=database,
        find_principal=find_principal,
        readiness=Readiness(database, storage, REVISION, shutdown),
        storage=storage,
        password_hasher=PasswordHasher(),
    )


@asynccontextmanager
async def _lifespan(shutdown: Shutdown, app: FastAPI) -> AsyncIterator[None]:
    # A route may have been added after `create_app` has checked them all.
    require_permissions(app)
    # Freeze objects created at startup so the garbage collector does not scan them again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    try:
        with shutdown.delay_server_shutdown():
            yield
    finally:
        await app.state.resources.close()


def _middleware(settings: Settings, shutdown: Shutdown) -> list[Middleware]:
    """The outermost first."""
    timing, metered = settings.app_env == "development", settings.metrics_port > 0
    middleware = [
        Middleware(RequestContext, server_timing_enabled=timing, metrics_enabled=metered),
        Middleware(RequestLimits, hosts=settings.allowed_hosts),
        Middleware(InactivityTimeout, settings.request_timeout, shutdown),
    ]
    if settings.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=EXPOSED,
            )
        )
    return [*middleware, Middleware(HeadAndTrailingSlash), Middleware(RequirePermissions)]
