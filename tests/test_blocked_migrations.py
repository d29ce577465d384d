"""Migrations of a database in use: locks that other sessions hold, and indexes that are invalid."""

import asyncio
import logging
from collections.abc import AsyncIterator

import asyncpg
import pytest
from alembic.util import CommandError
from httpx import AsyncClient

from app.core.db import DATABASE_AND_OS_ERRORS
from tests.support.database_proxy import running_database_proxy
from tests.support.factories import make_author
from tests.support.processes import poll_until
from tests.support.upgrades import downgrade_schema, upgrade_schema

# Revision 0019 drops these before it changes books. It would wait for the reader to do so.
DROP_INDEXES_OF_BOOKS = "DROP INDEX ix_books_title_id, ix_books_author_id_title_id, ix_books_search"
SELECT_REVISION = "SELECT version_num FROM alembic_version"
# Makes the next upgrade run later revisions again, which is faster than to undo them.
SET_REVISION = "UPDATE alembic_version SET version_num = $1"
SELECT_INDEX_OID = "SELECT $1::regclass::oid"
IS_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = $1::regclass"
# Marks an index as CREATE INDEX CONCURRENTLY leaves it if it fails.
INVALIDATE = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::regclass"
COUNT_CONCURRENT_BUILDS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE 'CREATE % CONCURRENTLY%' AND state = 'active'
"""
# The indexes of revision 0015.
INDEX = "ix_stored_objects_deleting_id"
OTHER_INDEX = "ix_stored_objects_deleting_document_id_id"


@pytest.fixture
async def reader(private_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that holds locks of tables in a transaction until it is rolled back."""
    connection = await asyncpg.connect(
        private_database_url, server_settings={"application_name": "report"}
    )
    yield connection
    await connection.close()


async def wait_until_logged(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Return when a text has been logged."""

    async def is_logged() -> bool:
        return text in caplog.text

    await poll_until(is_logged)


@pytest.mark.private_database
async def test_requests_succeed_while_migration_waits_for_a_reader(
    client: AsyncClient,
    private_database_url: str,
    reader: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await downgrade_schema(private_database_url, "0018")
    await reader.execute(DROP_INDEXES_OF_BOOKS)
    author = await make_author(client)
    transaction = reader.transaction()
    await transaction.start()
    await reader.execute("SELECT FROM books LIMIT 1")
    upgrade = asyncio.create_task(upgrade_schema(private_database_url))
    statuses = set()
    while "trying again" not in caplog.text:
        assert not upgrade.done()
        book = {"title": "Lavinia", "author_id": author["id"]}
        statuses.add((await client.post("/books", json=book)).status_code)
        statuses.add((await client.get("/books")).status_code)
    await transaction.rollback()
    assert await upgrade == "The schema is at head."
    statuses.add((await client.get("/books?q=lavinia")).status_code)
    assert statuses == {200, 201}


async def test_upgrade_that_cannot_lock_a_table_names_the_session_and_keeps_earlier_revisions(
    private_database_url: str, reader: asyncpg.Connection
) -> None:
    await downgrade_schema(private_database_url, "0017")
    await reader.execute(DROP_INDEXES_OF_BOOKS)
    async with reader.transaction():
        await reader.execute("SELECT 'secret' FROM books")
        with pytest.raises(CommandError) as error:
            await upgrade_schema(private_database_url, lock_timeout_seconds=0)
        message = str(error.value)
        assert "revision 0019 waits for AccessExclusiveLock on books" in message
        assert f"session {reader.get_server_pid()} (user" in message
        assert "application report, idle in transaction" in message
        assert "secret" not in message
        assert await reader.fetchval(SELECT_REVISION) == "0018"


async def test_relative_downgrade_that_is_repeated_goes_no_further(
    private_database_url: str, reader: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    transaction = reader.transaction()
    await transaction.start()
    await reader.execute("SELECT FROM authors")
    # The downgrade of 0020 creates a table. That of 0019 adds a column to authors.
    downgrade = asyncio.create_task(downgrade_schema(private_database_url, "-2"))
    await wait_until_logged("revision 0019 waits", caplog)
    await transaction.rollback()
    await downgrade
    assert await reader.fetchval(SELECT_REVISION) == "0018"


async def test_upgrade_of_an_empty_database_that_is_repeated_runs_no_revision_twice(
    private_database_url: str, reader: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await reader.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    transaction = reader.transaction()
    await transaction.start()
    # Revision 0002 waits for the end of this transaction to create a table with the same name.
    await reader.execute("CREATE TABLE documents ()")
    upgrade = asyncio.create_task(upgrade_schema(private_database_url, "0002"))
    await wait_until_logged("revision 0002 waits", caplog)
    await transaction.rollback()
    assert await upgrade == "The schema is at 0002."


async def test_upgrade_waits_for_the_statement_of_one_that_was_killed(
    private_database_url: str, reader: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await reader.execute(f"DROP INDEX {INDEX}")
    await reader.execute(SET_REVISION, "0014")
    observer = await asyncpg.connect(private_database_url)

    async def is_building() -> bool:
        count: int = await observer.fetchval(COUNT_CONCURRENT_BUILDS)
        return count == 1

    transaction = reader.transaction()
    await transaction.start()
    # Building an index concurrently waits for transactions that write to the table.
    await reader.execute("LOCK TABLE stored_objects IN ROW EXCLUSIVE MODE")
    async with running_database_proxy(private_database_url) as proxy:
        killed_upgrade = asyncio.create_task(upgrade_schema(proxy.url, "0015"))
        await poll_until(is_building)
        # Postgres sees the same when the process is killed: its connections end.
        proxy.reset_connections()
        with pytest.raises(DATABASE_AND_OS_ERRORS):
            await killed_upgrade
    upgrade = asyncio.create_task(upgrade_schema(private_database_url, "0015"))
    await wait_until_logged("Waiting for another upgrade", caplog)
    assert await is_building()
    await transaction.rollback()
    assert await upgrade == "The schema is at 0015."
    assert await observer.fetchval(IS_VALID, INDEX)
    await observer.close()


async def test_pending_revision_builds_invalid_indexes_again_and_keeps_valid_ones(
    private_database_url: str, reader: asyncpg.Connection
) -> None:
    before = await reader.fetchval(SELECT_INDEX_OID, OTHER_INDEX)
    await reader.execute(INVALIDATE, INDEX)
    await reader.execute(SET_REVISION, "0014")
    await upgrade_schema(private_database_url, "0015")
    assert await reader.fetchval(IS_VALID, INDEX)
    assert await reader.fetchval(SELECT_INDEX_OID, OTHER_INDEX) == before


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
