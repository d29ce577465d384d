"""Clients that send their requests directly to an application, without a server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from httpx import ASGITransport, AsyncClient
from starlette.types import ASGIApp

from app.core.db import Database
from app.core.storage import Storage
from app.main import create_app
from tests.support.resources import replace_resources
from tests.support.settings import make_settings


def open_client(app: ASGIApp, **options: Any) -> AsyncClient:
    """Return a client that gets a 500 response for an unexpected exception.

    `options` are arguments of `AsyncClient`, for example `headers`.
    """
    transport = ASGITransport(app, raise_app_exceptions=False)
    return AsyncClient(transport=transport, base_url="http://test", **options)


@asynccontextmanager
async def client_with_settings(
    template_url: str, database: Database, storage: Storage, **settings: object
) -> AsyncIterator[AsyncClient]:
    """Yield a client of an application with these settings, for example `docs_enabled=False`.

    The application uses the database and the storage of the test.
    """
    app = create_app(make_settings(template_url, **settings))
    replace_resources(app, database=database, storage=storage)
    async with open_client(app) as client:
        yield client
