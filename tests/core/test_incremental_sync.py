"""Polling with `created_from` and `updated_from` finds what the API guide promises.

In some tests a transaction is open while a client polls, as that of a long import is.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest
from httpx import AsyncClient

from app.authors.schemas import AuthorUpdate
from app.authors.service import AuthorService
from app.books.service import BookService
from app.core.db import Database
from app.main import POLLING_DESCRIPTION
from tests.support.book_lines import book_line
from tests.support.factories import Json, make_author, make_book
from tests.support.responses import get_json
from tests.support.statements import wait_for_statement_callbacks

pytestmark = pytest.mark.private_database


@asynccontextmanager
async def importing(database: Database, title: str) -> AsyncIterator[None]:
    """Import a book in a transaction that is committed at the end of the block."""
    async with database.transaction() as session:
        await BookService(session).import_lines([book_line("Homer", title)])
        yield
    await wait_for_statement_callbacks()


async def read_clock(connection: asyncpg.Connection) -> str:
    """Return the current time of the database, as clients send it."""
    query = "SELECT to_json(clock_timestamp() AT TIME ZONE 'UTC') #>> '{}'"
    time: str = await connection.fetchval(query)
    return f"{time}Z"


async def titles_since(client: AsyncClient, parameter: str, time: str) -> list[str]:
    page = await get_json(client, f"/books?{parameter}={time}")
    return [book["title"] for book in page["items"]]


@pytest.mark.parametrize("parameter", ["created_from", "updated_from"])
async def test_imported_book_is_older_than_book_that_was_visible_before_it(
    client: AsyncClient, database: Database, parameter: str
) -> None:
    async with importing(database, "Iliad"):
        known_book = await make_book(client, "Kindred")
        assert (await get_json(client, "/books"))["total"] == 1
    time = known_book[parameter.replace("_from", "_at")]
    assert await titles_since(client, parameter, time) == ["Kindred"]
    [first, _] = (await get_json(client, "/books"))["items"]
    assert (first["title"], first["created_at"] < known_book["created_at"]) == ("Iliad", True)


@pytest.mark.parametrize("parameter", ["created_from", "updated_from"])
async def test_poll_finds_imported_book_only_with_overlap(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection, parameter: str
) -> None:
    before_import = await read_clock(outside_connection)
    async with importing(database, "Iliad"):
        previous_poll = await read_clock(outside_connection)
        assert await titles_since(client, parameter, before_import) == []
    assert await titles_since(client, parameter, previous_poll) == []
    assert await titles_since(client, parameter, before_import) == ["Iliad"]


async def test_updated_at_becomes_earlier_when_transaction_that_began_first_commits_last(
    client: AsyncClient, database: Database
) -> None:
    author = await make_author(client, "Ursula")
    path = f"/authors/{author['id']}"
    async with database.transaction() as session:
        service = AuthorService(session)
        await service.get(UUID(author["id"]))
        second_version = (await client.patch(path, json={"name": "U. Le Guin"})).json()
        await service.update(UUID(author["id"]), AuthorUpdate(name="Ursula K. Le Guin"))
    await wait_for_statement_callbacks()
    third_version = await get_json(client, path)
    assert (second_version["version"], third_version["version"]) == ("2", "3")
    assert author["updated_at"] < third_version["updated_at"] < second_version["updated_at"]
    missed = await get_json(client, f"/authors?updated_from={second_version['updated_at']}")
    assert missed["items"] == []


async def test_book_with_changed_author_is_found_by_author_but_not_by_updated_from(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    book = await make_book(client)
    previous_poll = await read_clock(outside_connection)
    await client.patch(f"/authors/{book['author_id']}", json={"name": "Ursula"})
    assert await titles_since(client, "updated_from", previous_poll) == []
    changed_authors = await get_json(client, f"/authors?updated_from={previous_poll}")
    [author] = changed_authors["items"]
    [changed_book] = (await get_json(client, f"/authors/{author['id']}/books"))["items"]
    assert (changed_book["id"], changed_book["updated_at"]) == (book["id"], book["updated_at"])
    assert (book["version"], changed_book["version"]) == ("1.1", "1.2")


async def test_deleted_book_is_not_reported(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    book = await make_book(client)
    previous_poll = await read_clock(outside_connection)
    assert (await client.delete(f"/books/{book['id']}")).status_code == 204
    assert await titles_since(client, "updated_from", previous_poll) == []


class PollingClient:
    """Polls the list of books as the API guide describes it. `versions` are the known books."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self.versions: dict[str, str] = {}

    async def poll(self, updated_from: str) -> list[str]:
        """Read all pages with one book each. Return the titles of new and changed books."""
        titles: list[str] = []
        url = f"/books?size=1&count=none&updated_from={updated_from}"
        page = await get_json(self._client, url)
        self._store(page["items"], titles)
        while page["next"]:
            page = await get_json(self._client, f"{url}&cursor={page['next']}")
            self._store(page["items"], titles)
        return titles

    def _store(self, books: list[Json], titles: list[str]) -> None:
        for book in books:
            if self.versions.get(book["id"]) != book["version"]:
                self.versions[book["id"]] = book["version"]
                titles.append(book["title"])


async def test_polling_with_overlap_reports_each_change_once(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    kindred = await make_book(client, "Kindred")
    lavinia = await make_book(client, "Lavinia")
    polling_client = PollingClient(client)
    # No transaction is open now, so an overlap that goes back to this time is long enough.
    updated_from = await read_clock(outside_connection)
    assert await polling_client.poll("0001-01-01T00:00:00Z") == ["Kindred", "Lavinia"]
    async with importing(database, "Iliad"):
        await client.patch(f"/books/{kindred['id']}", json={"title": "Fledgling"})
        assert await polling_client.poll(updated_from) == ["Fledgling"]
        assert await polling_client.poll(updated_from) == []
    await client.patch(f"/books/{lavinia['id']}", json={"title": "The Telling"})
    assert await polling_client.poll(updated_from) == ["The Telling", "Iliad"]
    assert await polling_client.poll(updated_from) == []


async def test_change_behind_the_cursor_is_found_by_poll_from_start_of_previous_poll(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    kindred = await make_book(client, "Kindred")
    await make_book(client, "Lavinia")
    start = await read_clock(outside_connection)
    first_page = await get_json(client, "/books?size=1&count=none")
    assert [book["title"] for book in first_page["items"]] == ["Kindred"]
    await client.patch(f"/books/{kindred['id']}", json={"title": "Fledgling"})
    second_page = await get_json(client, f"/books?size=1&cursor={first_page['next']}")
    assert [book["title"] for book in second_page["items"]] == ["Lavinia"]
    assert await titles_since(client, "updated_from", start) == ["Fledgling"]


async def test_openapi_document_says_that_polls_need_an_overlap(document: Json) -> None:
    assert "minus an overlap" in POLLING_DESCRIPTION
    for path in ("/authors", "/books", "/users", "/documents"):
        parameters = document["paths"][path]["get"]["parameters"]
        descriptions = {parameter["name"]: parameter["description"] for parameter in parameters}
        for name in ("created_from", "updated_from"):
            assert "need an overlap" in descriptions[name], path
