"""Retries of work that Postgres has undone, with real concurrent transactions at SERIALIZABLE."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
from sqlalchemy import text

from app.core.db import Database, Session
from app.core.db._retries import FIRST_WAIT_SECONDS, MAX_CONFLICT_RETRIES, Retries, RetryPolicy
from app.core.db._server_errors import ConnectingFailed
from app.core.errors import Conflict, Unavailable
from app.core.jobs import Job
from tests.support.databases import open_database
from tests.support.rows import first_value
from tests.support.settings import make_settings

pytestmark = pytest.mark.private_database

CONCURRENT_TRANSACTIONS = 4
READ_COUNTER = "SELECT value FROM counters WHERE name = 'a'"
WRITE_COUNTER = "UPDATE counters SET value = :value WHERE name = 'a'"
INCREMENT_COUNTER = "UPDATE counters SET value = value + 1 WHERE name = 'a'"
DEADLOCK = asyncpg.DeadlockDetectedError()
STALE_PLAN = asyncpg.FeatureNotSupportedError()
LOST_CONNECTION = asyncpg.AdminShutdownError()


@pytest.fixture
async def serializable_database(private_database_url: str) -> AsyncIterator[Database]:
    """A database whose transactions are serializable by default, with two counters."""
    connection = await asyncpg.connect(private_database_url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(
        f"""
        ALTER DATABASE "{name}" SET default_transaction_isolation = 'serializable';
        CREATE TABLE counters (name text PRIMARY KEY, value integer NOT NULL);
        INSERT INTO counters VALUES ('a', 0), ('b', 0);
        """
    )
    await connection.close()
    async with open_database(make_settings(private_database_url)) as database:
        yield database


async def read_counter(session: Session) -> int:
    return int(first_value(await session.execute(text(READ_COUNTER))))


async def test_concurrent_transactions_at_serializable_all_succeed(
    serializable_database: Database,
) -> None:
    all_have_read = asyncio.Barrier(CONCURRENT_TRANSACTIONS)
    waiting = CONCURRENT_TRANSACTIONS

    async def increment(session: Session) -> None:
        nonlocal waiting
        value = await read_counter(session)
        # In their first attempts, all transactions read before one of them writes.
        if waiting > 0:
            waiting -= 1
            await all_have_read.wait()
        await session.execute(text(WRITE_COUNTER), {"value": value + 1})

    writes = serializable_database.writes
    transactions = [writes.run_in_transaction(increment) for _ in range(CONCURRENT_TRANSACTIONS)]
    await asyncio.gather(*transactions)
    assert await read_counter(serializable_database.reads) == CONCURRENT_TRANSACTIONS


async def test_transactions_have_the_isolation_level_of_the_database(
    serializable_database: Database,
) -> None:
    """Neither of two transactions may miss the row that the other one writes."""
    both_have_read = asyncio.Barrier(2)
    waiting = 2

    async def increment_if_sum_is_zero(session: Session, name: str) -> None:
        nonlocal waiting
        total = first_value(await session.execute(text("SELECT sum(value) FROM counters")))
        if waiting > 0:
            waiting -= 1
            await both_have_read.wait()
        if total == "0":
            statement = text("UPDATE counters SET value = 1 WHERE name = :name")
            await session.execute(statement, {"name": name})

    writes = serializable_database.writes
    await asyncio.gather(
        writes.run_in_transaction(lambda session: increment_if_sum_is_zero(session, "a")),
        writes.run_in_transaction(lambda session: increment_if_sum_is_zero(session, "b")),
    )
    total = await serializable_database.reads.execute(text("SELECT sum(value) FROM counters"))
    assert first_value(total) == "1"


async def test_concurrent_statements_at_serializable_all_succeed(
    serializable_database: Database,
) -> None:
    writes = serializable_database.writes
    increments = [writes.execute(text(INCREMENT_COUNTER)) for _ in range(CONCURRENT_TRANSACTIONS)]
    await asyncio.gather(*increments)
    assert await read_counter(serializable_database.reads) == CONCURRENT_TRANSACTIONS


async def test_work_of_a_job_is_not_repeated_if_its_run_cannot_be_recorded(
    private_database: Database, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(
        """
        CREATE SEQUENCE attempts;
        CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('attempts') = 1 THEN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER fail_once BEFORE INSERT ON job_runs FOR EACH ROW EXECUTE FUNCTION fail_once()
        """
    )
    runs = 0

    async def work(_context: None) -> str:
        nonlocal runs
        runs += 1
        return f"run {runs}"

    job = Job("count", timedelta(days=1), work)
    assert await job.run(private_database, None) == "run 1"
    assert await outside_connection.fetchval("SELECT outcome FROM job_runs") == "run 1"
    assert await job.run(private_database, None) is None


# The policy.


def test_waits_after_conflicts_are_random_and_their_limit_doubles() -> None:
    waits_of_operations = []
    for _ in range(50):
        retries = Retries(max_seconds=60)
        waits_of_operations.append(
            [retries.choose_wait(DEADLOCK) for _ in range(MAX_CONFLICT_RETRIES)]
        )
        assert retries.choose_wait(DEADLOCK) is None
    for number, waits in enumerate(zip(*waits_of_operations, strict=True)):
        longest_wait = FIRST_WAIT_SECONDS * 2**number
        assert all(wait is not None and 0 <= wait <= longest_wait for wait in waits)
        assert len(set(waits)) == len(waits)


def test_conflict_is_not_retried_after_the_time_limit() -> None:
    assert Retries(max_seconds=0).choose_wait(DEADLOCK) is None


def test_error_of_the_service_is_judged_by_its_cause() -> None:
    conflict = Conflict()
    assert Retries(max_seconds=60).choose_wait(conflict) is None
    conflict.__cause__ = DEADLOCK
    assert Retries(max_seconds=60).choose_wait(conflict) is not None
    outage = Unavailable()
    assert Retries(max_seconds=60, is_read=True).choose_wait(outage) is None
    outage.__cause__ = LOST_CONNECTION
    assert Retries(max_seconds=60, is_read=True).choose_wait(outage) == 0


@pytest.mark.parametrize(
    ("error", "is_read", "waits"),
    [
        (STALE_PLAN, False, [0.0, None]),
        (STALE_PLAN, True, [0.0, None]),
        (LOST_CONNECTION, True, [0.0, None]),
        (LOST_CONNECTION, False, [None]),
        (asyncpg.PostgresSyntaxError(), True, [None]),
    ],
)
def test_other_errors_are_retried_immediately_and_once(
    error: Exception, is_read: bool, waits: list[float | None]
) -> None:
    retries = Retries(max_seconds=0, is_read=is_read)
    assert [retries.choose_wait(error) for _ in waits] == waits


@pytest.mark.parametrize("driver_error", [DEADLOCK, STALE_PLAN])
def test_failed_login_is_not_retried_whatever_its_sqlstate(driver_error: Exception) -> None:
    error = ConnectingFailed("rejects connections", "a message")
    error.__cause__ = driver_error
    assert Retries(max_seconds=60).choose_wait(error) is None


def test_last_attempt_can_end_before_the_request_times_out() -> None:
    settings = make_settings(
        "postgresql:///unused", request_timeout=10, db_pool_timeout=1, db_statement_timeout=4
    )
    assert RetryPolicy.from_settings(settings).max_seconds == 5
