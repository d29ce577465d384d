"""A search for a rare word reads the index on words, although the planner overestimates it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.core.db._page_rows import FIRST_ROWS
from tests.support import servers
from tests.support.query_plans import PlanNode, explain
from tests.support.responses import get_json
from tests.support.statements import observe_session_statements

# With `pytest --dist loadfile`, only one process creates the table of unique words.
pytestmark = pytest.mark.private_database

# If all words of a table are different, the planner assumes that each is in 2 % of the rows.
# Autovacuum analyzes the table likewise in production.
INSERT_UNIQUE_WORDS = """
INSERT INTO authors (id, name, created_at, updated_at)
SELECT gen_random_uuid(), md5(n::text) || CASE n % 20000 WHEN 0 THEN ' scarce' ELSE '' END,
    timestamptz '2020-01-01Z' + n * interval '1 minute',
    timestamptz '2020-01-01Z' + n * interval '1 minute'
FROM generate_series(1, 100000) n
"""


@pytest.fixture(scope="module")
async def unique_words_url(template_url: str) -> AsyncIterator[str]:
    """The URL of a database with 100,000 authors, created once for all tests of this file."""
    async with servers.copy_with_rows(template_url, INSERT_UNIQUE_WORDS) as url:
        yield url


@pytest.fixture
def private_database_url(unique_words_url: str) -> str:
    """The URL of the database of the client, which replaces that of the same fixture elsewhere."""
    return unique_words_url


async def explain_search(client: AsyncClient, database: Database, url: str) -> list[PlanNode]:
    """Search, and return the nodes of the plan of the only statement that were executed."""
    sent_statements: list[tuple[str, Any]] = []

    def append_statement(statement: str, parameters: Any) -> None:
        sent_statements.append((statement, parameters))

    with observe_session_statements(database, append_statement):
        await get_json(client, url)
    [(statement, parameters)] = sent_statements
    nodes = await explain(database, statement, parameters, "ANALYZE, FORMAT JSON")
    return [node for node in nodes if node["Actual Loops"]]


def index_rows(nodes: list[PlanNode]) -> dict[str, int]:
    """Return how many rows of each index were read."""
    return {
        node["Index Name"]: node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        for node in nodes
        if "Index Name" in node
    }


async def test_search_for_rare_word_reads_only_first_rows_in_sort_order(
    client: AsyncClient, database: Database
) -> None:
    nodes = await explain_search(client, database, "/authors?q=scarce&count=none")
    assert index_rows(nodes) == {"ix_authors_created_at_id": FIRST_ROWS, "ix_authors_name_terms": 5}


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "name", "-name"])
async def test_search_for_rare_word_after_cursor_does_not_read_all_rows_after_cursor(
    client: AsyncClient, database: Database, sort: str
) -> None:
    url = f"/authors?q=scarce&sort={sort}&size=1"
    page = await get_json(client, f"{url}&page=4")
    nodes = await explain_search(client, database, f"{url}&cursor={page['next']}")
    rows = index_rows(nodes)
    assert rows.pop("ix_authors_name_terms") == 5
    assert list(rows.values()) == [FIRST_ROWS]


async def test_search_reads_only_first_rows_in_sort_order_although_filter_excludes_them(
    client: AsyncClient, database: Database
) -> None:
    # The planner expects one in five rows to match the filter. Only the last 20,000 do.
    url = "/authors?q=scarce&count=none&updated_from=2020-02-25T00:00:00Z"
    nodes = await explain_search(client, database, url)
    assert index_rows(nodes) == {"ix_authors_created_at_id": FIRST_ROWS, "ix_authors_name_terms": 5}
