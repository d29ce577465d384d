"""Tests of revisions 0009 and 0019: duplicate emails, both releases, failures and deadlocks."""

import asyncio

import asyncpg
import pytest
from alembic.util import CommandError
from httpx import AsyncClient

from tests.support.database_activity import wait_for_query_result
from tests.support.processes import run_command
from tests.support.schema_descriptions import describe_schema
from tests.support.upgrades import downgrade_schema, upgrade_schema

# Two emails that differ in the case of a letter. The index of revision 0001 allows both, because
# the lower case of Σ is not ς.
INSERT_SAME_EMAILS = """
INSERT INTO users (name, email, password_hash)
VALUES ('a', 'οδός@example.com', 'x'), ('b', 'other@example.com', 'x'),
    ('c', 'ΟΔΌΣ@example.com', 'x')
"""


async def test_revision_0009_names_users_with_same_email_and_changes_nothing(
    private_database_url: str,
) -> None:
    await downgrade_schema(private_database_url, "0008")
    connection = await asyncpg.connect(private_database_url)
    await connection.execute(INSERT_SAME_EMAILS)
    before = await describe_schema(private_database_url)
    result = await run_command("migrate", DATABASE_URL=private_database_url)
    assert result.exit_code == 1
    assert "the users with the ids 1 and 3" in result.stderr
    assert "example.com" not in result.stderr
    assert await describe_schema(private_database_url) == before
    await connection.execute("DELETE FROM users WHERE id = 3")
    await upgrade_schema(private_database_url)
    await connection.close()


@pytest.mark.private_database
async def test_server_lists_and_searches_authors_before_contract_revision_0019(
    client: AsyncClient, private_database_url: str
) -> None:
    await downgrade_schema(private_database_url, "0018")
    author = (await client.post("/authors", json={"name": "Émile Zola"})).json()
    for query in ("q=emile&sort=name", "sort=-name"):
        response = await client.get(f"/authors?{query}")
        assert [item["id"] for item in response.json()["items"]] == [author["id"]]


async def test_previous_release_can_search_before_contract_revision_0019(
    private_database_url: str,
) -> None:
    await downgrade_schema(private_database_url, "0018")
    connection = await asyncpg.connect(private_database_url)
    await connection.execute("INSERT INTO authors (id, name) VALUES (uuidv7(), 'Émile Zola')")
    select = "SELECT name FROM authors WHERE search @@ search_query('emile') ORDER BY name, id"
    assert await connection.fetchval(select) == "Émile Zola"
    await connection.close()


async def test_downgrade_of_revision_0019_that_has_failed_can_be_repeated(
    private_database_url: str,
) -> None:
    await downgrade_schema(private_database_url, "0018")
    before = await describe_schema(private_database_url)
    await upgrade_schema(private_database_url)
    connection = await asyncpg.connect(private_database_url)
    async with connection.transaction():
        # The downgrade changes this table last.
        await connection.execute("SELECT FROM users")
        with pytest.raises(CommandError, match="AccessExclusiveLock on users"):
            await downgrade_schema(private_database_url, "0018", lock_timeout_seconds=0)
    await downgrade_schema(private_database_url, "0018")
    assert await describe_schema(private_database_url) == before
    await connection.close()


# The upgrade to revision 0019 waits for a lock.
COUNT_WAITING_UPGRADES = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE '%ALTER TABLE%' AND wait_event_type = 'Lock'
"""
DROP_INDEXES_OF_USERS = """
DROP INDEX uq_users_email, ix_users_name_id, ix_users_email_id, ix_users_search
"""


async def test_revision_0019_that_waits_for_a_table_does_not_block_other_tables(
    private_database_url: str,
) -> None:
    await downgrade_schema(private_database_url, "0018")
    request = await asyncpg.connect(private_database_url)
    observer = await asyncpg.connect(private_database_url)
    # Dropping an index concurrently would wait for the request below.
    await request.execute(DROP_INDEXES_OF_USERS)
    async with request.transaction():
        await request.execute("SELECT FROM users")
        upgrade = asyncio.create_task(upgrade_schema(private_database_url))
        await wait_for_query_result(1, observer, COUNT_WAITING_UPGRADES)
        await request.execute("SET LOCAL lock_timeout = '1s'")
        for table in ("authors", "books", "documents"):
            await request.execute(f"SELECT FROM {table}")
    await upgrade
    await request.close()
    await observer.close()
