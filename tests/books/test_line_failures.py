"""Tests of imports that wait or are interrupted. Nothing is stored, and connections stay usable."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from app.books.repository import IMPORT_BATCH_SIZE
from app.books.schemas import BookLine
from app.core.db import Database
from app.core.errors import Unavailable
from tests.support.book_lines import LE_GUIN, export_lines, import_lines
from tests.support.processes import poll_until
from tests.support.rows import select_values
from tests.support.settings import make_settings

pytestmark = pytest.mark.private_database

LOCK_KEY = "hashtextextended('bookshelf import books', 0)"
HAS_WAITED = """
SELECT clock_timestamp() - query_start > interval '0.2 seconds' FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'advisory'
"""
TERMINATE_IMPORT = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND query ~ 'CREATE TEMPORARY TABLE'
    AND state = 'idle in transaction'
"""


@pytest.fixture
async def database_with_short_timeout(database_url: str) -> AsyncIterator[Database]:
    """A database with one connection and a statement timeout of 50 ms."""
    database = Database(make_settings(database_url, db_statement_timeout=0.05, db_pool_size=1))
    yield database
    await database.close()


async def test_import_waits_for_another_import_longer_than_statement_timeout(
    database_with_short_timeout: Database, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(f"SELECT pg_advisory_lock({LOCK_KEY})")
    running_import = asyncio.create_task(import_lines(database_with_short_timeout, [LE_GUIN]))

    async def has_waited() -> bool:
        return running_import.done() or bool(await outside_connection.fetchval(HAS_WAITED))

    await poll_until(has_waited)
    await outside_connection.execute("SELECT pg_advisory_unlock_all()")
    assert await running_import == (1, 1)


async def test_import_may_take_longer_than_statement_timeout(
    database_with_short_timeout: Database, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(
        "CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END $$;"
        "CREATE TRIGGER sleep BEFORE INSERT ON books FOR EACH ROW EXECUTE FUNCTION sleep()"
    )
    assert await import_lines(database_with_short_timeout, [LE_GUIN]) == (1, 1)


async def test_statement_timeout_applies_again_after_an_import(
    database_with_short_timeout: Database,
) -> None:
    backend, timeout = "SELECT pg_backend_pid()", "SELECT current_setting('statement_timeout')"
    before = [
        *await select_values(database_with_short_timeout, backend),
        *await select_values(database_with_short_timeout, timeout),
    ]
    assert before[1] == "50ms"
    await import_lines(database_with_short_timeout, [LE_GUIN])
    assert [
        *await select_values(database_with_short_timeout, backend),
        *await select_values(database_with_short_timeout, timeout),
    ] == before


async def test_import_stops_reading_lines_when_connection_is_lost(
    database: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines_read = 0

    async def terminate_connection() -> None:
        connection = await asyncpg.connect(database_url)
        assert await connection.fetchval(TERMINATE_IMPORT)
        await connection.close()

    def many_lines() -> Iterator[BookLine]:
        nonlocal lines_read
        with ThreadPoolExecutor() as executor:
            yield LE_GUIN
            executor.submit(asyncio.run, terminate_connection()).result()
        for lines_read in range(100_000):  # noqa: B007
            yield LE_GUIN

    with pytest.raises(Unavailable):
        await import_lines(database, many_lines())
    assert lines_read < 2 * IMPORT_BATCH_SIZE
    assert "socket.send() raised exception" not in caplog.text
    assert await export_lines(database) == []
    assert await import_lines(database, [LE_GUIN]) == (1, 1)


@pytest.mark.parametrize("interruption", [ValueError, asyncio.CancelledError, SystemExit])
async def test_import_raises_the_exception_that_interrupts_it(
    database: Database, outside_connection: asyncpg.Connection, interruption: type[BaseException]
) -> None:
    exceptions: list[BaseException] = []

    def lines_with_interruption() -> Iterator[BookLine]:
        yield LE_GUIN
        raise interruption

    async def import_in_task() -> None:
        # Catch the exception in the task. Otherwise a SystemExit would end the tests.
        try:
            await import_lines(database, lines_with_interruption())
        except BaseException as error:  # noqa: BLE001
            exceptions.append(error)

    await asyncio.create_task(import_in_task())
    assert [type(exception) for exception in exceptions] == [interruption]
    assert await export_lines(database) == []
    assert await import_lines(database, [LE_GUIN]) == (1, 1)
