"""Imports that are stopped, or lose their database: nothing is stored, and no traceback shown."""

import signal
from asyncio.subprocess import PIPE, Process

import asyncpg
import pytest

from tests.support.processes import Said, ended, spawn, until

COPYING = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^COPY'
"""
WAITING = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'advisory'
"""
LOCK = "SELECT pg_advisory_lock(hashtextextended('bookshelf import books', 0))"


async def begun(url: str, other: asyncpg.Connection, query: str) -> tuple[Process, int]:
    """An import that waits: for more of its input, unless the lock is taken; and its backend."""
    command, environment = ("import", "books", "-", "--format", "csv"), {"DATABASE_URL": url}
    process = await spawn(*command, environment=environment, stdin=PIPE)
    assert process.stdin
    process.stdin.write(b"author,dob,title\nHomer,,Iliad\n")

    async def has_begun() -> object:
        return await other.fetchval(query)

    await until(has_begun)
    return process, int(str(await has_begun()))


async def stored(other: asyncpg.Connection) -> int:
    return int(await other.fetchval("SELECT count(*) FROM authors"))


@pytest.mark.parametrize("query", [COPYING, WAITING], ids=["reading", "waiting for another"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_an_import_with_its_number_and_stores_nothing(
    url: str, other: asyncpg.Connection, number: signal.Signals, query: str
) -> None:
    if query == WAITING:
        await other.execute(LOCK)
    process, _ = await begun(url, other, query)
    process.send_signal(number)
    assert await ended(process) == Said(128 + number, "", "")
    assert await stored(other) == 0


async def test_a_database_that_is_lost_in_the_middle_is_one_sentence(
    url: str, other: asyncpg.Connection
) -> None:
    process, backend = await begun(url, other, COPYING)
    await other.execute("SELECT pg_terminate_backend($1, 10000)", backend)
    code, out, err = await ended(process, b"Homer,,Odyssey\n" * 100_000)
    assert (code, out) == (1, "")
    assert err == "bookshelf: A part that the service needs does not answer\n"
    assert await stored(other) == 0
