"""A client of an application whose settings differ from those of the other tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from httpx import ASGITransport, AsyncClient

from app.core.db import Database
from app.core.storage import Storage
from app.main import create_app
from tests.support.resources import replace_resources
from tests.support.settings import make_settings


@asynccontextmanager
async def client_with_settings(
    template_url: str, database: Database, storage: Storage, **settings: object
) -> AsyncIterator[AsyncClient]:
    """Yield a client of an application with these settings, for example `docs_enabled=False`.

    The application uses the database and the storage of the test.
    """
    app = create_app(make_settings(template_url, **settings))
    replace_resources(app, database=database, storage=storage)
    transport = ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
