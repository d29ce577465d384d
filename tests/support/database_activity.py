"""What the service does in the database, seen from outside, and waiting for it."""

import asyncio
from typing import Any

import asyncpg

TIMEOUT_SECONDS = 10.0  # seconds until a test has failed
_COUNT = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'bookshelf' AND {}
"""
COUNT_BUSY = _COUNT.format("state <> 'idle'")  # active, or in a transaction
COUNT_SLEEPING = _COUNT.format("wait_event = 'PgSleep'")
COUNT_WAITING_FOR_LOCK = _COUNT.format("wait_event_type = 'Lock'")


async def wait_for_query_result(
    expected: Any, connection: asyncpg.Connection, query: str, patience: float = TIMEOUT_SECONDS
) -> None:
    """Look until the query finds what is expected; fail when the time is up."""
    found = None
    try:
        async with asyncio.timeout(patience):
            while (found := await connection.fetchval(query)) != expected:
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{found!r}, not {expected!r}: {query}") from None
