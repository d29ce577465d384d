"""The `Link` header of lists leads to other pages of the same filters and sort order."""

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
from tests.support.rows import COLLECTION_PATHS, LIST_PATHS, SEARCH_WORDS, execute, insert_rows

INSERT_USERS = """
INSERT INTO users (name, email, password_hash)
SELECT 'Reader', n || '@example.com', 'x'
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) n
"""

every_list = pytest.mark.parametrize("path", LIST_PATHS)


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
async def test_page_links_to_first_previous_next_and_last_page(
    client: AsyncClient, filled_tables: None, path: str, query: str, expected: dict[str, str]
) -> None:
    links = parse_link_header(await client.get(f"{path}?{query}"))
    assert {name: page_or_cursor(url)["page"] for name, url in links.items()} == expected
    assert {urlsplit(url).path for url in links.values()} == {path}


@pytest.mark.parametrize("path", COLLECTION_PATHS)
async def test_empty_list_links_to_its_only_page(client: AsyncClient, path: str) -> None:
    links = parse_link_header(await client.get(path))
    pages = {name: page_or_cursor(url) for name, url in links.items()}
    assert pages == {"first": {"page": "1"}, "last": {"page": "1"}}


@every_list
@pytest.mark.parametrize("count", ["none", "bounded", "exact", "estimated"])
async def test_page_after_cursor_links_to_first_and_next_page(
    client: AsyncClient, filled_tables: None, path: str, count: str
) -> None:
    cursor = (await get_json(client, path))["next"]
    response = await client.get(f"{path}?cursor={cursor}&count={count}")
    links = parse_link_header(response)
    assert set(links) == {"first", "next"}
    assert page_or_cursor(links["first"]) == {"page": "1"}
    assert page_or_cursor(links["next"]) == {"cursor": response.json()["next"]}


@pytest.mark.parametrize("path", SEARCH_WORDS)
async def test_page_with_estimated_total_has_no_link_to_the_last_page(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    # The table has not been analyzed, so the planner expects a search to match almost no rows.
    query = f"q={SEARCH_WORDS[path]}&count=estimated"
    response = await client.get(f"{path}?{query}&page=3&size=10")
    assert len(response.json()["items"]) == 10
    links = parse_link_header(response)
    assert page_or_cursor(links["prev"]) == {"page": "2"}
    assert page_or_cursor(links["next"]) == {"page": "4"}
    assert "last" not in links


@every_list
@pytest.mark.parametrize("start", ["page", "cursor"])
async def test_following_next_links_yields_every_row_once(
    client: AsyncClient, filled_tables: None, path: str, start: str
) -> None:
    # The filter excludes the rows 1 and 2.
    url: str | None = f"{path}?size=8&sort=-created_at&created_from=2026-01-01T00:03:00%2B00:00"
    numbers: list[int] = []
    if start == "cursor":
        first_page = await get_json(client, str(url))
        numbers = row_numbers(first_page)
        url = f"{url}&cursor={first_page['next']}"
    while url is not None and len(numbers) < 100:
        response = await client.get(url)
        numbers += row_numbers(response.json())
        url = parse_link_header(response).get("next")
    assert numbers == list(range(57, 2, -1))


async def test_links_keep_filters_sort_and_size(client: AsyncClient, database: Database) -> None:
    name = "Söhne & Töchter, <50%> +1; #7 \"x\" 'y' a=b/日本\\"
    author_ids = [UUID(int=number) for number in range(3)]
    await insert_rows(
        database, "authors", [{"id": author_id, "name": name} for author_id in author_ids]
    )
    query = [
        ("q", name),
        ("id", str(author_ids[0])),
        ("sort", "-name,created_at"),
        ("id", str(author_ids[1])),
        ("id", str(author_ids[2])),
        ("created_from", "2026-01-01T00:00:00+02:00"),
        ("size", "1"),
    ]
    first = await client.get(f"/authors?{urlencode(query)}")
    second = await client.get(parse_link_header(first)["next"])
    cursor = [("cursor", second.json()["next"])]
    third = await client.get(f"/authors?{urlencode(query + cursor)}")
    for response in (first, second, third):
        for url in parse_link_header(response).values():
            assert url.isascii()
            assert set(query_parameters(url)) - set(page_or_cursor(url).items()) == set(query)
    listed_ids = [response.json()["items"][0]["id"] for response in (first, second, third)]
    assert listed_ids == [str(author_id) for author_id in author_ids]


@every_list
async def test_links_of_path_with_trailing_slash_have_no_slash(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    with_slash = await client.get(f"{path}/?page=2")
    without_slash = await client.get(f"{path}?page=2")
    assert parse_link_header(with_slash) == parse_link_header(without_slash)


async def test_links_do_not_contain_the_host_header(
    client: AsyncClient, filled_tables: None
) -> None:
    response = await client.get("/authors?size=5", headers={"host": "127.0.0.1"})
    next_url = parse_link_header(response)["next"]
    scheme, host, path = urlsplit(next_url)[:3]
    assert (scheme, host, path) == ("", "", "/authors")
    assert query_parameters(next_url) == [("size", "5"), ("page", "2")]


@every_list
async def test_head_response_has_the_links_of_get(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    head_response = await client.head(f"{path}?page=2")
    get_response = await client.get(f"{path}?page=2")
    assert (head_response.status_code, head_response.content) == (200, b"")
    assert parse_link_header(head_response) == parse_link_header(get_response)


async def test_last_allowed_page_number_links_to_the_next_page_by_cursor(
    client: AsyncClient, database: Database
) -> None:
    # In several statements, because a single one may exceed statement_timeout on a slow machine.
    for first in range(1, 100_001, 10_000):
        await execute(database, INSERT_USERS, {"first": first, "last": first + 9_999})
    await execute(database, INSERT_USERS, {"first": 100_001, "last": 100_001})
    page_999 = await client.get("/users?page=999&size=100&count=none")
    assert page_or_cursor(parse_link_header(page_999)["next"]) == {"page": "1000"}
    page_1000 = await client.get(parse_link_header(page_999)["next"])
    next_url = parse_link_header(page_1000)["next"]
    assert page_or_cursor(next_url) == {"cursor": page_1000.json()["next"]}
    page_1001 = await client.get(next_url)
    assert [user["email"] for user in page_1001.json()["items"]] == ["100001@example.com"]
    # The number of the last page, 1001, is larger than allowed.
    assert "last" not in parse_link_header(await client.get("/users?size=100"))
