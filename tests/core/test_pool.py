"""The connection pool: which connections it reuses, and which it replaces."""

import asyncio

import asyncpg
import pytest
import sqlalchemy as sa

from app.core.db import Database, mark_reusable
from app.core.db import _named_database as named_databases
from app.core.errors import Unavailable
from tests.support import database_activity
from tests.support.settings import make_settings

pytestmark = pytest.mark.private_database

SELECT_BACKEND_PID = mark_reusable(sa.select(sa.func.pg_backend_pid().label("pid")))
TERMINATE_OWN_BACKEND = mark_reusable(
    sa.select(
        sa.func.pg_terminate_backend(sa.func.pg_backend_pid()).label("terminated"),
        sa.func.pg_sleep(60).label("slept"),
    )
)
RAISE_TERMINATED_ERROR = mark_reusable(sa.select(sa.func.say_terminated().label("said")))
CREATE_FUNCTION = """
CREATE FUNCTION say_terminated() RETURNS bigint LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'terminated' USING ERRCODE = '57P01'; END $$
"""
SLEEP = mark_reusable(sa.select(sa.func.pg_sleep(60).label("slept")))


async def backend_pid(database: Database) -> int:
    """Return the process id of the server's end of the connection that the pool checks out."""
    [row] = await database.reads.execute(SELECT_BACKEND_PID)
    pid: int = row["pid"]
    return pid


def count_checked_out(database: Database) -> int:
    pool = database.engine.sync_engine.pool
    assert isinstance(pool, sa.QueuePool)
    return pool.checkedout()


async def test_idle_connection_is_reused(database: Database) -> None:
    assert await backend_pid(database) == await backend_pid(database)
    assert count_checked_out(database) == 0


async def test_connection_is_replaced_when_too_old(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_databases, "MAX_CONNECTION_AGE_SECONDS", 0)
    database = Database(make_settings(database_url))
    assert len({await backend_pid(database) for _ in range(3)}) == 3
    assert count_checked_out(database) == 0
    await database.close()


async def test_connection_is_discarded_when_its_statement_is_cancelled(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    pid_before = await backend_pid(database)
    statement_task = asyncio.create_task(database.reads.execute(SLEEP))
    await database_activity.wait_for_query_result(
        1, outside_connection, database_activity.COUNT_SLEEPING
    )
    statement_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await statement_task
    assert await backend_pid(database) != pid_before
    assert count_checked_out(database) == 0


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize(
    "statement", [TERMINATE_OWN_BACKEND, RAISE_TERMINATED_ERROR], ids=["closed", "not closed"]
)
async def test_older_connections_are_replaced_when_one_is_lost(
    database_url: str,
    outside_connection: asyncpg.Connection,
    statement: sa.Executable,
    fast_path: bool,
) -> None:
    await outside_connection.execute(CREATE_FUNCTION)
    database = Database(make_settings(database_url, db_fast_path=fast_path))
    older_pids = await two_backend_pids(database)
    with pytest.raises(Unavailable):
        await database.writes.execute(statement)
    assert older_pids.isdisjoint(await two_backend_pids(database))
    await database.close()


async def two_backend_pids(database: Database) -> set[int]:
    """Return the process ids of two connections that are in use at the same time."""
    async with database.transaction() as first, database.transaction() as second:
        rows = [*await first.execute(SELECT_BACKEND_PID), *await second.execute(SELECT_BACKEND_PID)]
    return {row["pid"] for row in rows}
