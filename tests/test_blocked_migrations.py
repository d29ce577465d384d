"""Migrations of a database in use: locks that other sessions hold, and indexes that are invalid."""

import asyncio
import logging
from collections.abc import AsyncIterator

import asyncpg
import pytest
from alembic.util import CommandError
from httpx import AsyncClient

from tests.support.database_activity import wait_for_query_result
from tests.support.factories import make_author
from tests.support.processes import poll_until, start_command
from tests.support.upgrades import downgrade_schema, upgrade_schema

# Revision 0018 drops these before it changes books. It would wait for the reader to do so.
DROP_INDEXES_OF_BOOKS = "DROP INDEX ix_books_title_id, ix_books_author_id_title_id, ix_books_search"
INSERT_BOOKS = """
INSERT INTO authors (id, name) VALUES (uuidv7(), 'Ursula K. Le Guin');
INSERT INTO books (id, title, author_id)
SELECT uuidv7(), 'Title ' || n, authors.id FROM authors, generate_series(1, 3000) n;
"""
SELECT_REVISION = "SELECT version_num FROM alembic_version"
SELECT_INDEX_OID = "SELECT indexrelid FROM pg_index WHERE indexrelid = $1::regclass"
IS_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = $1::regclass"
# Marks an index as CREATE INDEX CONCURRENTLY leaves it if it fails.
INVALIDATE = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::regclass"
COUNT_CONCURRENT_BUILDS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE 'CREATE % CONCURRENTLY%' AND state = 'active'
"""
INDEX = "ix_stored_objects_deleting_id"  # of revision 0015


@pytest.fixture
async def reader(private_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that holds locks of tables in a transaction until it is rolled back."""
    connection = await asyncpg.connect(
        private_database_url, server_settings={"application_name": "report"}
    )
    yield connection
    await connection.close()


@pytest.mark.private_database
async def test_requests_succeed_while_migration_waits_for_a_reader(
    client: AsyncClient,
    private_database_url: str,
    reader: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await downgrade_schema(private_database_url, "0017")
    await reader.execute(DROP_INDEXES_OF_BOOKS)
    await reader.execute(INSERT_BOOKS)
    author = await make_author(client)
    transaction = reader.transaction()
    await transaction.start()
    await reader.execute("SELECT FROM books LIMIT 1")
    upgrade = asyncio.create_task(upgrade_schema(private_database_url))
    statuses = set()
    while caplog.text.count("trying again") < 2:
        assert not upgrade.done()
        book = {"title": "Lavinia", "author_id": author["id"]}
        statuses.add((await client.post("/books", json=book)).status_code)
        statuses.add((await client.get("/books")).status_code)
    await transaction.rollback()
    assert await upgrade == "The schema is at head."
    statuses.add((await client.get("/books?q=lavinia")).status_code)
    assert statuses == {200, 201}


async def test_migration_that_cannot_lock_a_table_names_the_session_but_not_its_query(
    private_database_url: str, reader: asyncpg.Connection
) -> None:
    await downgrade_schema(private_database_url, "0010")
    async with reader.transaction():
        await reader.execute("SELECT 'secret' FROM tokens")
        with pytest.raises(CommandError) as error:
            await upgrade_schema(private_database_url, lock_timeout_seconds=0)
        message = str(error.value)
        assert "revision 0011 waits for AccessExclusiveLock on tokens" in message
        assert f"session {reader.get_server_pid()} (user" in message
        assert "application report, idle in transaction" in message
        assert "secret" not in message


async def test_revisions_before_the_one_that_is_blocked_are_kept(
    private_database_url: str, reader: asyncpg.Connection
) -> None:
    await downgrade_schema(private_database_url, "0009")
    async with reader.transaction():
        await reader.execute("SELECT FROM tokens")
        with pytest.raises(CommandError, match="revision 0011"):
            await upgrade_schema(private_database_url, lock_timeout_seconds=0)
        assert await reader.fetchval(SELECT_REVISION) == "0010"
    await upgrade_schema(private_database_url)


async def test_relative_downgrade_that_is_repeated_goes_no_further(
    private_database_url: str, reader: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await downgrade_schema(private_database_url, "0012")
    transaction = reader.transaction()
    await transaction.start()
    await reader.execute("SELECT FROM tokens")
    # The downgrade of 0012 changes nothing. That of 0011 drops a column.
    downgrade = asyncio.create_task(downgrade_schema(private_database_url, "-2"))

    async def has_failed_once() -> bool:
        return "revision 0011 waits" in caplog.text

    await poll_until(has_failed_once)
    await transaction.rollback()
    await downgrade
    assert await reader.fetchval(SELECT_REVISION) == "0010"


async def test_upgrade_waits_for_the_statement_of_one_that_was_killed(
    private_database_url: str, reader: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await downgrade_schema(private_database_url, "0014")
    observer = await asyncpg.connect(private_database_url)
    transaction = reader.transaction()
    await transaction.start()
    # Building an index concurrently waits for transactions that write to the table.
    await reader.execute("LOCK TABLE stored_objects IN ROW EXCLUSIVE MODE")
    killed_process = await start_command("migrate", DATABASE_URL=private_database_url)
    await wait_for_query_result(1, observer, COUNT_CONCURRENT_BUILDS)
    killed_process.kill()
    await killed_process.communicate()
    upgrade = asyncio.create_task(upgrade_schema(private_database_url))

    async def is_waiting() -> bool:
        return "Waiting for another upgrade" in caplog.text

    await poll_until(is_waiting)
    assert await observer.fetchval(COUNT_CONCURRENT_BUILDS) == 1
    await transaction.rollback()
    assert await upgrade == "The schema is at head."
    assert await observer.fetchval(IS_VALID, INDEX)
    await observer.close()


async def test_invalid_index_of_a_pending_revision_is_built_again(
    private_database_url: str, reader: asyncpg.Connection
) -> None:
    await downgrade_schema(private_database_url, "0014")
    await reader.execute(f"CREATE INDEX {INDEX} ON stored_objects (id) WHERE state = 'deleting'")
    await reader.execute(INVALIDATE, INDEX)
    await upgrade_schema(private_database_url)
    assert await reader.fetchval(IS_VALID, INDEX)


async def test_valid_index_is_not_built_again_when_a_revision_is_repeated(
    private_database_url: str, reader: asyncpg.Connection
) -> None:
    before = await reader.fetchval(SELECT_INDEX_OID, INDEX)
    await reader.execute("UPDATE alembic_version SET version_num = '0014'")
    await upgrade_schema(private_database_url, "0015")
    assert await reader.fetchval(SELECT_INDEX_OID, INDEX) == before


async def test_invalid_index_of_a_recorded_revision_is_reported_with_its_repair(
    private_database_url: str, reader: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await reader.execute(INVALIDATE, INDEX)
    caplog.set_level(logging.WARNING)
    assert await upgrade_schema(private_database_url) == "The schema is at head."
    assert f"The index {INDEX} is invalid" in caplog.text
    repair = f"REINDEX INDEX CONCURRENTLY {INDEX}"
    assert f"Run: {repair}\n" in caplog.text
    await reader.execute(repair)
    caplog.clear()
    await upgrade_schema(private_database_url)
    assert caplog.text == ""
