"""The metrics of connections, statements and errors of the database."""

import asyncio
from collections.abc import AsyncIterator
from contextvars import Context

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY

from app.authors.repository import AuthorRepository
from app.core.caller_limits import Caller
from app.core.db import Database, mark_reusable
from app.core.db._pool import MAX_WAITERS_PER_CONNECTION
from app.core.db._statement_names import find_statement_name
from app.core.errors import Overloaded, ServiceError
from app.tables import metadata
from tests.support.databases import open_database
from tests.support.metrics import RecordedMetrics
from tests.support.settings import UNREACHABLE_DATABASE_URL, make_settings

SELECT_ONE = sa.select(sa.literal(1))
TERMINATE_OWN_BACKEND = mark_reusable(
    sa.select(sa.func.pg_terminate_backend(sa.func.pg_backend_pid()).label("terminated"))
)


@pytest.fixture
def metrics() -> RecordedMetrics:
    return RecordedMetrics()


@pytest.fixture
async def small_database(database_url: str) -> AsyncIterator[Database]:
    """A database with one connection, for which a statement waits only a moment."""
    settings = make_settings(database_url, db_pool_size=1, db_pool_timeout=0.1)
    async with open_database(settings) as database:
        yield database


async def test_statement_that_waits_too_long_is_a_timeout(
    small_database: Database, metrics: RecordedMetrics
) -> None:
    async with small_database.transaction() as session:
        await session.execute(SELECT_ONE)
        metrics.mark()
        with pytest.raises(Overloaded):
            await small_database.reads.execute(SELECT_ONE)
    rejections = metrics.increases("db_connection_rejections_total")
    assert rejections == {("default", "connections", "timeout"): 1}
    waits = metrics.increases("db_connection_wait_seconds_count")
    assert waits == {("default", "connections"): 1}
    [waiting_seconds] = metrics.increases("db_connection_wait_seconds_sum").values()
    assert 0.1 <= waiting_seconds < 60


async def test_write_that_waits_too_long_for_a_slot_is_a_timeout_of_writes(
    small_database: Database, metrics: RecordedMetrics
) -> None:
    async with small_database.transaction() as session:
        await session.execute(SELECT_ONE)
        # With the context of this task, the write would belong to the transaction.
        write = asyncio.create_task(small_database.writes.execute(SELECT_ONE), context=Context())
        with pytest.raises(Overloaded):
            await write
    rejections = metrics.increases("db_connection_rejections_total")
    assert rejections == {("default", "writes", "timeout"): 1}


async def test_statements_beyond_the_queue_are_rejected(
    small_database: Database, metrics: RecordedMetrics
) -> None:
    async with small_database.transaction() as session:
        await session.execute(SELECT_ONE)
        metrics.mark()
        reads = [small_database.reads.execute(SELECT_ONE) for _ in range(20)]
        await asyncio.gather(*reads, return_exceptions=True)
    rejections = metrics.increases("db_connection_rejections_total")
    waiting = MAX_WAITERS_PER_CONNECTION
    assert rejections == {
        ("default", "connections", "queue_full"): 20 - waiting,
        ("default", "connections", "timeout"): waiting,
    }


async def test_statement_that_gets_a_connection_immediately_does_not_wait(
    database: Database, metrics: RecordedMetrics
) -> None:
    for _ in range(2):
        await database.reads.execute(SELECT_ONE)
    assert metrics.increases("db_connection_wait_seconds_count") == {}


@pytest.mark.parametrize(
    ("sql", "sqlstate"),
    [
        ("SELECT * FROM missing", "42xxx"),
        ("SELECT 1 / 0", "22xxx"),
        ("DO $$ BEGIN RAISE 'other' USING ERRCODE = 'ZZ123'; END $$", "other"),
        ("DO $$ BEGIN RAISE 'read-only' USING ERRCODE = '25006'; END $$", "25006"),
    ],
)
async def test_error_is_counted_by_its_sqlstate_or_class(
    database: Database, metrics: RecordedMetrics, sql: str, sqlstate: str
) -> None:
    with pytest.raises((ServiceError, sa.exc.DBAPIError)):
        await database.reads.execute(sa.text(sql))
    assert metrics.increases("db_errors_total") == {("default", sqlstate): 1}


async def test_error_of_copy_is_counted(database: Database, metrics: RecordedMetrics) -> None:
    table = metadata.tables["authors"]
    with pytest.raises(ServiceError):
        async with database.transaction() as session:
            await session.copy_records(table, [(None,) * len(table.columns)])
    assert metrics.increases("db_errors_total") == {("default", "23502"): 1}


@pytest.mark.parametrize("fast_path", [True, False])
async def test_lost_connection_is_counted_once_and_replaced(
    database_url: str, metrics: RecordedMetrics, *, fast_path: bool
) -> None:
    settings = make_settings(database_url, db_fast_path=fast_path)
    async with open_database(settings) as database:
        with pytest.raises(ServiceError):
            await database.writes.execute(TERMINATE_OWN_BACKEND)
        await database.reads.execute(SELECT_ONE)
    assert metrics.increases("db_connections_lost_total") == {("default",): 1}
    assert metrics.increases("db_connections_opened_total") == {("default",): 2}


async def test_connection_that_cannot_be_opened_is_counted(metrics: RecordedMetrics) -> None:
    async with open_database(make_settings(UNREACHABLE_DATABASE_URL)) as database:
        with pytest.raises(ServiceError):
            await database.writes.execute(SELECT_ONE)
    assert metrics.increases("db_connection_failures_total") == {("default",): 1}
    assert metrics.increases("db_errors_total") == {("default", "none"): 1}
    assert metrics.increases("db_connections_opened_total") == {}
    checked_out = REGISTRY.get_sample_value("db_pool_checked_out", {"database": "default"})
    assert checked_out == 0


async def test_rejected_login_is_counted_with_its_sqlstate(
    database_url: str, metrics: RecordedMetrics
) -> None:
    settings = make_settings(database_url.replace("postgres@", "nobody@"))
    async with open_database(settings) as database:
        with pytest.raises(ServiceError):
            await database.writes.execute(SELECT_ONE)
    assert metrics.increases("db_errors_total") == {("default", "28000"): 1}


@pytest.mark.parametrize("fast_path", [True, False])
async def test_statement_has_the_name_of_its_table_and_operation(
    database_url: str, metrics: RecordedMetrics, *, fast_path: bool
) -> None:
    settings = make_settings(database_url, db_fast_path=fast_path)
    async with open_database(settings) as database:
        # SQLAlchemy executes statements of its own on the first connection.
        await database.reads.execute(SELECT_ONE)
        metrics.mark()
        await AuthorRepository(database.writes).create({"name": "Ada"})
    assert metrics.increases("db_statement_duration_seconds_count") == {("authors.insert",): 1}


async def test_commit_is_measured_as_a_statement(
    database: Database, metrics: RecordedMetrics
) -> None:
    # SQLAlchemy executes statements of its own on the first connection.
    await database.reads.execute(SELECT_ONE)
    metrics.mark()
    async with database.transaction() as session:
        await session.execute(SELECT_ONE)
    statements = metrics.increases("db_statement_duration_seconds_count")
    assert statements == {("other",): 1, ("commit",): 1}


async def test_stream_is_counted_while_it_is_open(
    database: Database, metrics: RecordedMetrics
) -> None:
    async with database.streaming_transaction(Caller()):
        assert metrics.increases("streams_in_flight") == {(): 1}
    assert metrics.increases("streams_in_flight") == {}


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("SELECT id FROM books JOIN authors ON true", "books.select"),
        ('SELECT id FROM "books" FOR UPDATE OF books', "books.select"),
        ("WITH new AS (INSERT INTO books DEFAULT VALUES) SELECT * FROM new", "books.insert"),
        ("INSERT INTO tokens SELECT FROM users ON CONFLICT DO UPDATE SET id = 1", "tokens.insert"),
        ("DELETE FROM tokens USING users", "tokens.delete"),
        ("SELECT name FROM pg_settings", "other"),
        ("SELECT '; DROP TABLE x'", "other"),
    ],
)
def test_statement_without_a_name_gets_one_from_its_sql(sql: str, name: str) -> None:
    assert find_statement_name(sql, {}) == name
