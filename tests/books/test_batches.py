"""Tests of `POST /books/batch`, which creates all books of a batch or none."""

import asyncio
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response

from app.core.db import Database
from tests.support.database_activity import start_until_blocked
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import Json, make_author, make_book
from tests.support.problems import check_problem, field_error_locations
from tests.support.resources import replace_resources
from tests.support.responses import get_json
from tests.support.rows import select_values
from tests.support.settings import UNREACHABLE_DATABASE_URL, make_settings
from tests.support.streamed_lists import read_json_lines

OTHER_UNKNOWN_ID = "01890000-0000-7000-8000-00000000fffe"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def author_id(client: AsyncClient) -> str:
    """Create an author and return the id."""
    author = await make_author(client, dob="1929-10-21")
    author_id: str = author["id"]
    return author_id


async def post_batch(client: AsyncClient, items: Any) -> Response:
    return await client.post("/books/batch", json={"items": items})


async def create_batch(client: AsyncClient, items: list[Json]) -> list[Json]:
    """Create a batch. Check that the response has the books in the order of the request."""
    response = await post_batch(client, items)
    assert response.status_code == 201, response.text
    assert list(response.json()) == ["items"]
    books: list[Json] = response.json()["items"]
    assert [{"title": book["title"], "author_id": book["author_id"]} for book in books] == items
    return books


def new_books(author_id: str, *titles: str) -> list[Json]:
    return [{"title": title, "author_id": author_id} for title in titles]


async def stores_no_books(client: AsyncClient) -> bool:
    """Return whether the list of books is empty."""
    page = await get_json(client, "/books")
    return (page["items"], page["total"]) == ([], 0)


# Created books


async def test_books_of_batch_can_be_read(client: AsyncClient, author_id: str) -> None:
    items = new_books(author_id, "Zorro", "Always Coming Home", "Ünïcödé 百年 😀 \"',\n")
    for book in await create_batch(client, items):
        response = await client.get(f"/books/{book['id']}")
        assert (response.status_code, response.json()) == (200, book)
        assert response.headers["etag"] == f'"{book["version"]}"'


@pytest.mark.parametrize("count", [1, 2, 1000])
async def test_batch_may_have_1_to_1000_books_and_keeps_their_order(
    client: AsyncClient, author_id: str, count: int
) -> None:
    titles = [f"Title {(7919 * number) % 1009}" for number in range(count)]
    books = await create_batch(client, new_books(author_id, *titles))
    assert await read_json_lines(client, "/books") == books


async def test_batch_creates_ascending_uuids_of_version_7(
    client: AsyncClient, author_id: str
) -> None:
    before = (await make_book(client))["id"]
    ids = [book["id"] for book in await create_batch(client, new_books(author_id, *"zyxabc" * 50))]
    assert [before, *ids] == sorted({before, *ids})
    assert {id_[14] for id_ in ids} == {"7"}


async def test_each_book_of_batch_contains_its_own_author(
    client: AsyncClient, author_id: str
) -> None:
    other_author_id = (await make_author(client, name="Octavia"))["id"]
    items = [
        *new_books(other_author_id, "Kindred"),
        *new_books(author_id, "Tehanu"),
        *new_books(other_author_id, "Dawn"),
    ]
    names = [book["author"]["name"] for book in await create_batch(client, items)]
    assert names == ["Octavia", "Ursula K. Le Guin", "Octavia"]


async def test_batch_may_contain_equal_books(client: AsyncClient, author_id: str) -> None:
    books = await create_batch(client, new_books(author_id, "Tehanu", "Tehanu"))
    assert books[0]["id"] != books[1]["id"]


async def test_all_books_of_batch_have_the_same_creation_time(
    client: AsyncClient, author_id: str
) -> None:
    books = await create_batch(client, new_books(author_id, *"abc" * 100))
    assert len({book["created_at"] for book in books}) == 1
    assert all(book["updated_at"] == book["created_at"] for book in books)


async def test_batch_response_has_no_location_and_no_etag(
    client: AsyncClient, author_id: str
) -> None:
    headers = (await post_batch(client, new_books(author_id, "Tehanu"))).headers
    assert headers["cache-control"] == "private, no-cache"
    assert not {"location", "etag", "vary"} & {*headers}


async def test_books_of_batch_are_listed_and_found_by_search(
    client: AsyncClient, author_id: str
) -> None:
    books = await create_batch(
        client, new_books(author_id, "The Dispossessed", "Tehanu", "The Lathe of Heaven")
    )
    assert (await get_json(client, f"/authors/{author_id}/books"))["items"] == books
    assert (await get_json(client, "/books?q=tehAnu"))["items"] == books[1:2]
    assert await read_json_lines(client, "/books?q=the&sort=-title") == [books[2], books[0]]
    page = await get_json(client, "/books?sort=title&size=2")
    assert [book["title"] for book in page["items"]] == ["Tehanu", "The Dispossessed"]


async def test_title_in_batch_may_have_300_characters(client: AsyncClient, author_id: str) -> None:
    await create_batch(client, new_books(author_id, "x", "😀" * 300))


# Rejected requests


@pytest.mark.parametrize("count", [0, 1001, 10_000])
async def test_batch_returns_field_error_for_too_few_or_too_many_books(
    client: AsyncClient, author_id: str, count: int
) -> None:
    items = new_books(author_id, *["x"] * count) if count <= 1001 else [0] * count
    assert field_error_locations(await post_batch(client, items)) == [{"pointer": "/items"}]
    assert await stores_no_books(client)


async def test_batch_with_one_unknown_author_stores_nothing(
    client: AsyncClient, author_id: str
) -> None:
    items = new_books(author_id, *["x"] * 30)
    items[17]["author_id"] = UNKNOWN_ID
    response = await post_batch(client, items)
    assert field_error_locations(response) == [{"pointer": "/items/17/author_id"}]
    assert response.json()["errors"][0]["code"] == "author_not_found"
    assert await stores_no_books(client)


async def test_batch_returns_a_field_error_for_each_unknown_author(
    client: AsyncClient, author_id: str
) -> None:
    items = new_books(author_id, *"abcdef")
    for position, unknown in ((0, UNKNOWN_ID), (3, OTHER_UNKNOWN_ID), (5, UNKNOWN_ID)):
        items[position]["author_id"] = unknown
    pointers = [
        error["pointer"] for error in field_error_locations(await post_batch(client, items))
    ]
    assert pointers == [f"/items/{position}/author_id" for position in (0, 3, 5)]
    assert await stores_no_books(client)


async def test_batch_returns_at_most_100_errors_for_unknown_authors(client: AsyncClient) -> None:
    pointers = [
        error["pointer"]
        for error in field_error_locations(
            await post_batch(client, new_books(UNKNOWN_ID, *"x" * 1000))
        )
    ]
    assert pointers == [f"/items/{position}/author_id" for position in range(100)]


@pytest.mark.parametrize(
    ("invalid_field", "pointer"),
    [
        ({"title": ""}, "/title"),
        ({"title": "x" * 301}, "/title"),
        ({"title": "a\0b"}, "/title"),
        ({"title": 1}, "/title"),
        ({"title": None}, "/title"),
        ({"author_id": "x"}, "/author_id"),
        ({"author_id": None}, "/author_id"),
        ({"id": UNKNOWN_ID}, "/id"),
        ({"created_at": "2026-01-01T00:00:00Z"}, "/created_at"),
        ({"a/b~": 1}, "/a~1b~0"),
    ],
)
async def test_batch_with_one_invalid_book_stores_nothing(
    client: AsyncClient, author_id: str, invalid_field: Json, pointer: str
) -> None:
    items = new_books(author_id, *"abcdef")
    items[3] |= invalid_field
    assert field_error_locations(await post_batch(client, items)) == [
        {"pointer": f"/items/3{pointer}"}
    ]
    assert await stores_no_books(client)


async def test_batch_returns_the_field_errors_of_all_books(
    client: AsyncClient, author_id: str
) -> None:
    items: list[Any] = [*new_books(author_id, "a", "", "c"), {"title": "d"}, [], None]
    expected = ["/items/1/title", "/items/3/author_id", "/items/4", "/items/5"]
    assert [
        error["pointer"] for error in field_error_locations(await post_batch(client, items))
    ] == expected
    assert len(field_error_locations(await post_batch(client, [{}] * 1000))) == 100


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
    errors = field_error_locations(await client.post("/books/batch", json=body))
    assert [error["pointer"] for error in errors] == pointers


@pytest.mark.parametrize(
    ("content", "headers", "status", "problem_type"),
    [
        (b'{"items": [], "items": []}', JSON, 400, "malformed-request"),
        (b'{"items": [{"title": "a", "title": "a"}]}', JSON, 400, "malformed-request"),
        (b'{"items": [NaN]}', JSON, 400, "malformed-request"),
        (b'{"items": ["\\ud800"]}', JSON, 400, "malformed-request"),
        (b"", JSON, 400, "malformed-request"),
        (b'{"items": []}', {"Content-Type": "text/csv"}, 415, "unsupported-media-type"),
        (b'{"items": []}', {}, 415, "unsupported-media-type"),
        (b'{"items": [' + b" " * 2**23 + b"]}", JSON, 413, "payload-too-large"),
    ],
)
async def test_batch_rejects_malformed_json_other_media_types_and_large_bodies(
    client: AsyncClient, content: bytes, headers: dict[str, str], status: int, problem_type: str
) -> None:
    response = await client.post("/books/batch", content=content, headers=headers)
    check_problem(response, status, problem_type)


async def test_batch_returns_field_error_for_query_parameter(
    client: AsyncClient, author_id: str
) -> None:
    response = await client.post("/books/batch?x=1", json={"items": new_books(author_id, "a")})
    assert field_error_locations(response) == [{"parameter": "x"}]
    assert await stores_no_books(client)


async def test_batch_path_allows_only_post(client: AsyncClient) -> None:
    response = await client.options("/books/batch")
    assert (response.status_code, response.headers["allow"]) == (204, "OPTIONS, POST")
    assert "accept-patch" not in response.headers


# Transactions


@pytest.mark.private_database
async def test_batch_is_committed_before_the_response(
    client: AsyncClient, author_id: str, outside_connection: asyncpg.Connection
) -> None:
    await create_batch(client, new_books(author_id, *"x" * 1000))
    assert await outside_connection.fetchval("SELECT count(*) FROM books") == 1000


@pytest.mark.private_database
async def test_batch_stores_nothing_when_author_is_deleted_concurrently(
    client: AsyncClient,
    author_id: str,
    outside_connection: asyncpg.Connection,
    private_database_url: str,
) -> None:
    deleted_author_id = (await make_author(client))["id"]
    deleting_connection = await asyncpg.connect(private_database_url)
    transaction = deleting_connection.transaction()
    await transaction.start()
    await deleting_connection.execute("DELETE FROM authors WHERE id = $1", deleted_author_id)
    items = [*new_books(author_id, "a", "b"), *new_books(deleted_author_id, "c")]
    request = await start_until_blocked(post_batch(client, items), outside_connection)
    await transaction.commit()
    await deleting_connection.close()
    assert field_error_locations(await request) == [{"pointer": "/items/2/author_id"}]
    assert await outside_connection.fetchval("SELECT count(*) FROM books") == 0


@pytest.mark.private_database
async def test_batch_succeeds_when_concurrent_deletion_is_rolled_back(
    client: AsyncClient,
    author_id: str,
    outside_connection: asyncpg.Connection,
    private_database_url: str,
) -> None:
    deleting_connection = await asyncpg.connect(private_database_url)
    transaction = deleting_connection.transaction()
    await transaction.start()
    await deleting_connection.execute("DELETE FROM authors WHERE id = $1", author_id)
    request = await start_until_blocked(
        post_batch(client, new_books(author_id, "a", "b")), outside_connection
    )
    await transaction.rollback()
    await deleting_connection.close()
    assert (await request).status_code == 201


@pytest.mark.private_database
async def test_batch_returns_409_when_missing_author_was_created_since(
    client: AsyncClient, author_id: str, outside_connection: asyncpg.Connection
) -> None:
    refuse = "RAISE EXCEPTION 'no' USING ERRCODE = '23503', CONSTRAINT = "
    await outside_connection.execute(f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN {refuse} 'fk_books_author_id_authors'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON books EXECUTE FUNCTION refuse();
    """)
    check_problem(await post_batch(client, new_books(author_id, "a")), 409, "conflict")


@pytest.mark.private_database
async def test_concurrent_batches_all_succeed(client: AsyncClient, author_id: str) -> None:
    other_author_id = (await make_author(client))["id"]
    batches = [
        [
            *new_books((author_id, other_author_id)[n % 2], *f"{n}" * 20),
            *new_books((other_author_id, author_id)[n % 2], *"x" * 20),
        ]
        for n in range(8)
    ]
    batches_of_books = await asyncio.gather(*(create_batch(client, items) for items in batches))
    assert len({book["id"] for books in batches_of_books for book in books}) == 8 * 40
    assert (await get_json(client, "/books"))["total"] == 8 * 40


async def test_batch_returns_503_when_database_is_down(
    app: FastAPI, client: AsyncClient, database: Database, author_id: str
) -> None:
    replace_resources(app, database=Database(make_settings(UNREACHABLE_DATABASE_URL)))
    check_problem(await post_batch(client, new_books(author_id, "a")), 503, "unavailable")
    assert await select_values(database, "SELECT id FROM books") == []
