"""Streamed lists: their rows, the sort order and the format of a line."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from starlette.types import Message, Receive, Scope, Send

from app.books.schemas import BookQuery
from app.books.service import BookService
from app.core.db import Database
from app.core.db._listing import FETCH_SIZE
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import make_author, make_book
from tests.support.rows import AUTHOR_ID, SEARCH_WORDS, SORT_KEYS, execute, fill_tables
from tests.support.streamed_lists import (
    CSV,
    STREAMED_PATHS,
    csv_cells,
    csv_columns,
    get_stream,
    read_all_pages,
    read_csv,
    read_json_lines,
)

# A number of rows that needs several FETCH statements, the last of which returns fewer rows.
MANY = 2 * FETCH_SIZE + 50
TITLES = [
    'The "quoted" title',
    '"',
    '""',
    "commas, here, and here,",
    ",",
    "two\nlines",
    "Windows\r\nlines",
    "a lone\rreturn",
    "\nline breaks around\n",
    " spaces around ",
    "a\ttab; a semicolon",
    "Cien años de soledad, 百年の孤独 😀",
    "\u2028separators\u2029 of\x85 lines\x0b\x0c\x1c",
    "=1+1",
    "\\N and \\n",
    "null",
    "x" * 300,
]
CREATED_FROM = "created_from=2026-01-01T05:00:00Z"
FILTERS = {
    **{
        path: [f"q={word}+1", CREATED_FROM]
        for path, word in SEARCH_WORDS.items()
        if path in STREAMED_PATHS
    },
    "/authors": ["q=author+1", "created_from=2026-01-01T05:00:00Z", "sort=dob&q=AUTHOR"],
    "/books": [
        "q=title+1",
        "sort=-title&created_from=2026-01-01T05:00:00Z&created_to=2026-01-01T07:30:00Z",
        "updated_to=2027-01-01T04:00:00Z&sort=updated_at",
        f"author_id={AUTHOR_ID}&sort=-updated_at",
        f"author_id={UNKNOWN_ID}",
        f"id={AUTHOR_ID}&id={UNKNOWN_ID}",
        "sort=title,-created_at&q=title",
    ],
}
every_stream = pytest.mark.parametrize("path", STREAMED_PATHS)
every_order = pytest.mark.parametrize(
    ("path", "order"),
    [
        (path, order)
        for path in STREAMED_PATHS
        for key in SORT_KEYS[path]
        for order in (f"sort={key}", f"sort=-{key}")
    ]
    + [(path, "") for path in STREAMED_PATHS]
    + [("/authors", "sort=-dob,name"), ("/books", "sort=title,-updated_at")],
)
every_filter = pytest.mark.parametrize(
    ("path", "query"), [(path, query) for path, queries in FILTERS.items() for query in queries]
)


@pytest.fixture
async def many_rows(database: Database) -> None:
    """Fill the tables with rows that are unordered, and some of which are equal or have no date."""
    await fill_tables(database, MANY)
    await execute(database, "UPDATE authors SET dob = NULL WHERE dob > date '1900-12-01'")
    await execute(database, "UPDATE authors SET name = 'Author ' || hashint4(length(name)) % 9")
    await execute(database, "UPDATE books SET title = 'Title ' || hashtext(title) % 50")


@every_order
async def test_stream_contains_every_row_once_in_order(
    client: AsyncClient, many_rows: None, path: str, order: str
) -> None:
    rows = await read_json_lines(client, f"{path}?{order}")
    assert len({row["id"] for row in rows}) == len(rows) == MANY
    assert rows == await read_all_pages(client, f"{path}?{order}")


@every_order
async def test_csv_contains_same_rows_in_same_order(
    client: AsyncClient, many_rows: None, path: str, order: str
) -> None:
    header, *rows = await read_csv(client, f"{path}?{order}")
    assert header == await csv_columns(client, path)
    assert rows == [
        csv_cells(row, header) for row in await read_json_lines(client, f"{path}?{order}")
    ]


@every_filter
async def test_filters_select_same_rows_as_for_pages(
    client: AsyncClient, many_rows: None, path: str, query: str
) -> None:
    expected = await read_all_pages(client, f"{path}?{query}")
    assert await read_json_lines(client, f"{path}?{query}") == expected
    header, *rows = await read_csv(client, f"{path}?{query}")
    assert rows == [csv_cells(row, header) for row in expected]


@pytest.mark.parametrize("count", [1, FETCH_SIZE - 1, FETCH_SIZE, FETCH_SIZE + 1, 2 * FETCH_SIZE])
async def test_no_row_is_lost_at_end_of_fetch(
    client: AsyncClient, database: Database, count: int
) -> None:
    await fill_tables(database, count)
    assert [row["title"] for row in await read_json_lines(client, "/books")] == [
        f"Title {number}" for number in range(1, count + 1)
    ]


async def test_streams_of_one_table_may_have_different_columns(database: Database) -> None:
    await fill_tables(database, 1)
    # The driver decodes rows by the columns that it knows of a connection's earlier statements.
    async with database.transaction() as session:
        service = BookService(session)
        [[book]] = [books async for books in service.stream(BookQuery())]
        [[line]] = [lines async for lines in service.export_lines()]
    assert (book.title, book.author.name) == (line.title, line.author)


@every_stream
async def test_empty_list_streams_only_csv_header(client: AsyncClient, path: str) -> None:
    assert (await get_stream(client, path)).content == b""
    header = ",".join(await csv_columns(client, path))
    assert (await get_stream(client, path, CSV)).content == f"{header}\r\n".encode()
    assert (await get_stream(client, f"{path}?q=nothing")).content == b""


async def test_json_line_equals_response_of_item(client: AsyncClient) -> None:
    author = await make_author(client, dob="1929-10-21")
    for title in TITLES:
        await make_book(client, title, author["id"])
    await make_book(client)
    for path, count in (("/books", len(TITLES) + 1), ("/authors", 2)):
        content = (await get_stream(client, path)).content
        *lines, end = content.split(b"\n")
        assert (len(lines), end) == (count, b"")
        for line in lines:
            item = json.loads(line)
            assert (await client.get(f"{path}/{item['id']}")).json() == item


async def test_csv_preserves_any_title(client: AsyncClient) -> None:
    author = await make_author(client, name='García, "Gabo"\r\nMárquez')
    for title in TITLES:
        await make_book(client, title, author["id"])
    _, *rows = await read_csv(client, "/books")
    assert [row[1] for row in rows] == TITLES
    assert {row[3] for row in rows} == {'García, "Gabo"\r\nMárquez'}


async def test_csv_of_authors_equals_expected_bytes(
    client: AsyncClient, database: Database
) -> None:
    await fill_tables(database, 1)
    await execute(
        database,
        """
        UPDATE authors
        SET name = 'Say "ж",', dob = NULL, updated_at = '2027-01-01T00:00:00.5+02'
        """,
    )
    author = f'{AUTHOR_ID},"Say ""ж"",",,2026-01-01T00:01:00Z,2026-12-31T22:00:00.500000Z,1'
    header = "id,name,dob,created_at,updated_at,version"
    assert (
        await get_stream(client, "/authors", CSV)
    ).content.decode() == f"{header}\r\n{author}\r\n"


async def test_csv_of_books_contains_columns_of_authors(
    client: AsyncClient, database: Database
) -> None:
    await fill_tables(database, 1)
    header, row = await read_csv(client, "/books")
    assert header[:5] == ["id", "title", "author_id", "author_name", "author_dob"]
    assert row[:5] == [AUTHOR_ID, "Title 1", AUTHOR_ID, "Author 1", "1900-01-02"]
    assert header[-3:] == ["created_at", "updated_at", "version"]
    assert row[-3:-1] == ["2026-01-01T00:01:00Z", "2027-01-01T00:01:00Z"]
    assert row[-1].startswith("1.1")


# Streams of rows that change during the stream


@pytest.fixture
def client_with_interruption(app: FastAPI) -> Callable[[Callable[[], Awaitable[Any]]], AsyncClient]:
    """Return a function that creates a client whose requests are interrupted.

    The function that it gets runs when the service sends the first lines of a stream.
    """

    def create_client(interruption: Callable[[], Awaitable[Any]]) -> AsyncClient:
        async def app_with_interruption(scope: Scope, receive: Receive, send: Send) -> None:
            bodies: list[Message] = []

            async def send_and_interrupt(message: Message) -> None:
                if message["type"] == "http.response.body":
                    bodies.append(message)
                    if len(bodies) == 1:
                        assert message["more_body"]
                        await interruption()
                await send(message)

            await app(scope, receive, send_and_interrupt)

        return AsyncClient(transport=ASGITransport(app_with_interruption), base_url="http://test")

    return create_client


@pytest.mark.private_database
async def test_stream_is_a_snapshot(
    client_with_interruption: Callable[[Callable[[], Awaitable[Any]]], AsyncClient],
    client: AsyncClient,
    many_rows: None,
    outside_connection: asyncpg.Connection,
) -> None:
    before = await read_json_lines(client, "/books?sort=title")

    async def change_all_rows() -> None:
        await outside_connection.execute("DELETE FROM books WHERE right(id::text, 1) IN ('3', '7')")
        await outside_connection.execute("UPDATE books SET title = 'Z', updated_at = now()")
        await outside_connection.execute("UPDATE authors SET name = 'renamed'")
        await outside_connection.execute(
            f"INSERT INTO books (id, title, author_id) "
            f"SELECT gen_random_uuid(), 'Title ' || n, '{AUTHOR_ID}' FROM generate_series(1, 500) n"
        )

    async with client_with_interruption(change_all_rows) as reader:
        assert await read_json_lines(reader, "/books?sort=title") == before
    assert await read_json_lines(client, "/books?sort=title") != before
