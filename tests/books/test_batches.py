"""Books in batches: all of them or none."""

import asyncio
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response

from app.core.db import Database
from tests.authors.test_authors import NOBODY
from tests.conftest import make_settings
from tests.support.database_activity import COUNT_WAITING_FOR_LOCK, wait_for_query_result
from tests.support.factories import Json, make_author, make_book
from tests.support.problems import check_problem, field_error_locations
from tests.support.resources import replace_resources
from tests.support.responses import get_json
from tests.support.rows import select_values
from tests.support.streamed_lists import read_json_lines

OTHERS = "01890000-0000-7000-8000-00000000fffe"  # nobody's id either
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def author(client: AsyncClient) -> str:
    made: str = (await make_author(client, dob="1929-10-21"))["id"]
    return made


async def batch(client: AsyncClient, items: Any) -> Response:
    return await client.post("/books/batch", json={"items": items})


async def added(client: AsyncClient, items: list[Json]) -> list[Json]:
    """What the answer says of the books, which are in the order given."""
    answer = await batch(client, items)
    assert answer.status_code == 201, answer.text
    assert list(answer.json()) == ["items"]
    books: list[Json] = answer.json()["items"]
    assert [{"title": book["title"], "author_id": book["author_id"]} for book in books] == items
    return books


def titled(author: str, *titles: str) -> list[Json]:
    return [{"title": title, "author_id": author} for title in titles]


async def nothing_stored(client: AsyncClient) -> bool:
    page = await get_json(client, "/books")
    return (page["items"], page["total"]) == ([], 0)


# What is added


async def test_books_of_batch_can_be_read(client: AsyncClient, author: str) -> None:
    items = titled(author, "Zorro", "Always Coming Home", "Ünïcödé 百年 😀 \"',\n")
    for book in await added(client, items):
        answer = await client.get(f"/books/{book['id']}")
        assert (answer.status_code, answer.json()) == (200, book)
        assert answer.headers["etag"] == f'"{book["version"]}"'


@pytest.mark.parametrize("count", [1, 2, 1000])
async def test_batch_may_have_1_to_1000_books_and_keeps_their_order(
    client: AsyncClient, author: str, count: int
) -> None:
    titles = [f"Title {(7919 * number) % 1009}" for number in range(count)]
    books = await added(client, titled(author, *titles))
    assert await read_json_lines(client, "/books") == books


async def test_batch_creates_ascending_uuids_of_version_7(client: AsyncClient, author: str) -> None:
    before = (await make_book(client))["id"]
    ids = [book["id"] for book in await added(client, titled(author, *"zyxabc" * 50))]
    assert [before, *ids] == sorted({before, *ids})
    assert {id_[14] for id_ in ids} == {"7"}


async def test_each_book_of_batch_contains_its_own_author(client: AsyncClient, author: str) -> None:
    other = (await make_author(client, name="Octavia"))["id"]
    items = [*titled(other, "Kindred"), *titled(author, "Tehanu"), *titled(other, "Dawn")]
    names = [book["author"]["name"] for book in await added(client, items)]
    assert names == ["Octavia", "Ursula K. Le Guin", "Octavia"]


async def test_batch_may_contain_equal_books(client: AsyncClient, author: str) -> None:
    books = await added(client, titled(author, "Tehanu", "Tehanu"))
    assert books[0]["id"] != books[1]["id"]


async def test_all_books_of_batch_have_the_same_creation_time(
    client: AsyncClient, author: str
) -> None:
    books = await added(client, titled(author, *"abc" * 100))
    assert len({book["created_at"] for book in books}) == 1
    assert all(book["updated_at"] == book["created_at"] for book in books)


async def test_batch_response_has_no_location_and_no_etag(client: AsyncClient, author: str) -> None:
    headers = (await batch(client, titled(author, "Tehanu"))).headers
    assert headers["cache-control"] == "private, no-cache"
    assert not {"location", "etag", "vary"} & {*headers}


async def test_books_of_batch_are_listed_and_found_by_search(
    client: AsyncClient, author: str
) -> None:
    books = await added(client, titled(author, "The Dispossessed", "Tehanu", "The Lathe of Heaven"))
    assert (await get_json(client, f"/authors/{author}/books"))["items"] == books
    assert (await get_json(client, "/books?q=tehAnu"))["items"] == books[1:2]
    assert await read_json_lines(client, "/books?q=the&sort=-title") == [books[2], books[0]]
    page = await get_json(client, "/books?sort=title&size=2")
    assert [book["title"] for book in page["items"]] == ["Tehanu", "The Dispossessed"]


async def test_title_in_batch_may_have_300_characters(client: AsyncClient, author: str) -> None:
    await added(client, titled(author, "x", "😀" * 300))


# What is refused


@pytest.mark.parametrize("count", [0, 1001, 100_000])
async def test_batch_returns_field_error_for_too_few_or_too_many_books(
    client: AsyncClient, author: str, count: int
) -> None:
    items = titled(author, *["x"] * count) if count <= 1001 else [0] * count
    assert field_error_locations(await batch(client, items)) == [{"pointer": "/items"}]
    assert await nothing_stored(client)


async def test_batch_with_one_unknown_author_stores_nothing(
    client: AsyncClient, author: str
) -> None:
    items = titled(author, *["x"] * 30)
    items[17]["author_id"] = NOBODY
    answer = await batch(client, items)
    assert field_error_locations(answer) == [{"pointer": "/items/17/author_id"}]
    assert answer.json()["errors"][0]["code"] == "author_not_found"
    assert await nothing_stored(client)


async def test_batch_returns_a_field_error_for_each_unknown_author(
    client: AsyncClient, author: str
) -> None:
    items = titled(author, *"abcdef")
    for place, unknown in ((0, NOBODY), (3, OTHERS), (5, NOBODY)):
        items[place]["author_id"] = unknown
    places = [fault["pointer"] for fault in field_error_locations(await batch(client, items))]
    assert places == [f"/items/{place}/author_id" for place in (0, 3, 5)]
    assert await nothing_stored(client)


async def test_batch_returns_at_most_100_errors_for_unknown_authors(client: AsyncClient) -> None:
    places = [
        fault["pointer"]
        for fault in field_error_locations(await batch(client, titled(NOBODY, *"x" * 1000)))
    ]
    assert places == [f"/items/{place}/author_id" for place in range(100)]


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"title": ""}, "/title"),
        ({"title": "x" * 301}, "/title"),
        ({"title": "a\0b"}, "/title"),
        ({"title": 1}, "/title"),
        ({"title": None}, "/title"),
        ({"author_id": "x"}, "/author_id"),
        ({"author_id": None}, "/author_id"),
        ({"id": NOBODY}, "/id"),
        ({"created_at": "2026-01-01T00:00:00Z"}, "/created_at"),
        ({"a/b~": 1}, "/a~1b~0"),
    ],
)
async def test_batch_with_one_invalid_book_stores_nothing(
    client: AsyncClient, author: str, wrong: Json, pointer: str
) -> None:
    items = titled(author, *"abcdef")
    items[3] |= wrong
    assert field_error_locations(await batch(client, items)) == [{"pointer": f"/items/3{pointer}"}]
    assert await nothing_stored(client)


async def test_batch_returns_the_field_errors_of_all_books(
    client: AsyncClient, author: str
) -> None:
    items: list[Any] = [*titled(author, "a", "", "c"), {"title": "d"}, [], None]
    expected = ["/items/1/title", "/items/3/author_id", "/items/4", "/items/5"]
    assert [
        fault["pointer"] for fault in field_error_locations(await batch(client, items))
    ] == expected
    assert len(field_error_locations(await batch(client, [{}] * 1000))) == 100


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/items"]),
        ({"items": None}, ["/items"]),
        ({"items": {}}, ["/items"]),
        ({"items": "x"}, ["/items"]),
        ({"items": [], "x": 1}, ["/items", "/x"]),
        ([], [""]),
    ],
)
async def test_batch_returns_field_errors_for_other_bodies(
    client: AsyncClient, body: Any, pointers: list[str]
) -> None:
    faults = field_error_locations(await client.post("/books/batch", json=body))
    assert [fault["pointer"] for fault in faults] == pointers


@pytest.mark.parametrize(
    ("content", "headers", "status", "kind"),
    [
        (b'{"items": [], "items": []}', JSON, 400, "malformed-request"),
        (b'{"items": [{"title": "a", "title": "a"}]}', JSON, 400, "malformed-request"),
        (b'{"items": [NaN]}', JSON, 400, "malformed-request"),
        (b'{"items": ["\\ud800"]}', JSON, 400, "malformed-request"),
        (b"", JSON, 400, "malformed-request"),
        (b'{"items": []}', {"Content-Type": "text/csv"}, 415, "unsupported-media-type"),
        (b'{"items": []}', {}, 415, "unsupported-media-type"),
        (b'{"items": [' + b" " * 2**20 + b"]}", JSON, 413, "payload-too-large"),
    ],
)
async def test_batch_rejects_malformed_json_other_media_types_and_large_bodies(
    client: AsyncClient, content: bytes, headers: dict[str, str], status: int, kind: str
) -> None:
    answer = await client.post("/books/batch", content=content, headers=headers)
    check_problem(answer, status, kind)


async def test_batch_returns_field_error_for_query_parameter(
    client: AsyncClient, author: str
) -> None:
    answer = await client.post("/books/batch?x=1", json={"items": titled(author, "a")})
    assert field_error_locations(answer) == [{"parameter": "x"}]
    assert await nothing_stored(client)


async def test_batch_path_allows_only_post(client: AsyncClient) -> None:
    answer = await client.options("/books/batch")
    assert (answer.status_code, answer.headers["allow"]) == (204, "OPTIONS, POST")
    assert "accept-patch" not in answer.headers


# What is committed


@pytest.mark.private_database
async def test_batch_is_committed_before_the_response(
    client: AsyncClient, author: str, outside_connection: asyncpg.Connection
) -> None:
    await added(client, titled(author, *"x" * 1000))
    assert await outside_connection.fetchval("SELECT count(*) FROM books") == 1000


@pytest.mark.private_database
async def test_batch_stores_nothing_when_author_is_deleted_concurrently(
    client: AsyncClient,
    author: str,
    outside_connection: asyncpg.Connection,
    private_database_url: str,
) -> None:
    gone = (await make_author(client))["id"]
    deleting = await asyncpg.connect(private_database_url)
    transaction = deleting.transaction()
    await transaction.start()
    await deleting.execute("DELETE FROM authors WHERE id = $1", gone)
    items = [*titled(author, "a", "b"), *titled(gone, "c")]
    request = asyncio.create_task(batch(client, items))
    await wait_for_query_result(1, outside_connection, COUNT_WAITING_FOR_LOCK)
    await transaction.commit()
    await deleting.close()
    assert field_error_locations(await request) == [{"pointer": "/items/2/author_id"}]
    assert await outside_connection.fetchval("SELECT count(*) FROM books") == 0


@pytest.mark.private_database
async def test_batch_succeeds_when_concurrent_deletion_is_rolled_back(
    client: AsyncClient,
    author: str,
    outside_connection: asyncpg.Connection,
    private_database_url: str,
) -> None:
    deleting = await asyncpg.connect(private_database_url)
    transaction = deleting.transaction()
    await transaction.start()
    await deleting.execute("DELETE FROM authors WHERE id = $1", author)
    request = asyncio.create_task(batch(client, titled(author, "a", "b")))
    await wait_for_query_result(1, outside_connection, COUNT_WAITING_FOR_LOCK)
    await transaction.rollback()
    await deleting.close()
    assert (await request).status_code == 201


@pytest.mark.private_database
async def test_batch_returns_409_when_missing_author_was_created_since(
    client: AsyncClient, author: str, outside_connection: asyncpg.Connection
) -> None:
    refuse = "RAISE EXCEPTION 'no' USING ERRCODE = '23503', CONSTRAINT = "
    await outside_connection.execute(f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN {refuse} 'fk_books_author_id_authors'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON books EXECUTE FUNCTION refuse();
    """)
    check_problem(await batch(client, titled(author, "a")), 409, "conflict")


@pytest.mark.private_database
async def test_concurrent_batches_all_succeed(client: AsyncClient, author: str) -> None:
    other = (await make_author(client))["id"]
    batches = [
        [*titled((author, other)[n % 2], *f"{n}" * 20), *titled((other, author)[n % 2], *"x" * 20)]
        for n in range(8)
    ]
    answers = await asyncio.gather(*(added(client, items) for items in batches))
    assert len({book["id"] for books in answers for book in books}) == 8 * 40
    assert (await get_json(client, "/books"))["total"] == 8 * 40


async def test_batch_returns_503_when_database_is_down(
    app: FastAPI, client: AsyncClient, database: Database, author: str
) -> None:
    replace_resources(app, database=Database(make_settings("postgresql://127.0.0.1:1/none")))
    check_problem(await batch(client, titled(author, "a")), 503, "unavailable")
    assert await select_values(database, "SELECT id FROM books") == []
