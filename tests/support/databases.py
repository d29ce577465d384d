"""Opens databases and clients of the service with the settings that a test needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from httpx import ASGITransport, AsyncClient

from app.core.db import Database
from app.main import create_app
from app.settings import Settings
from app.users.passwords import PasswordHasher
from tests.support.resources import replace_resources


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """Yield a database with connection pools of its own. They are closed when the block ends."""
    database = Database(settings)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def open_client(
    settings: Settings, password_hasher: PasswordHasher | None = None
) -> AsyncIterator[AsyncClient]:
    """Run the service in this process, with a database object for these settings."""
    async with open_database(settings) as database:
        app = create_app(settings)
        replace_resources(app, database=database, password_hasher=password_hasher)
        transport = ASGITransport(app, raise_app_exceptions=False)
        async with AsyncClient(transport=transport, base_url="http://test") as client:
            yield client
