"""Tests of imports that are stopped, or lose their database: nothing is stored."""

import signal
from asyncio.subprocess import PIPE, Process

import asyncpg
import pytest

from tests.support.processes import CommandResult, poll_until, spawn_command, wait_for_result

READING_BACKEND = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database()
    AND state = 'idle in transaction' AND query ~ 'CREATE TEMPORARY TABLE'
"""
WAITING_BACKEND = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'advisory'
"""
LOCK_IMPORTS = "SELECT pg_advisory_lock(hashtextextended('bookshelf import books', 0))"


async def start_import(
    url: str, outside_connection: asyncpg.Connection, query: str
) -> tuple[Process, int]:
    """Start an import, and wait until `query` finds its backend. Return process and backend id.

    The import waits for more input, or for the lock of imports if the test holds it.
    """
    command, environment = ("import", "books", "-", "--format", "csv"), {"DATABASE_URL": url}
    process = await spawn_command(*command, environment=environment, stdin=PIPE)
    assert process.stdin
    process.stdin.write(b"author,dob,title\nHomer,,Iliad\n")

    async def find_backend() -> object:
        return await outside_connection.fetchval(query)

    await poll_until(find_backend)
    return process, int(str(await find_backend()))


async def count_authors(outside_connection: asyncpg.Connection) -> int:
    return int(await outside_connection.fetchval("SELECT count(*) FROM authors"))


@pytest.mark.parametrize(
    "query", [READING_BACKEND, WAITING_BACKEND], ids=["reading", "waiting for another"]
)
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
async def test_stopped_import_exits_with_signal_code_and_stores_nothing(
    database_url: str,
    outside_connection: asyncpg.Connection,
    signal_number: signal.Signals,
    query: str,
) -> None:
    if query == WAITING_BACKEND:
        await outside_connection.execute(LOCK_IMPORTS)
    process, _ = await start_import(database_url, outside_connection, query)
    process.send_signal(signal_number)
    assert await wait_for_result(process) == CommandResult(128 + signal_number, "", "")
    assert await count_authors(outside_connection) == 0


async def test_import_fails_with_one_line_when_database_connection_is_lost(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    process, backend = await start_import(database_url, outside_connection, READING_BACKEND)
    await outside_connection.execute("SELECT pg_terminate_backend($1, 10000)", backend)
    code, out, err = await wait_for_result(process, b"Homer,,Odyssey\n" * 100_000)
    assert (code, out) == (1, "")
    assert err == "bookshelf: A backend service is not responding. Retry later.\n"
    assert await count_authors(outside_connection) == 0
