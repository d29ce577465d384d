"""`count=bounded`, the default of pages by number, counts up to 100,000 items of a list."""

from typing import Any

import asyncpg
import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.core.paging import MAX_BOUNDED_TOTAL
from tests.support.many_books import BOOKS
from tests.support.query_plans import explain
from tests.support.responses import get_json, page_or_cursor, parse_link_header
from tests.support.rows import AUTHOR_ID
from tests.support.statements import observe_session_statements

pytestmark = pytest.mark.private_database


@pytest.fixture
def private_database_url(template_with_many_books: str) -> str:
    return template_with_many_books


@pytest.mark.parametrize(
    "url",
    [
        "/books",
        "/books?count=bounded",
        "/books?page=5000",
        f"/books?author_id={AUTHOR_ID}",
        f"/authors/{AUTHOR_ID}/books",
    ],
)
async def test_total_of_longer_list_is_unknown_and_at_least_one_more_than_bound(
    client: AsyncClient, url: str
) -> None:
    page = await get_json(client, url)
    assert (page["total"], page["pages"]) == (None, None)
    assert page["total_at_least"] == MAX_BOUNDED_TOTAL + 1
    assert len(page["items"]) == 20


async def test_total_of_list_as_long_as_bound_is_exact(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    rows = await outside_connection.fetch(
        "SELECT created_at FROM books ORDER BY created_at OFFSET $1 LIMIT 2", MAX_BOUNDED_TOTAL
    )
    expected = [(MAX_BOUNDED_TOTAL, None), (None, MAX_BOUNDED_TOTAL + 1)]
    for row, (total, total_at_least) in zip(rows, expected, strict=True):
        created_to = row["created_at"].isoformat().replace("+00:00", "Z")
        page = await get_json(client, f"/books?created_to={created_to}")
        assert (page["total"], page["total_at_least"]) == (total, total_at_least)


async def test_exact_count_has_no_bound(client: AsyncClient) -> None:
    page = await get_json(client, "/books?count=exact")
    assert (page["total"], page["total_at_least"], page["pages"]) == (BOOKS, None, BOOKS // 20)


async def test_page_after_cursor_is_counted_up_to_bound_on_request(client: AsyncClient) -> None:
    cursor = (await get_json(client, "/books"))["next"]
    page = await get_json(client, f"/books?cursor={cursor}&count=bounded")
    assert (page["total"], page["total_at_least"]) == (None, MAX_BOUNDED_TOTAL + 1)


async def test_page_of_longer_list_has_no_link_to_last_page(client: AsyncClient) -> None:
    links = parse_link_header(await client.get("/books?page=2"))
    pages = {name: page_or_cursor(url) for name, url in links.items()}
    assert pages == {"first": {"page": "1"}, "prev": {"page": "1"}, "next": {"page": "3"}}


async def test_bounded_count_reads_no_more_rows_than_bound(
    client: AsyncClient, database: Database
) -> None:
    sent_statements: list[tuple[str, Any]] = []

    def append_statement(statement: str, parameters: Any) -> None:
        sent_statements.append((statement, parameters))

    with observe_session_statements(database, append_statement):
        await get_json(client, "/books")
    [(statement, parameters)] = sent_statements
    nodes = await explain(database, statement, parameters, "ANALYZE, FORMAT JSON")
    assert max(node["Actual Rows"] for node in nodes) == MAX_BOUNDED_TOTAL + 1
