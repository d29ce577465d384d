"""The `Link` header of lists: where it leads, and that it takes filters and sort along."""

from urllib.parse import urlencode, urlsplit
from uuid import UUID

import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.responses import (
    get_json,
    page_or_cursor,
    parse_link_header,
    query_parameters,
    row_numbers,
)
from tests.support.rows import (
    COLLECTION_PATHS,
    LIST_PATHS,
    SEARCH_WORDS,
    execute,
    fill_tables,
    insert_rows,
)

every_list = pytest.mark.parametrize("path", LIST_PATHS)


@pytest.fixture
async def filled(database: Database) -> None:
    await fill_tables(database, 57)


@every_list
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"first": "1", "next": "2", "last": "3"}),
        ("page=2", {"first": "1", "prev": "1", "next": "3", "last": "3"}),
        ("page=3", {"first": "1", "prev": "2", "last": "3"}),
        ("page=50", {"first": "1", "prev": "3", "last": "3"}),
        ("size=100", {"first": "1", "last": "1"}),
        ("page=2&count=none", {"first": "1", "prev": "1", "next": "3"}),
        ("page=3&count=none", {"first": "1", "prev": "2"}),
    ],
)
async def test_a_page_links_to_the_pages_around_it(
    client: AsyncClient, filled: None, path: str, query: str, expected: dict[str, str]
) -> None:
    found = parse_link_header(await client.get(f"{path}?{query}"))
    assert {name: page_or_cursor(target)["page"] for name, target in found.items()} == expected
    assert {urlsplit(target).path for target in found.values()} == {path}


@pytest.mark.parametrize("path", COLLECTION_PATHS)
async def test_an_empty_collection_links_to_its_only_page(client: AsyncClient, path: str) -> None:
    found = parse_link_header(await client.get(path))
    only = {"page": "1"}
    assert {name: page_or_cursor(target) for name, target in found.items()} == {
        "first": only,
        "last": only,
    }


@every_list
@pytest.mark.parametrize("count", ["none", "exact", "estimated"])
async def test_a_page_reached_by_cursor_links_to_the_first_and_the_next(
    client: AsyncClient, filled: None, path: str, count: str
) -> None:
    cursor = (await get_json(client, path))["next"]
    answer = await client.get(f"{path}?cursor={cursor}&count={count}")
    found = parse_link_header(answer)
    assert set(found) == {"first", "next"}
    assert page_or_cursor(found["first"]) == {"page": "1"}
    assert page_or_cursor(found["next"]) == {"cursor": answer.json()["next"]}


@pytest.mark.parametrize("path", SEARCH_WORDS)
async def test_an_estimate_leads_no_link_astray(
    client: AsyncClient, filled: None, path: str
) -> None:
    # Nobody has analysed the table: of a search the planner expects next to nothing.
    query = f"q={SEARCH_WORDS[path]}&count=estimated"
    answer = await client.get(f"{path}?{query}&page=3&size=10")
    assert len(answer.json()["items"]) == 10
    found = parse_link_header(answer)
    assert page_or_cursor(found["prev"]) == {"page": "2"}
    assert page_or_cursor(found["next"]) == {"page": "4"}
    assert "last" not in found  # nobody knows it


@every_list
@pytest.mark.parametrize("start", ["page", "cursor"])
async def test_following_next_to_the_end_yields_every_row_once(
    client: AsyncClient, filled: None, path: str, start: str
) -> None:
    url: str | None = f"{path}?size=8&sort=-created_at&created_from=2026-01-01T00:03:00%2B00:00"
    found: list[int] = []
    if start == "cursor":
        first = await get_json(client, str(url))
        found, url = row_numbers(first), f"{url}&cursor={first['next']}"
    while url and len(found) < 100:
        answer = await client.get(url)
        found += row_numbers(answer.json())
        url = parse_link_header(answer).get("next")
    assert found == list(range(57, 2, -1))


async def test_links_keep_filters_sort_and_size(client: AsyncClient, database: Database) -> None:
    odd = "Söhne & Töchter, <50%> +1; #7 \"x\" 'y' a=b/日本\\"
    ids = [UUID(int=n) for n in range(3)]
    await insert_rows(database, "authors", [{"id": id_, "name": odd} for id_ in ids])
    asked = [
        ("q", odd),
        ("id", str(ids[0])),
        ("sort", "-name,created_at"),
        ("id", str(ids[1])),
        ("id", str(ids[2])),
        ("created_from", "2026-01-01T00:00:00+02:00"),
        ("size", "1"),
    ]
    first = await client.get(f"/authors?{urlencode(asked)}")
    second = await client.get(parse_link_header(first)["next"])
    cursor = [("cursor", second.json()["next"])]
    third = await client.get(f"/authors?{urlencode(asked + cursor)}")
    for answer in (first, second, third):
        for target in parse_link_header(answer).values():
            assert target.isascii()
            assert set(query_parameters(target)) - set(page_or_cursor(target).items()) == set(asked)
    found = [answer.json()["items"][0]["id"] for answer in (first, second, third)]
    assert found == [str(id_) for id_ in ids]


@every_list
async def test_links_of_a_path_with_a_trailing_slash_are_those_without(
    client: AsyncClient, filled: None, path: str
) -> None:
    with_slash, without = await client.get(f"{path}/?page=2"), await client.get(f"{path}?page=2")
    assert parse_link_header(with_slash) == parse_link_header(without)


async def test_links_do_not_repeat_what_the_host_header_says(
    client: AsyncClient, filled: None
) -> None:
    answer = await client.get("/authors?size=5", headers={"host": "evil.example"})
    assert urlsplit(parse_link_header(answer)["next"])[:3] == ("", "", "/authors")
    assert query_parameters(parse_link_header(answer)["next"]) == [("size", "5"), ("page", "2")]


@every_list
async def test_head_has_the_links_of_get(client: AsyncClient, filled: None, path: str) -> None:
    head, answer = await client.head(f"{path}?page=2"), await client.get(f"{path}?page=2")
    assert (head.status_code, head.content) == (200, b"")
    assert parse_link_header(head) == parse_link_header(answer)


async def test_next_goes_on_by_cursor_where_pages_end(
    client: AsyncClient, database: Database
) -> None:
    await execute(
        database,
        "INSERT INTO users (name, email, password_hash) "
        "SELECT 'Reader', n || '@example.com', 'x' FROM generate_series(1, 100001) n",
    )
    before = await client.get("/users?page=999&size=100&count=none")
    assert page_or_cursor(parse_link_header(before)["next"]) == {"page": "1000"}
    last = await client.get(parse_link_header(before)["next"])
    assert page_or_cursor(parse_link_header(last)["next"]) == {"cursor": last.json()["next"]}
    beyond = await client.get(parse_link_header(last)["next"])
    assert [user["email"] for user in beyond.json()["items"]] == ["100001@example.com"]
    # The last page has no number that may be asked for.
    assert "last" not in parse_link_header(await client.get("/users?size=100"))
