"""The reporting database without REPORTING_DATABASE_URL: it is the default one, but read-only.

tests/core/test_database_servers.py has one on a standby.
"""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.db import Database, Session
from tests.support.rows import first_value

INSERT_AUTHOR = "INSERT INTO authors (id, name) VALUES (gen_random_uuid(), :name) RETURNING id"
COUNT_AUTHORS_BY_NAME = "SELECT count(*) FROM authors WHERE name = :name"


async def select_value(session: Session, sql: str, **values: str) -> str:
    """Execute a statement and return the only value of its result."""
    return first_value(await session.execute(text(sql), values))


async def test_reporting_database_is_read_only_default_database_when_url_is_not_set(
    database: Database,
) -> None:
    reporting = database.named_databases["reporting"]
    current_database = "SELECT current_database()"
    assert await select_value(reporting.reads, current_database) == await select_value(
        database.reads, current_database
    )
    assert await select_value(reporting.reads, "SHOW default_transaction_read_only") == "on"
    assert await select_value(database.reads, "SHOW default_transaction_read_only") == "off"
    await select_value(database.writes, INSERT_AUTHOR, name="Ursula")
    assert await select_value(reporting.reads, COUNT_AUTHORS_BY_NAME, name="Ursula") == "1"
    async with database.transaction(database_name="reporting") as session:
        assert await select_value(session, COUNT_AUTHORS_BY_NAME, name="Ursula") == "1"


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_write_to_reporting_database_fails_when_url_is_not_set(
    database: Database, in_transaction: bool
) -> None:
    async def write() -> None:
        if not in_transaction:
            session = database.named_databases["reporting"].writes
            await select_value(session, INSERT_AUTHOR, name="forbidden")
            return
        async with database.transaction(database_name="reporting") as transaction:
            await select_value(transaction, INSERT_AUTHOR, name="forbidden")

    with pytest.raises(DBAPIError, match="read-only transaction"):
        await write()
    assert await select_value(database.reads, COUNT_AUTHORS_BY_NAME, name="forbidden") == "0"
