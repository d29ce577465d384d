"""Creates the application from its settings: resources, middleware, routes and OpenAPI document."""

import gc
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Final

from fastapi import FastAPI

from app import TITLE, __version__, hosting
from app.api import select_routers, select_tags
from app.changes.repository import ChangeRepository
from app.core.change_watcher import ChangeWatcher
from app.core.db import Database
from app.core.http import (
    add_browser_files,
    add_documentation,
    add_routers,
    get_openapi_document,
    install_error_handlers,
    require_route_permissions,
    require_unused_root_path,
)
from app.core.observability import export_build_info
from app.core.server import Readiness, Shutdown, telemetry_config
from app.core.storage import Storage
from app.middleware import create_middleware
from app.resources import Resources
from app.settings import Settings
from app.tables import REQUIRED_REVISIONS
from app.tokens.service import PrincipalFinder
from app.users.passwords import PasswordHasher

# Markdown at the top of the OpenAPI document.
DESCRIPTION: Final = """\
Manage authors, books, documents and users.

- **JSON:** bodies are UTF-8, do not repeat a key of an object, and have at most 64 levels of arrays
  and objects, 100 members in an object, 300 digits in an integer, and 20,000 values. Otherwise,
  the response is 400.
- **Errors:** every error is a problem detail (RFC 9457). Programs can rely on `type` and `code`.
- **Versions:** authors, books, documents, users and tokens have a `version`, also in lists and
  files. It changes with the resource and with the resources that it displays, so the version of a
  book combines those of the book and of its author.
- **Conditional requests:** the `ETag` of a single resource is its version. `If-None-Match` avoids
  sending a resource that the client has already, and `If-Match` avoids overwriting the changes of
  other clients.
- **Retries:** a POST with an `Idempotency-Key` can be repeated without doing its work twice. Only
  the login does not accept a key.
- **Lists:** clients request the pages of a list by number or by cursor.
- **Files:** `/books.csv`, `/books.ndjson` and the like return a whole list, filtered and sorted.
- **HEAD:** every operation that supports GET supports HEAD.
"""
# How clients keep copies of the data up to date, with the change feed and without it (CHANGE_FEED).
CHANGE_FEED_DESCRIPTION: Final = """\
- **Synchronization:** `GET /changes` lists what was created, updated or deleted, without gaps, so
  that clients need not poll lists. Get a cursor with `after=now`, read the lists, and then request
  the changes after the cursor, with `wait=30`.
"""
POLLING_DESCRIPTION: Final = """\
- **Synchronization:** poll a list with `updated_from`, without `sort` and by cursor.
  `updated_from` is the `Date` header of the first response of the previous poll, minus an overlap
  that is longer than every transaction: one minute for requests, and the duration of the longest
  import. Ignore items whose `id` and `version` are known. A poll reports neither deleted items nor
  books whose author was changed, so poll authors as well, and sometimes compare all ids.
"""
# Markdown in the login form of the documentation page.
LOGIN_DESCRIPTION: Final = """\
Log in with the email (`username`) and the password of a user. Everyone can register with
`POST /users`. An operator creates the first admin with `python -m app users create-admin EMAIL`.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Create the ASGI application that serves the API.

    Connections to the database and the object store are opened by the first requests that need
    them. Raises `MissingPermission` if a route does not state the permission that it requires.

    Args:
        settings: None reads the environment, and adds to the startup what `hosting` describes.
    """
    is_hosted = settings is None
    settings = settings or hosting.load_settings()
    export_build_info("server", __version__, REQUIRED_REVISIONS[-1])
    shutdown = Shutdown()
    app = FastAPI(
        title=TITLE,
        version=__version__,
        description=_describe(settings),
        openapi_tags=select_tags(settings),
        # `add_documentation` adds these pages instead of FastAPI.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # The middleware serves paths with a trailing slash, without a redirect.
        redirect_slashes=False,
        middleware=create_middleware(settings, shutdown, is_hosted=is_hosted),
        lifespan=_choose_lifespan(settings, shutdown, is_hosted=is_hosted),
        telemetry=telemetry_config(),
    )
    app.state.resources = _create_resources(settings, shutdown)
    add_routers(app, select_routers(settings), http_fast_path=settings.http_fast_path)
    add_browser_files(app)
    if settings.docs_enabled:
        add_documentation(app, settings)
    require_route_permissions(app)
    require_unused_root_path(app, settings.root_path)
    app.openapi = partial(  # type: ignore[method-assign]
        get_openapi_document, app, settings, LOGIN_DESCRIPTION
    )
    install_error_handlers(app)
    return app


def _describe(settings: Settings) -> str:
    """Return the description of the service in the OpenAPI document."""
    return DESCRIPTION + (CHANGE_FEED_DESCRIPTION if settings.change_feed else POLLING_DESCRIPTION)


def _create_resources(settings: Settings, shutdown: Shutdown) -> Resources:
    """Create the objects that all requests of an application share, such as the database.

    They open their connections later, when a request needs them.
    """
    database = Database(settings)
    storage = Storage(settings)
    return Resources(
        settings=settings,
        database=database,
        find_principal=PrincipalFinder(database).find,
        readiness=Readiness(database, storage, REQUIRED_REVISIONS, shutdown),
        storage=storage,
        password_hasher=PasswordHasher(),
        change_watcher=ChangeWatcher(
            ChangeRepository(database.reads).find_new_changes, lambda: shutdown.has_begun
        ),
    )


def _choose_lifespan(
    settings: Settings, shutdown: Shutdown, *, is_hosted: bool
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return what another server (`is_hosted`) or our own runs at startup and shutdown."""
    if is_hosted:
        return partial(_hosted_lifespan, settings, shutdown)
    return partial(_lifespan, shutdown)


@asynccontextmanager
async def _hosted_lifespan(
    settings: Settings, shutdown: Shutdown, app: FastAPI
) -> AsyncIterator[None]:
    """Do what `python -m app serve` does before it creates an application, and then `_lifespan`."""
    async with hosting.prepare(settings) as complete_settings:
        if complete_settings != settings:
            app.state.resources = _create_resources(complete_settings, shutdown)
        # No load balancer has to notice the end of a process that a reload replaces.
        is_delayed = settings.app_env != "development"
        async with _lifespan(shutdown, app, shutdown_is_delayed=is_delayed):
            yield


@asynccontextmanager
async def _lifespan(
    shutdown: Shutdown, app: FastAPI, *, shutdown_is_delayed: bool = True
) -> AsyncIterator[None]:
    """Prepare the process before the first request, and close all connections at shutdown.

    The server enters this context manager when it starts, and leaves it when it stops.
    """
    # A route may have been added after the check in `create_app`.
    require_route_permissions(app)
    # Freeze objects created at startup so the garbage collector does not scan them again.
    gc.collect()
    gc.freeze()
    # Collect garbage less often than by default. Reference counting frees most objects anyway.
    gc.set_threshold(20_000, 50, 100)
    delay = shutdown.delay_server_shutdown() if shutdown_is_delayed else nullcontext()
    try:
        with delay:
            yield
    finally:
        await app.state.resources.close()


# The type of the attribute that `__getattr__` creates.
app: FastAPI


def __getattr__(name: str) -> FastAPI:
    """Create the application when a server, such as `uvicorn app.main:app`, first reads `app`.

    Python calls this function if the module has no attribute `name`. An ordinary global variable
    would read the environment whenever a program, such as a test, imports this module.
    """
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        application = create_app()
    except AttributeError as error:
        # A server would conclude from an AttributeError that this module has no `app`.
        raise RuntimeError("the application cannot be created") from error
    globals()["app"] = application
    return application


def __dir__() -> list[str]:
    """Return the names of this module. `fastapi dev app/main.py` looks for `app` among them."""
    return sorted({*globals(), "app"})


# hypercorn looks for the name in the dictionary of this module, which bypasses `__getattr__`.
if "hypercorn" in sys.modules:
    app = create_app()
