"""Cursors over HTTP: which are taken, which are refused. The walks have a file of their own."""

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
    fill_tables,
    insert_rows,
)

every_list = pytest.mark.parametrize("path", LIST_PATHS)


@pytest.fixture
async def filled(database: Database) -> None:
    await fill_tables(database, 57)


@every_list
async def test_page_and_cursor_exclude_each_other(
    client: AsyncClient, filled: None, path: str
) -> None:
    cursor = (await get_json(client, path))["next"]
    answer = await client.get(f"{path}?page=1&cursor={cursor}")
    assert answer.status_code == 422
    assert {fault["parameter"] for fault in answer.json()["errors"]} <= {"page", "cursor"}


@every_list
async def test_a_cursor_that_was_changed_anywhere_is_refused(
    client: AsyncClient, filled: None, path: str
) -> None:
    cursor = (await get_json(client, f"{path}?size=2&sort=-created_at"))["next"]
    changed = {
        cursor[:n] + ("B" if letter == "A" else "A") + cursor[n + 1 :]
        for n, letter in enumerate(cursor)
    }
    changed |= {cursor[:end] for end in range(1, len(cursor))}
    changed |= {cursor + end for end in ("A", "AAAA", "=", "==", "%3D", "%0A", "%00", "+", "é")}
    changed |= {f"%20{cursor}", f"{cursor}{cursor}", cursor[::-1]}
    for other in sorted(changed):
        check_parameter_error(
            await client.get(f"{path}?size=2&sort=-created_at&cursor={other}"), "cursor"
        )


@every_list
async def test_a_cursor_that_never_was_one_is_refused(client: AsyncClient, path: str) -> None:
    payloads = (b"", b"[]", b"{}", b"null", b"[null]", b"[1", b"\xff", b"[" * 1000)
    encoded = [urlsafe_b64encode(b"0123456789ab" + payload).decode() for payload in payloads]
    texts = ["", "x", "A" * 1000, "A" * 7_000, "null", "..%2F..", "%00", "%ff", "%F0%9F%93%9A", "é"]
    for cursor in (*texts, *encoded):
        check_parameter_error(await client.get(f"{path}?cursor={cursor}"), "cursor")


@every_list
async def test_a_cursor_of_another_sort_is_refused(
    client: AsyncClient, filled: None, path: str
) -> None:
    first, *others = SORT_KEYS[path]
    cursor = (await get_json(client, f"{path}?sort={first}"))["next"]
    mixed = [order for key in others for order in (f"{first},{key}", f"{key},{first}")]
    for sort in (f"-{first}", *others, *mixed):
        check_parameter_error(await client.get(f"{path}?sort={sort}&cursor={cursor}"), "cursor")
    check_parameter_error(await client.get(f"{path}?cursor={cursor}"), "cursor")


@every_list
async def test_a_cursor_of_other_filters_is_refused(
    client: AsyncClient, filled: None, path: str
) -> None:
    own = "created_from=2026-01-01T00:03:00Z"
    cursor = (await get_json(client, f"{path}?{own}"))["next"]
    searches = [f"{own}&q=x"] if path in SEARCH_WORDS else []
    for other in (
        "",
        "created_from=2026-01-01T00:03:01Z",
        "created_to=2026-01-01T00:03:00Z",
        "updated_from=2026-01-01T00:03:00Z",
        f"{own}&created_to=2026-02-01T00:00:00Z",
        *searches,
    ):
        check_parameter_error(await client.get(f"{path}?{other}&cursor={cursor}"), "cursor")


async def test_a_cursor_of_another_list_is_refused(client: AsyncClient, filled: None) -> None:
    cursors = {path: (await get_json(client, path))["next"] for path in LIST_PATHS}
    for path in LIST_PATHS:
        for other in set(LIST_PATHS) - {path}:
            check_parameter_error(await client.get(f"{path}?cursor={cursors[other]}"), "cursor")


async def test_a_cursor_of_another_authors_books_is_refused(
    client: AsyncClient, filled: None
) -> None:
    other = await make_author(client)
    cursor = (await get_json(client, AUTHOR_BOOKS_PATH))["next"]
    check_parameter_error(
        await client.get(f"/authors/{other['id']}/books?cursor={cursor}"), "cursor"
    )


@every_list
async def test_size_and_count_may_change_from_page_to_page(
    client: AsyncClient, filled: None, path: str
) -> None:
    cursor = (await get_json(client, f"{path}?size=3&count=none"))["next"]
    page = await get_json(client, f"{path}?size=5&count=exact&cursor={cursor}")
    assert row_numbers(page) == [4, 5, 6, 7, 8]
    assert row_numbers(await get_json(client, f"{path}?size=2&cursor={page['next']}")) == [9, 10]


@every_list
async def test_the_last_page_by_cursor_has_no_next(
    client: AsyncClient, filled: None, path: str
) -> None:
    cursor = (await get_json(client, f"{path}?size=50"))["next"]
    page = await get_json(client, f"{path}?size=7&cursor={cursor}")
    assert (row_numbers(page), page["next"]) == (list(range(51, 58)), None)


def tables_to_empty(path: str) -> list[str]:
    """The table of a list, after those that may refer to its rows."""
    cases = cases_in_insert_order()
    return [case.plural for case in reversed(cases[cases.index(LIST_CASES[path]) :])]


@every_list
async def test_a_cursor_outlives_its_row_and_all_that_come_after(
    client: AsyncClient, database: Database, filled: None, path: str
) -> None:
    cursor = (await get_json(client, path))["next"]
    for table in tables_to_empty(path):
        await execute(database, f"DELETE FROM {table} WHERE created_at >= '2026-01-01T00:20Z'")
    page = await get_json(client, f"{path}?cursor={cursor}&count=exact")
    assert (page["items"], page["total"], page["next"]) == ([], 19, None)


@pytest.mark.parametrize("letter", ["x", "é", "本", "📚", '"', "\\", "\x01", " ", "\u2028"])
async def test_a_list_of_the_longest_strings_can_be_walked(
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
