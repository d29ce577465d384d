"""Transactions whose connection is lost fail with the error that says why, and without delay."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest
from sqlalchemy import text

from app.core.db import Base, Database
from app.core.errors import NotFound, Unavailable
from tests.support.database_activity import COUNT_WAITING_FOR_LOCK, start_until_blocked

pytestmark = pytest.mark.private_database

BACKEND_PID = text("SELECT pg_backend_pid() AS pid")
TERMINATE_WAITING_BACKEND = COUNT_WAITING_FOR_LOCK.replace(
    "count(*)", "pg_terminate_backend(pid, 10000)"
)
LOCK = "SELECT pg_advisory_lock(1)"
WAIT_FOR_LOCK = """
CREATE FUNCTION wait_for_lock() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$;
CREATE TRIGGER wait_for_lock BEFORE INSERT ON job_runs
FOR EACH ROW EXECUTE FUNCTION wait_for_lock()
"""


async def test_error_of_a_transaction_is_raised_when_its_connection_is_lost(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    pids = []

    async def lose_connection_and_fail() -> None:
        async with database.transaction() as session:
            [row] = await session.execute(BACKEND_PID)
            pids.append(row["pid"])
            await outside_connection.execute("SELECT pg_terminate_backend($1, 10000)", row["pid"])
            raise NotFound

    for _ in range(2):
        with pytest.raises(NotFound):
            await lose_connection_and_fail()
    assert len(set(pids)) == 2


async def test_copy_fails_when_connection_is_lost_while_server_reads_slowly(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(WAIT_FOR_LOCK)
    await outside_connection.execute(LOCK)
    # More than fits into the buffers between the driver and the server.
    now = datetime.now(UTC)
    records = [("a-job", now, now, "x" * 1_000_000)] * 20

    async def copy() -> None:
        async with database.transaction() as session:
            await session.copy_records(Base.metadata.tables["job_runs"], records)

    copying = await start_until_blocked(copy(), outside_connection)
    await outside_connection.execute(TERMINATE_WAITING_BACKEND)
    with pytest.raises(Unavailable):
        async with asyncio.timeout(10):
            await copying
