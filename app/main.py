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
from app.core.db import Database
from app.core.http import OPENAPI_PATH, install_docs, install_error_handlers, openapi_document
from app.core.server import Gate, InactivityTimeout, Readiness, RequestContext, Semantics, telemetry
from app.core.storage import Storage
from app.settings import Settings
from app.tables import REVISION
from app.tokens.service import find_principal
from app.users.passwords import Passwords

DESCRIPTION: Final = """\
Authors, books, documents and users. Every error is a problem (RFC 9457); single resources have an
`ETag` and take `If-Match` and `If-None-Match`; a POST with an `Idempotency-Key` may be sent again;
lists have pages and cursors; every GET also answers HEAD.
"""
EXPOSED: Final = (
    *("ETag", "Idempotency-Replayed", "Link", "Location"),
    *("Retry-After", "WWW-Authenticate", "X-Request-ID"),
)


def create_app(settings: Settings) -> FastAPI:
    """The application. Its lifespan opens what needs the event loop, and closes it."""
    app = FastAPI(
        title="Bookshelf",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        openapi_url=OPENAPI_PATH if settings.docs_enabled else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Flat, for an included router is matched twice by every request.
        routes=[route for router in ROUTERS for route in router.routes],
        middleware=_middleware(settings),
        lifespan=partial(_lifespan, settings),
        telemetry=telemetry(),
    )
    if settings.docs_enabled:
        install_docs(app, settings)
    app.openapi = partial(openapi_document, app)  # type: ignore[method-assign]
    app.state.schema, app.state.settings, app.state.look_up = REVISION, settings, find_principal
    app.state.readiness = Readiness(app.state)
    app.state.idempotent_requests_in_progress = set[bytes]()
    install_error_handlers(app)
    return app


@asynccontextmanager
async def _lifespan(settings: Settings, app: FastAPI) -> AsyncIterator[None]:
    app.state.database, app.state.passwords = Database(settings), Passwords()
    app.state.storage = Storage(settings)
    # What start-up made lives as long as the process: the collector need not walk it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    with app.state.readiness.until_stopped():
        yield
    # The database first, because its callbacks after a commit may use the storage.
    await app.state.database.close()
    app.state.passwords.close()
    app.state.storage.close()


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
