"""The page about distributed databases names what our schema uses and they may lack."""

import re

import asyncpg
import pytest

from tests.support.processes import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "operations" / "distributed-postgres.md"
# Each query returns the names of objects that the first table of the page has to list.
QUERIES = {
    "GIN indexes": """
        SELECT relname FROM pg_class JOIN pg_am ON pg_am.oid = relam
        WHERE amname = 'gin' AND relnamespace = 'public'::regnamespace
    """,
    "triggers": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
    "immutable functions": """
        SELECT proname FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND provolatile = 'i'
    """,
    "foreign keys": "SELECT conname FROM pg_constraint WHERE contype = 'f'",
    "unique keys": """
        SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indisunique AND NOT indisprimary AND relnamespace = 'public'::regnamespace
    """,
    "identity columns": """
        SELECT attrelid::regclass || '.' || attname FROM pg_attribute
        WHERE attidentity <> '' AND attrelid >= 16384
    """,
    "generated columns": """
        SELECT attrelid::regclass || '.' || attname FROM pg_attribute
        WHERE attgenerated <> '' AND attrelid >= 16384
    """,
}


@pytest.mark.parametrize("objects", QUERIES)
async def test_page_lists_everything_of_the_schema_that_may_be_missing_elsewhere(
    objects: str, outside_connection: asyncpg.Connection
) -> None:
    first_table = PAGE.read_text().split("\n## ")[1]
    listed_names = set(re.findall(r"`([\w.]+)`", first_table))
    names = {row[0] for row in await outside_connection.fetch(QUERIES[objects])}
    assert names
    assert names <= listed_names
