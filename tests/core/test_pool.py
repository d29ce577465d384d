"""Connections that are there and yet cannot be taken as they are."""

import asyncio

import asyncpg
import pytest
import sqlalchemy as sa

from app.core.db import Database, mark_reusable
from app.core.db import _named_database as named_databases
from app.core.errors import Unavailable
from tests.conftest import make_settings
from tests.support import database_activity

pytestmark = pytest.mark.private_database

BACKEND = mark_reusable(sa.select(sa.func.pg_backend_pid().label("pid")))
TERMINATE = mark_reusable(
    sa.select(
        sa.func.pg_terminate_backend(sa.func.pg_backend_pid()).label("terminated"),
        sa.func.pg_sleep(60).label("slept"),
    )
)
SAY_TERMINATED = mark_reusable(sa.select(sa.func.say_terminated().label("said")))
FUNCTION = """
CREATE FUNCTION say_terminated() RETURNS bigint LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'terminated' USING ERRCODE = '57P01'; END $$
"""
SLEEP = mark_reusable(sa.select(sa.func.pg_sleep(60).label("slept")))


async def backend(database: Database) -> int:
    """Which of the server's processes answers."""
    [row] = await database.reads.execute(BACKEND)
    found: int = row["pid"]
    return found


def checked_out(database: Database) -> int:
    pool = database.engine.sync_engine.pool
    assert isinstance(pool, sa.QueuePool)
    return pool.checkedout()


async def test_one_that_is_idle_is_taken_again(database: Database) -> None:
    assert await backend(database) == await backend(database)
    assert checked_out(database) == 0


async def test_one_that_is_too_old_is_made_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_databases, "MAX_CONNECTION_AGE_SECONDS", 0)
    database = Database(make_settings(database_url))
    assert len({await backend(database) for _ in range(3)}) == 3
    assert checked_out(database) == 0
    await database.close()


async def test_one_that_was_cut_off_while_it_worked_is_not_taken_again(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    before = await backend(database)
    working = asyncio.create_task(database.reads.execute(SLEEP))
    await database_activity.wait_for_query_result(
        1, outside_connection, database_activity.COUNT_SLEEPING
    )
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert await backend(database) != before
    assert checked_out(database) == 0


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("statement", [TERMINATE, SAY_TERMINATED], ids=["closed", "not closed"])
async def test_loss_of_connection_replaces_all_older_connections(
    database_url: str,
    outside_connection: asyncpg.Connection,
    statement: sa.Executable,
    fast_path: bool,
) -> None:
    await outside_connection.execute(FUNCTION)
    database = Database(make_settings(database_url, db_fast_path=fast_path))
    older = await two_backends(database)
    with pytest.raises(Unavailable):
        await database.writes.execute(statement)
    assert older.isdisjoint(await two_backends(database))
    await database.close()


async def two_backends(database: Database) -> set[int]:
    """The server's processes of two connections that are in use at the same time."""
    async with database.transaction() as first, database.transaction() as second:
        rows = [*await first.execute(BACKEND), *await second.execute(BACKEND)]
    return {row["pid"] for row in rows}
