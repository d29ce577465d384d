"""Queries that show what the service is doing in its database, and a function that polls them."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import asyncpg

T = TypeVar("T")
TIMEOUT_SECONDS = 10.0
_COUNT_CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'bookshelf' AND {}
"""
# The number of connections that execute a statement or are in a transaction.
COUNT_BUSY = _COUNT_CONNECTIONS.format("state <> 'idle'")
# The number of connections that execute `SELECT pg_sleep(...)`.
COUNT_SLEEPING = _COUNT_CONNECTIONS.format("wait_event = 'PgSleep'")
COUNT_WAITING_FOR_STANDBY = _COUNT_CONNECTIONS.format("wait_event = 'SyncRep'")
COUNT_WAITING_FOR_LOCK = _COUNT_CONNECTIONS.format("wait_event_type = 'Lock'")


async def wait_for_query_result(
    expected: Any, connection: asyncpg.Connection, query: str, timeout: float = TIMEOUT_SECONDS
) -> None:
    """Execute a query again and again until its first value is the expected one.

    Raises `AssertionError`, with the last value, after `timeout` seconds.
    """
    value = None
    try:
        async with asyncio.timeout(timeout):
            while (value := await connection.fetchval(query)) != expected:
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{value!r} instead of {expected!r}: {query}") from None


async def start_until_blocked(
    coroutine: Coroutine[Any, Any, T], connection: asyncpg.Connection
) -> asyncio.Task[T]:
    """Start a task, for example a request, and return it when it waits for a lock in the database.

    The test has to hold the lock, and end its transaction before it awaits the task.
    """
    task = asyncio.create_task(coroutine)
    await wait_for_query_result(1, connection, COUNT_WAITING_FOR_LOCK)
    return task
