"""Lists sorted by names and titles, whose order ignores case and accents."""

from uuid import UUID

import pytest
from httpx import AsyncClient

from app.core.cursors import encode_cursor
from app.core.db import Database
from tests.support.responses import check_parameter_error, get_json
from tests.support.rows import AUTHOR_ID, insert_rows
from tests.support.sorted_names import ORDERED_NAMES, insert_authors, read_names
from tests.support.streamed_lists import read_json_lines

TIED_NAMES = ["ZOE", "Zoe", "Zoé", "zoe", "zoë", "Zoe", "ZOÉ", "Zoe\u0301"]


async def test_names_are_sorted_without_case_and_accents(
    client: AsyncClient, database: Database
) -> None:
    await insert_authors(database, sorted(ORDERED_NAMES))
    for size in (1, 3, 100):
        ascending = await read_names(client, "/authors?sort=name", size)
        descending = await read_names(client, "/authors?sort=-name", size)
        assert [name for _, name in ascending] == ORDERED_NAMES
        assert descending == ascending[::-1]


async def test_titles_of_all_books_and_of_author_are_sorted_in_the_same_order(
    client: AsyncClient, database: Database
) -> None:
    await insert_rows(database, "authors", [{"id": UUID(AUTHOR_ID), "name": "x"}])
    rows = [
        {"id": UUID(int=number), "title": title, "author_id": UUID(AUTHOR_ID)}
        for number, title in enumerate(sorted(ORDERED_NAMES))
    ]
    await insert_rows(database, "books", rows)
    for path in ("/books?sort=title", f"/books?author_id={AUTHOR_ID}&sort=title"):
        assert [title for _, title in await read_names(client, path, 4)] == ORDERED_NAMES
    path = f"/authors/{AUTHOR_ID}/books?sort=-title"
    assert [title for _, title in await read_names(client, path, 4)] == ORDERED_NAMES[::-1]


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_cursors_are_exact_among_names_that_differ_only_in_case_and_accents(
    client: AsyncClient, database: Database, size: int
) -> None:
    await insert_authors(database, TIED_NAMES)
    # The ids of the two equal names decide.
    expected = [
        (str(UUID(int=number)), name)
        for name, number in sorted((name, number) for number, name in enumerate(TIED_NAMES))
    ]
    assert await read_names(client, "/authors?sort=name", size) == expected
    assert await read_names(client, "/authors?sort=-name", size) == expected[::-1]


async def test_search_results_are_sorted_without_case_and_accents(
    client: AsyncClient, database: Database
) -> None:
    await insert_authors(database, ["Zoé Z", "zoe a", "ZOE Ä", "Émile"])
    items = await read_names(client, "/authors?sort=name&q=zoe", 1)
    assert [name for _, name in items] == ["ZOE Ä", "zoe a", "Zoé Z"]


async def test_stream_has_the_order_of_the_list(client: AsyncClient, database: Database) -> None:
    await insert_authors(database, sorted(ORDERED_NAMES))
    lines = await read_json_lines(client, "/authors?sort=name")
    assert [line["name"] for line in lines] == ORDERED_NAMES


async def test_cursor_of_list_that_was_sorted_by_code_points_returns_422(
    client: AsyncClient, database: Database
) -> None:
    await insert_authors(database, ["a", "b", "c"])
    old_cursor = encode_cursor(["a", UUID(int=0)], repr(("authors", ("name",), [])))
    response = await client.get(f"/authors?sort=name&cursor={old_cursor}")
    check_parameter_error(response, "cursor")


async def test_old_cursor_of_list_sorted_by_time_is_valid(
    client: AsyncClient, database: Database
) -> None:
    await insert_authors(database, ["a", "b", "c"])
    old_cursor = encode_cursor(
        ["2000-01-01T00:00:00Z", UUID(int=0)], repr(("authors", ("created_at",), []))
    )
    page = await get_json(client, f"/authors?sort=created_at&cursor={old_cursor}")
    assert [item["name"] for item in page["items"]] == ["a", "b", "c"]
