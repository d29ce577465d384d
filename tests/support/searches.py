"""Searches of lists over HTTP, and of texts in the database."""

from typing import Any
from urllib.parse import quote
from uuid import UUID

import asyncpg
from httpx import AsyncClient

from app.core.db import Database
from tests.support.responses import get_json
from tests.support.rows import LIST_CASES, add_referenced_rows, add_rows

# Returns the searches of an array that do not find the text at the same position in another array.
_SELECT_MISSED = """
SELECT search, text FROM unnest($1::text[], $2::text[]) AS pair (search, text)
WHERE NOT coalesce(search_terms(text) @@ search_terms_query(search), false)
"""


async def insert_names(database: Database, path: str, names: list[str]) -> None:
    """Insert one row for each name or title. UUID keys are 0, 1, 2 and so on."""
    case = LIST_CASES[path]
    assert case.search_column is not None
    rows: list[dict[str, Any]] = [
        {"n": number, case.search_column: name} for number, name in enumerate(names, 1)
    ]
    if case.has_uuid:
        rows = [{**row, "id": UUID(int=number)} for number, row in enumerate(rows)]
    await add_referenced_rows(database, case)
    await add_rows(database, case, rows)


async def search_names(client: AsyncClient, path: str, q: str) -> list[str]:
    """Return the names or titles of the rows that match a search, and check the total."""
    page = await get_json(client, f"{path}?q={quote(q, safe='')}&size=100")
    assert page["total"] == len(page["items"])
    column = LIST_CASES[path].search_column
    return [item[column] for item in page["items"]]


async def find_missed(
    connection: asyncpg.Connection, pairs: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return those pairs of a search and a text in which the search does not find the text."""
    searches = [search for search, _ in pairs]
    texts = [text for _, text in pairs]
    return [tuple(row) for row in await connection.fetch(_SELECT_MISSED, searches, texts)]
