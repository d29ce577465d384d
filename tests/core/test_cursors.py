"""Valid and invalid cursors of lists over HTTP. `test_cursor_walks.py` reads whole lists."""

from base64 import urlsafe_b64encode
from uuid import UUID

import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.entities import cases_in_insert_order
from tests.support.factories import make_author
from tests.support.responses import check_parameter_error, get_json, row_numbers
from tests.support.rows import (
    AUTHOR_BOOKS_PATH,
    LIST_CASES,
    LIST_PATHS,
    SEARCH_WORDS,
    SORT_KEYS,
    execute,
    insert_rows,
)

every_list = pytest.mark.parametrize("path", LIST_PATHS)


@every_list
async def test_page_with_cursor_returns_422(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    cursor = (await get_json(client, path))["next"]
    response = await client.get(f"{path}?page=1&cursor={cursor}")
    assert response.status_code == 422
    field_errors = response.json()["errors"]
    assert {field_error["parameter"] for field_error in field_errors} <= {"page", "cursor"}


@every_list
async def test_modified_cursor_returns_422(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    cursor = (await get_json(client, f"{path}?size=2&sort=-created_at"))["next"]
    modified_cursors = {
        cursor[:position] + ("B" if letter == "A" else "A") + cursor[position + 1 :]
        for position, letter in enumerate(cursor)
    }
    modified_cursors |= {cursor[:length] for length in range(1, len(cursor))}
    modified_cursors |= {
        cursor + suffix for suffix in ("A", "AAAA", "=", "==", "%3D", "%0A", "%00", "+", "é")
    }
    modified_cursors |= {f"%20{cursor}", f"{cursor}{cursor}", cursor[::-1]}
    for modified in sorted(modified_cursors):
        check_parameter_error(
            await client.get(f"{path}?size=2&sort=-created_at&cursor={modified}"), "cursor"
        )


@every_list
async def test_invalid_cursor_returns_422(client: AsyncClient, path: str) -> None:
    payloads = (b"", b"[]", b"{}", b"null", b"[null]", b"[1", b"\xff", b"[" * 1000)
    encoded = [urlsafe_b64encode(b"0123456789ab" + payload).decode() for payload in payloads]
    texts = ["", "x", "A" * 1000, "A" * 7_000, "null", "..%2F..", "%00", "%F0%9F%93%9A", "é"]
    for cursor in (*texts, *encoded):
        check_parameter_error(await client.get(f"{path}?cursor={cursor}"), "cursor")


@every_list
async def test_cursor_from_another_sort_order_returns_422(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    first, *other_keys = SORT_KEYS[path]
    cursor = (await get_json(client, f"{path}?sort={first}"))["next"]
    several_keys = [order for key in other_keys for order in (f"{first},{key}", f"{key},{first}")]
    for sort in (f"-{first}", *other_keys, *several_keys):
        check_parameter_error(await client.get(f"{path}?sort={sort}&cursor={cursor}"), "cursor")
    check_parameter_error(await client.get(f"{path}?cursor={cursor}"), "cursor")


@every_list
async def test_cursor_from_other_filters_returns_422(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    filters = "created_from=2026-01-01T00:03:00Z"
    cursor = (await get_json(client, f"{path}?{filters}"))["next"]
    searches = [f"{filters}&q=x"] if path in SEARCH_WORDS else []
    for other_filters in (
        "",
        "created_from=2026-01-01T00:03:01Z",
        "created_to=2026-01-01T00:03:00Z",
        "updated_from=2026-01-01T00:03:00Z",
        f"{filters}&created_to=2026-02-01T00:00:00Z",
        *searches,
    ):
        check_parameter_error(await client.get(f"{path}?{other_filters}&cursor={cursor}"), "cursor")


async def test_cursor_from_another_list_returns_422(
    client: AsyncClient, filled_tables: None
) -> None:
    cursors = {path: (await get_json(client, path))["next"] for path in LIST_PATHS}
    for path in LIST_PATHS:
        for other in set(LIST_PATHS) - {path}:
            check_parameter_error(await client.get(f"{path}?cursor={cursors[other]}"), "cursor")


async def test_cursor_from_books_of_another_author_returns_422(
    client: AsyncClient, filled_tables: None
) -> None:
    other = await make_author(client)
    cursor = (await get_json(client, AUTHOR_BOOKS_PATH))["next"]
    check_parameter_error(
        await client.get(f"/authors/{other['id']}/books?cursor={cursor}"), "cursor"
    )


@every_list
async def test_size_and_count_may_differ_between_pages(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    cursor = (await get_json(client, f"{path}?size=3&count=none"))["next"]
    page = await get_json(client, f"{path}?size=5&count=exact&cursor={cursor}")
    assert row_numbers(page) == [4, 5, 6, 7, 8]
    assert row_numbers(await get_json(client, f"{path}?size=2&cursor={page['next']}")) == [9, 10]


@every_list
async def test_last_page_after_cursor_has_no_next_cursor(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    cursor = (await get_json(client, f"{path}?size=50"))["next"]
    page = await get_json(client, f"{path}?size=7&cursor={cursor}")
    assert (row_numbers(page), page["next"]) == (list(range(51, 58)), None)


def tables_in_delete_order(path: str) -> list[str]:
    """Return the table of a list, after the tables that may refer to its rows."""
    cases = cases_in_insert_order()
    return [case.plural for case in reversed(cases[cases.index(LIST_CASES[path]) :])]


@every_list
async def test_cursor_is_valid_after_its_row_and_all_later_rows_are_deleted(
    client: AsyncClient, database: Database, filled_tables: None, path: str
) -> None:
    cursor = (await get_json(client, path))["next"]
    for table in tables_in_delete_order(path):
        await execute(database, f"DELETE FROM {table} WHERE created_at >= '2026-01-01T00:20Z'")
    page = await get_json(client, f"{path}?cursor={cursor}&count=exact")
    assert (page["items"], page["total"], page["next"]) == ([], 19, None)


@pytest.mark.parametrize("letter", ["x", "é", "本", "📚", '"', "\\", "\x01", " ", "\u2028"])
async def test_cursor_may_contain_longest_strings(
    client: AsyncClient, database: Database, letter: str
) -> None:
    ids = [UUID(int=n) for n in range(2)]
    name, title = letter * 200, letter * 300
    await insert_rows(database, "authors", [{"id": id_, "name": name} for id_ in ids])
    await insert_rows(database, "books", [{"id": i, "title": title, "author_id": i} for i in ids])
    users = [{"name": name[:100], "email": f"{n}{title[:253]}", "password_hash": ""} for n in "12"]
    await insert_rows(database, "users", users)
    for url in (
        "/authors?size=1&sort=name,dob,created_at",
        "/books?size=1&sort=title,created_at,updated_at",
        "/users?size=1&sort=name,email,created_at",
    ):
        first = await get_json(client, url)
        second = await get_json(client, f"{url}&cursor={first['next']}")
        assert first["items"][0]["id"] < second["items"][0]["id"]
