"""Opens databases with the settings that a test needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.core.db import Database
from app.settings import Settings


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """Yield a database with connection pools of its own. They are closed when the block ends."""
    database = Database(settings)
    try:
        yield database
    finally:
        await database.close()
