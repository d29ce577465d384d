"""Pages of lists over HTTP, their bounds and totals, and the books of an author."""

import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import make_author, make_book, make_user
from tests.support.responses import (
    PAGE_FIELDS,
    check_parameter_error,
    empty_page,
    get_json,
    row_numbers,
)
from tests.support.rows import (
    AUTHOR_BOOKS_PATH,
    AUTHOR_ID,
    COLLECTION_PATHS,
    LIST_PATHS,
    TABLE_NAMES,
    execute,
)

every_list = pytest.mark.parametrize("path", LIST_PATHS)
every_collection = pytest.mark.parametrize("path", COLLECTION_PATHS)


@every_list
async def test_list_without_parameters_returns_first_20_rows_oldest_first(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    page = await get_json(client, path)
    assert list(page) == PAGE_FIELDS
    assert (page["total"], page["page"], page["size"], page["pages"]) == (57, 1, 20, 3)
    assert row_numbers(page) == list(range(1, 21))
    assert page["next"]


@every_list
async def test_last_page_has_remaining_rows_and_no_next_cursor(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    page = await get_json(client, f"{path}?page=3&size=20")
    assert row_numbers(page) == list(range(41, 58))
    assert (page["total"], page["page"], page["pages"], page["next"]) == (57, 3, 3, None)


@every_list
async def test_last_page_that_is_full_has_no_next_cursor(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    page = await get_json(client, f"{path}?page=3&size=19")
    assert row_numbers(page) == list(range(39, 58))
    assert (page["pages"], page["next"]) == (3, None)


@every_list
async def test_page_past_end_is_empty_and_has_total(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    page = await get_json(client, f"{path}?page=1000&size=100")
    expected = empty_page(total=57, page=1000, size=100, pages=1)
    assert page == expected


@every_collection
async def test_empty_collection_has_zero_pages(client: AsyncClient, path: str) -> None:
    page = await get_json(client, path)
    assert page == empty_page(total=0, page=1, size=20, pages=0)


@every_list
async def test_all_pages_together_contain_every_row_once(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    numbers: list[int] = []
    for page in range(1, 10):
        numbers += row_numbers(await get_json(client, f"{path}?page={page}&size=7"))
    assert numbers == list(range(1, 58))


@every_list
async def test_page_size_must_be_1_to_100(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    assert row_numbers(await get_json(client, f"{path}?size=1")) == [1]
    assert row_numbers(await get_json(client, f"{path}?size=100")) == list(range(1, 58))
    for size in (0, 101, -1, 10**18):
        check_parameter_error(await client.get(f"{path}?size={size}"), "size")


@every_list
async def test_page_number_below_1_returns_422(client: AsyncClient, path: str) -> None:
    for page in (0, -1):
        check_parameter_error(await client.get(f"{path}?page={page}"), "page")


@every_list
async def test_page_that_ends_at_row_100000_is_returned(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    for page, size in ((1000, 100), (100_000, 1), (5000, 20), (3030, 33)):
        body = await get_json(client, f"{path}?page={page}&size={size}")
        assert (body["page"], body["items"]) == (page, [])


@every_list
@pytest.mark.parametrize(
    ("page", "size"), [(1001, 100), (50_001, 2), (3031, 33), (100_001, 1), (10**18, 1)]
)
async def test_page_beyond_row_100000_returns_422_that_recommends_cursor(
    client: AsyncClient, path: str, page: int, size: int
) -> None:
    response = await client.get(f"{path}?page={page}&size={size}")
    field_error = check_parameter_error(response, "page")
    assert "cursor" in field_error["detail"]


# Totals


@every_list
async def test_page_by_number_has_exact_total_by_default(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    for query in ("", "page=2", "count=exact", "page=2&count=exact", "count=bounded"):
        page = await get_json(client, f"{path}?{query}")
        assert (page["total"], page["pages"]) == (57, 3)


@every_list
async def test_page_with_count_none_has_neither_total_nor_pages(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    page = await get_json(client, f"{path}?page=2&count=none")
    assert (page["total"], page["page"], page["pages"]) == (None, 2, None)
    assert row_numbers(page) == list(range(21, 41))
    assert page["next"]


@every_list
@pytest.mark.parametrize(
    ("count", "total"),
    [("", None), ("&count=none", None), ("&count=exact", 57), ("&count=bounded", 57)],
)
async def test_page_after_cursor_has_total_only_with_count_exact(
    client: AsyncClient, filled_tables: None, path: str, count: str, total: int | None
) -> None:
    cursor = (await get_json(client, path))["next"]
    page = await get_json(client, f"{path}?cursor={cursor}{count}")
    assert (page["total"], page["page"], page["pages"]) == (total, None, None)
    assert row_numbers(page) == list(range(21, 41))


@pytest.mark.private_database  # what ANALYZE finds outlives a rollback
@every_collection
async def test_estimated_total_is_estimate_of_query_planner(
    client: AsyncClient, database: Database, filled_tables: None, path: str
) -> None:
    await execute(database, f"ANALYZE {TABLE_NAMES[path]}")
    page = await get_json(client, f"{path}?count=estimated")
    assert page["total"] == 57
    next_page = await get_json(client, f"{path}?cursor={page['next']}&count=estimated")
    assert (next_page["total"], next_page["page"], next_page["pages"]) == (57, None, None)


@every_list
async def test_page_and_total_are_read_by_one_statement(
    client: AsyncClient, filled_tables: None, path: str, statements: list[str]
) -> None:
    await get_json(client, f"{path}?page=2&count=exact")
    assert len(_without_savepoints(statements)) == 1


@every_list
async def test_count_none_sends_no_count_to_database(
    client: AsyncClient, filled_tables: None, path: str, statements: list[str]
) -> None:
    await get_json(client, f"{path}?count=none")
    [statement] = _without_savepoints(statements)
    assert "count(" not in statement


def _without_savepoints(statements: list[str]) -> list[str]:
    """Return the statements except those that the fixtures send to control savepoints."""
    return [statement for statement in statements if "SAVEPOINT" not in statement]


# The books of an author


async def test_books_of_author_exclude_books_of_other_authors(client: AsyncClient) -> None:
    book = await make_book(client, "One")
    await make_book(client, "Two")
    page = await get_json(client, f"/authors/{book['author_id']}/books")
    assert (page["items"], page["total"]) == ([book], 1)


async def test_books_of_author_can_be_filtered_sorted_and_paged(
    client: AsyncClient, filled_tables: None
) -> None:
    query = "q=title&created_to=2026-01-01T00:40:00Z&sort=-created_at&size=10&page=2"
    page = await get_json(client, f"{AUTHOR_BOOKS_PATH}?{query}")
    assert (row_numbers(page), page["total"], page["pages"]) == (list(range(29, 19, -1)), 39, 4)


@pytest.mark.parametrize(
    "query",
    ["", "page=2", "count=none", "count=estimated", "q=x", "sort=-title", f"id={AUTHOR_ID}"],
)
async def test_books_of_unknown_author_return_404(
    client: AsyncClient, filled_tables: None, query: str
) -> None:
    response = await client.get(f"/authors/{UNKNOWN_ID}/books?{query}")
    assert (response.status_code, response.json().get("detail")) == (404, "Author not found")


@pytest.mark.parametrize("query", ["", "page=2", "count=none", "count=estimated", "q=x"])
async def test_books_of_author_without_books_are_empty_list(
    client: AsyncClient, query: str
) -> None:
    author = await make_author(client)
    page = await get_json(client, f"/authors/{author['id']}/books?{query}")
    assert (page["items"], page["next"]) == ([], None)


async def test_invalid_author_id_in_path_returns_422(client: AsyncClient) -> None:
    check_parameter_error(await client.get("/authors/x/books"), "id")


async def test_listed_book_has_new_name_of_renamed_author(client: AsyncClient) -> None:
    book = await make_book(client)
    await client.patch(f"/authors/{book['author_id']}", json={"name": "Renamed"})
    page = await get_json(client, "/books")
    assert page["items"][0]["author"]["name"] == "Renamed"


async def test_list_of_users_contains_no_password(client: AsyncClient) -> None:
    user = await make_user(client)
    page = await get_json(client, "/users")
    assert page["items"] == [user]
    assert not any("password" in key for key in page["items"][0])
