"""Imports that are cut short or held up: nothing of them is stored, and the pool stays sound."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from app.books.schemas import BookLine
from app.core.db import Database
from app.core.errors import Unavailable
from tests.books.test_lines import LE_GUIN, add, all_lines
from tests.conftest import make_settings
from tests.support.processes import poll_until
from tests.support.rows import select_values

pytestmark = pytest.mark.private_database

KEY = "hashtextextended('bookshelf import books', 0)"
WAITING = """
SELECT clock_timestamp() - query_start > interval '0.2 seconds' FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'advisory'
"""
COPYING = "pg_stat_activity WHERE datname = current_database() AND query ~ '^COPY'"


@pytest.fixture
async def hasty(database_url: str) -> AsyncIterator[Database]:
    """Sessions of one connection, whose statements may take a twentieth of a second."""
    made = Database(make_settings(database_url, db_statement_timeout=0.05, db_pool_size=1))
    yield made
    await made.close()


async def test_import_waits_for_another_import_longer_than_statement_timeout(
    hasty: Database, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(f"SELECT pg_advisory_lock({KEY})")
    adding = asyncio.create_task(add(hasty, [LE_GUIN]))

    async def has_waited() -> bool:
        return adding.done() or bool(await outside_connection.fetchval(WAITING))

    await poll_until(has_waited)
    await outside_connection.execute("SELECT pg_advisory_unlock_all()")
    assert await adding == (1, 1)


async def test_import_may_take_longer_than_statement_timeout(
    hasty: Database, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END $$;"
        "CREATE TRIGGER dawdle BEFORE INSERT ON books FOR EACH ROW EXECUTE FUNCTION dawdle()"
    )
    assert await add(hasty, [LE_GUIN]) == (1, 1)


async def test_statement_timeout_applies_again_after_an_import(hasty: Database) -> None:
    backend, timeout = "SELECT pg_backend_pid()", "SELECT current_setting('statement_timeout')"
    before = [*await select_values(hasty, backend), *await select_values(hasty, timeout)]
    assert before[1] == "50ms"
    await add(hasty, [LE_GUIN])
    assert [*await select_values(hasty, backend), *await select_values(hasty, timeout)] == before


async def test_import_stops_reading_lines_when_connection_is_lost(
    database: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    taken = 0

    async def lose() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(f"SELECT pg_terminate_backend(pid, 10000) FROM {COPYING}")
        await connection.close()

    def many() -> Iterator[BookLine]:
        nonlocal taken
        with ThreadPoolExecutor() as elsewhere:
            yield LE_GUIN
            elsewhere.submit(asyncio.run, lose()).result()
        for taken in range(100_000):  # noqa: B007
            yield LE_GUIN

    with pytest.raises(Unavailable):
        await add(database, many())
    assert taken < 10_000
    assert "socket.send() raised exception" not in caplog.text
    assert await all_lines(database) == []
    assert await add(database, [LE_GUIN]) == (1, 1)


@pytest.mark.parametrize("interruption", [ValueError, asyncio.CancelledError, SystemExit])
async def test_import_raises_the_exception_that_interrupts_it(
    database: Database, outside_connection: asyncpg.Connection, interruption: type[BaseException]
) -> None:
    caught: list[BaseException] = []

    def interrupted() -> Iterator[BookLine]:
        yield LE_GUIN
        raise interruption

    async def work() -> None:
        try:  # in the task: out of one, a SystemExit would end the tests
            await add(database, interrupted())
        except BaseException as error:  # noqa: BLE001
            caught.append(error)

    await asyncio.create_task(work())
    assert [type(each) for each in caught] == [interruption]
    assert await all_lines(database) == []
    assert await add(database, [LE_GUIN]) == (1, 1)
