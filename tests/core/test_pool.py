"""Connections that are there and yet cannot be taken as they are."""

import asyncio

import asyncpg
import pytest
import sqlalchemy as sa

from app.core.db import Database, reusable
from app.core.db import _database as databases
from app.core.db._pool import ConnectionPool
from tests import backends
from tests.conftest import settings_for

pytestmark = pytest.mark.commits

BACKEND = reusable(sa.select(sa.func.pg_backend_pid().label("pid")))
SLEEP = reusable(sa.select(sa.func.pg_sleep(60).label("slept")))


async def backend(database: Database) -> int:
    """Which of the server's processes answers."""
    [row] = await database.reads.execute(BACKEND)
    found: int = row["pid"]
    return found


def checked_out(database: Database) -> int:
    pool = database.engine.sync_engine.pool
    assert isinstance(pool, ConnectionPool)
    return pool.checkedout()


async def test_one_that_is_idle_is_taken_again(database: Database) -> None:
    assert await backend(database) == await backend(database)
    assert checked_out(database) == 0


async def test_one_that_is_too_old_is_made_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "POOL_RECYCLE", 0)
    database = Database(settings_for(url))
    assert len({await backend(database) for _ in range(3)}) == 3
    assert checked_out(database) == 0
    await database.close()


async def test_one_that_was_cut_off_while_it_worked_is_not_taken_again(
    database: Database, other: asyncpg.Connection
) -> None:
    before = await backend(database)
    working = asyncio.create_task(database.reads.execute(SLEEP))
    await backends.until(1, other, backends.ASLEEP)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert await backend(database) != before
    assert checked_out(database) == 0
