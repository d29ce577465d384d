"""Deletes and updates in batches, and the scheduled jobs that use them."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from app.core.db import Database, RowsToChange, delete_in_batches, update_in_batches
from app.core.errors import Overloaded
from app.core.idempotency import StoredResponse
from tests.support.database_activity import start_until_blocked
from tests.support.databases import open_database
from tests.support.processes import exit_code_and_output
from tests.support.settings import make_settings
from tests.support.statements import observe_session_statements, wait_for_statement_callbacks

pytestmark = pytest.mark.private_database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD_RESPONSES = RowsToChange(
    StoredResponse, StoredResponse.created_at < NOW, order_by=StoredResponse.created_at
)
# Inserts `$1` responses. The first is a second older than `$2`, and each next one `$3` older.
INSERT_RESPONSES = """
INSERT INTO stored_answers (id, fingerprint, status, headers, body, created_at)
SELECT uuid_send(gen_random_uuid()), '', 201, '{}', '',
    $2::timestamptz - interval '1 second' - (n - 1) * $3::interval
FROM generate_series(1, $1::bigint) AS n
"""
COUNT_RESPONSES = "SELECT count(*) FROM stored_answers"
# Makes each statement that deletes more than `{}` rows exceed its timeout.
SLOW_DELETION = """
CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF (SELECT count(*) FROM deleted) > {} THEN PERFORM pg_sleep(600); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER sleep AFTER DELETE ON stored_answers REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION sleep();
"""
LOCK_NEWEST_OLD_RESPONSE = """
SELECT FROM stored_answers WHERE created_at < now() ORDER BY created_at DESC LIMIT 1 FOR UPDATE
"""


async def insert_responses(
    connection: asyncpg.Connection,
    number_of_responses: int,
    *,
    before: datetime = NOW,
    interval: timedelta = timedelta(seconds=1),
) -> None:
    """Insert stored responses, whose ages differ by an interval."""
    await connection.execute(INSERT_RESPONSES, number_of_responses, before, interval)


async def test_batches_delete_all_rows_that_meet_the_condition_and_no_others(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    await insert_responses(outside_connection, 35)
    await insert_responses(outside_connection, 3, before=NOW + timedelta(hours=1))
    statements: list[str] = []
    with observe_session_statements(database, lambda sql, _parameters: statements.append(sql)):
        assert await delete_in_batches(database.writes, OLD_RESPONSES, batch_size=10) == 35
        await wait_for_statement_callbacks()
    assert len(statements) == 4
    assert await outside_connection.fetchval(COUNT_RESPONSES) == 3


async def test_batches_delete_rows_with_equal_sort_values(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    await insert_responses(outside_connection, 35, interval=timedelta())
    assert await delete_in_batches(database.writes, OLD_RESPONSES, batch_size=10) == 35
    assert await outside_connection.fetchval(COUNT_RESPONSES) == 0


@pytest.mark.parametrize("number_of_rows", [0, 10, 20])
async def test_batches_end_when_the_last_one_is_empty(
    database: Database, outside_connection: asyncpg.Connection, number_of_rows: int
) -> None:
    await insert_responses(outside_connection, number_of_rows)
    deleted_rows = await delete_in_batches(database.writes, OLD_RESPONSES, batch_size=10)
    assert deleted_rows == number_of_rows


async def test_batches_update_all_rows_that_meet_the_condition(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    await insert_responses(outside_connection, 35)
    new_responses = RowsToChange(
        StoredResponse, StoredResponse.status == 201, order_by=StoredResponse.created_at
    )
    updated_rows = await update_in_batches(
        database.writes, new_responses, {"status": 200}, batch_size=10
    )
    assert updated_rows == 35
    count_updated = "SELECT count(*) FROM stored_answers WHERE status = 200"
    assert await outside_connection.fetchval(count_updated) == 35


async def test_batch_skips_a_locked_row_and_the_next_run_deletes_it(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    await insert_responses(outside_connection, 35)
    async with outside_connection.transaction():
        await outside_connection.execute(LOCK_NEWEST_OLD_RESPONSE)
        assert await delete_in_batches(database.writes, OLD_RESPONSES, batch_size=10) == 34
    assert await delete_in_batches(database.writes, OLD_RESPONSES, batch_size=10) == 1


async def test_batch_that_waits_for_locks_deletes_a_row_that_was_updated_in_the_meantime(
    database: Database, outside_connection: asyncpg.Connection, database_url: str
) -> None:
    await insert_responses(outside_connection, 35)
    rows = RowsToChange(
        StoredResponse,
        StoredResponse.created_at < NOW,
        order_by=StoredResponse.created_at,
        wait_for_locks=True,
    )
    locker = await asyncpg.connect(database_url)
    async with locker.transaction():
        await locker.execute("UPDATE stored_answers SET status = 200")
        deletion = await start_until_blocked(
            delete_in_batches(database.writes, rows, batch_size=10), outside_connection
        )
    assert await deletion == 35
    await locker.close()


async def test_concurrent_deletions_delete_each_row_once(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    await insert_responses(outside_connection, 500)
    deletions = [delete_in_batches(database.writes, OLD_RESPONSES, batch_size=10) for _ in range(8)]
    assert sum(await asyncio.gather(*deletions)) <= 500
    await delete_in_batches(database.writes, OLD_RESPONSES)
    assert await outside_connection.fetchval(COUNT_RESPONSES) == 0


async def test_batches_in_a_transaction_are_rolled_back_together(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    await insert_responses(outside_connection, 35)

    async def delete_and_fail() -> None:
        async with database.transaction() as session:
            assert await delete_in_batches(session, OLD_RESPONSES, batch_size=10) == 35
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await delete_and_fail()
    assert await outside_connection.fetchval(COUNT_RESPONSES) == 35


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_batch_that_times_out_is_repeated_with_fewer_rows(
    database_url: str, outside_connection: asyncpg.Connection, in_transaction: bool
) -> None:
    await outside_connection.execute(SLOW_DELETION.format(10))
    await insert_responses(outside_connection, 40)
    async with open_database(make_settings(database_url, db_statement_timeout=0.5)) as database:
        if in_transaction:
            async with database.transaction() as session:
                assert await delete_in_batches(session, OLD_RESPONSES, batch_size=40) == 40
        else:
            assert await delete_in_batches(database.writes, OLD_RESPONSES, batch_size=40) == 40
    assert await outside_connection.fetchval(COUNT_RESPONSES) == 0


async def test_batch_of_one_row_that_times_out_raises_the_error(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    await insert_responses(outside_connection, 1)
    async with (
        open_database(make_settings(database_url, db_statement_timeout=0.05)) as database,
        outside_connection.transaction(),
    ):
        await outside_connection.execute("LOCK TABLE stored_answers IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Overloaded):
            await delete_in_batches(database.writes, OLD_RESPONSES, batch_size=4)


async def test_job_deletes_more_rows_than_one_statement_could(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(SLOW_DELETION.format(250))
    await insert_responses(outside_connection, 600)
    exit_code, output = await exit_code_and_output(
        "jobs", "run", "sweep-answers", DATABASE_URL=database_url, DB_STATEMENT_TIMEOUT="0.5"
    )
    assert (exit_code, output.splitlines()[-1]) == (0, "deleted 600 expired idempotency keys")
    assert await outside_connection.fetchval(COUNT_RESPONSES) == 0
    recorded_outcome = await outside_connection.fetchval("SELECT outcome FROM job_runs")
    assert recorded_outcome == "deleted 600 expired idempotency keys"
