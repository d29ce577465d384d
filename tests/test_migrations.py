"""The schema: up, down and up again; the same as the models say; never a queue behind a lock."""

import asyncio
import io

import asyncpg
import pytest
from alembic import command
from sqlalchemy.exc import DBAPIError

from app import schema
from tests.processes import run
from tests.servers import sqlalchemy_url

DESCRIPTION = """
SELECT 'column', table_name || '.' || column_name, concat_ws(' ', data_type, is_nullable,
       column_default, character_maximum_length, is_identity, generation_expression)
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'function', proname, pg_get_functiondef(oid)
FROM pg_proc WHERE pronamespace = 'public'::regnamespace
ORDER BY 1, 2
"""


async def description(url: str) -> list[tuple[str, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(DESCRIPTION)]
    finally:
        await connection.close()


async def test_every_revision_goes_up_down_and_up_again(own_database: str) -> None:
    config = schema.config(sqlalchemy_url(own_database))
    before = await description(own_database)
    assert len(before) > 40
    await asyncio.to_thread(command.downgrade, config, "base")
    left = [row for row in await description(own_database) if "alembic" not in row[1]]
    assert left == []
    await asyncio.to_thread(command.upgrade, config, "head")
    assert await description(own_database) == before


async def test_the_models_and_the_migrations_agree(own_database: str) -> None:
    config = schema.config(sqlalchemy_url(own_database))
    await asyncio.to_thread(command.check, config)


async def test_two_upgrades_at_once_are_harmless(own_database: str) -> None:
    url = sqlalchemy_url(own_database)
    await asyncio.to_thread(command.downgrade, schema.config(url), "base")
    upgrades = await asyncio.gather(*(run("migrate", DATABASE_URL=own_database) for _ in range(2)))
    assert upgrades == [(0, "The schema is at head.\n")] * 2
    assert ("function", "search_vector") in [row[:2] for row in await description(own_database)]


async def test_a_migration_gives_up_on_a_lock_instead_of_queueing(own_database: str) -> None:
    config = schema.config(sqlalchemy_url(own_database))
    connection = await asyncpg.connect(own_database)
    async with connection.transaction():
        await connection.execute("LOCK TABLE books IN ACCESS SHARE MODE")
        with pytest.raises(DBAPIError, match="lock timeout"):
            await asyncio.to_thread(command.downgrade, config, "base")
    await connection.close()


def test_the_migrations_can_be_written_out_as_sql() -> None:
    config = schema.config()
    config.output_buffer = written = io.StringIO()
    command.upgrade(config, "head", sql=True)
    assert "SET LOCAL lock_timeout" in written.getvalue()
    assert "CREATE TABLE books" in written.getvalue()
