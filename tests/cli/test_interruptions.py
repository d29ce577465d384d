"""Imports that are stopped, or lose their database: nothing is stored, and no traceback shown."""

import signal
from asyncio.subprocess import PIPE, Process

import asyncpg
import pytest

from tests.support.processes import CommandResult, poll_until, spawn_command, wait_for_result

COPYING = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^COPY'
"""
WAITING = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'advisory'
"""
LOCK = "SELECT pg_advisory_lock(hashtextextended('bookshelf import books', 0))"


async def begun(
    url: str, outside_connection: asyncpg.Connection, query: str
) -> tuple[Process, int]:
    """An import that waits: for more of its input, unless the lock is taken; and its backend."""
    command, environment = ("import", "books", "-", "--format", "csv"), {"DATABASE_URL": url}
    process = await spawn_command(*command, environment=environment, stdin=PIPE)
    assert process.stdin
    process.stdin.write(b"author,dob,title\nHomer,,Iliad\n")

    async def has_begun() -> object:
        return await outside_connection.fetchval(query)

    await poll_until(has_begun)
    return process, int(str(await has_begun()))


async def stored(outside_connection: asyncpg.Connection) -> int:
    return int(await outside_connection.fetchval("SELECT count(*) FROM authors"))


@pytest.mark.parametrize("query", [COPYING, WAITING], ids=["reading", "waiting for another"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_stopped_import_exits_with_signal_code_and_stores_nothing(
    database_url: str, outside_connection: asyncpg.Connection, number: signal.Signals, query: str
) -> None:
    if query == WAITING:
        await outside_connection.execute(LOCK)
    process, _ = await begun(database_url, outside_connection, query)
    process.send_signal(number)
    assert await wait_for_result(process) == CommandResult(128 + number, "", "")
    assert await stored(outside_connection) == 0


async def test_import_fails_with_one_line_when_database_connection_is_lost(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    process, backend = await begun(database_url, outside_connection, COPYING)
    await outside_connection.execute("SELECT pg_terminate_backend($1, 10000)", backend)
    code, out, err = await wait_for_result(process, b"Homer,,Odyssey\n" * 100_000)
    assert (code, out) == (1, "")
    assert err == "bookshelf: A backend service is not responding. Retry later\n"
    assert await stored(outside_connection) == 0
