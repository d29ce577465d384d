"""Deletes that read a whole table in batches, because no index finds the rows."""

import asyncpg
import pytest
import sqlalchemy as sa

from app.core.db import Database, delete_by_table_scan
from app.users.models import AttemptCounter
from tests.support.statements import observe_session_statements, wait_for_statement_callbacks

pytestmark = pytest.mark.private_database

IS_EXPIRED = AttemptCounter.expires_at < sa.func.now()
# Inserts `$1` counters of two kinds. Every second one is expired.
INSERT_COUNTERS = """
INSERT INTO attempt_counters (kind, digest, attempted_at, empty_at)
SELECT CASE WHEN n > 20 THEN 'network' ELSE 'account' END, int4send(n), now(),
    now() + CASE n % 2 WHEN 0 THEN interval '1 hour' ELSE interval '-1 hour' END
FROM generate_series(1, $1::int) n
"""
COUNT_COUNTERS = """
SELECT count(*) FILTER (WHERE expires_at < now()) AS expired, count(*) AS all_counters
FROM attempt_counters
"""
LOCK_EXPIRED_COUNTER = """
SELECT FROM attempt_counters WHERE expires_at < now() LIMIT 1 FOR UPDATE
"""
# Makes a statement that deletes more than three counters exceed its timeout.
SLOW_DELETION = """
CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF (SELECT count(*) FROM deleted) > 3 THEN RAISE query_canceled; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER sleep AFTER DELETE ON attempt_counters REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION sleep();
"""


async def count_counters(connection: asyncpg.Connection) -> tuple[int, int]:
    """Return the numbers of expired counters and of all counters."""
    [row] = await connection.fetch(COUNT_COUNTERS)
    return row["expired"], row["all_counters"]


@pytest.mark.parametrize(
    ("number_of_rows", "number_of_statements"), [(0, 1), (9, 1), (10, 2), (35, 4)]
)
async def test_scan_deletes_rows_that_meet_the_condition_and_reads_each_row_once(
    database: Database,
    outside_connection: asyncpg.Connection,
    number_of_rows: int,
    number_of_statements: int,
) -> None:
    await outside_connection.execute(INSERT_COUNTERS, number_of_rows)
    expired, _ = await count_counters(outside_connection)
    statements: list[str] = []
    with observe_session_statements(database, lambda sql, _parameters: statements.append(sql)):
        deleted = await delete_by_table_scan(
            database.writes, AttemptCounter, IS_EXPIRED, batch_size=10
        )
        await wait_for_statement_callbacks()
    assert deleted == expired
    assert len(statements) == number_of_statements
    assert await count_counters(outside_connection) == (0, number_of_rows - expired)


async def test_scan_skips_a_locked_row_and_the_next_one_deletes_it(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(INSERT_COUNTERS, 35)
    async with outside_connection.transaction():
        await outside_connection.execute(LOCK_EXPIRED_COUNTER)
        assert await delete_by_table_scan(database.writes, AttemptCounter, IS_EXPIRED) == 17
    assert await delete_by_table_scan(database.writes, AttemptCounter, IS_EXPIRED) == 1


async def test_scan_halves_batches_that_time_out(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(INSERT_COUNTERS, 35)
    await outside_connection.execute(SLOW_DELETION)
    assert (
        await delete_by_table_scan(database.writes, AttemptCounter, IS_EXPIRED, batch_size=24) == 18
    )
    assert await count_counters(outside_connection) == (0, 17)
