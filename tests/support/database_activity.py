"""What the service does in the database, seen from outside, and waiting for it."""

import asyncio
from typing import Any

import asyncpg

PATIENCE = 10.0  # seconds until a test has failed
_COUNT = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'bookshelf' AND {}
"""
BUSY = _COUNT.format("state <> 'idle'")  # active, or in a transaction
ASLEEP = _COUNT.format("wait_event = 'PgSleep'")
WAITING = _COUNT.format("wait_event_type = 'Lock'")


async def until(
    expected: Any, connection: asyncpg.Connection, query: str, patience: float = PATIENCE
) -> None:
    """Look until the query finds what is expected; fail when the time is up."""
    found = None
    try:
        async with asyncio.timeout(patience):
            while (found := await connection.fetchval(query)) != expected:
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{found!r}, not {expected!r}: {query}") from None
