"""Books in bulk, in and out, over real sessions."""

import asyncio
import weakref
from collections.abc import Iterable, Iterator
from unicodedata import normalize

import asyncpg
import pytest
from httpx import AsyncClient

from app.books.schemas import BookLine, ImportCounts
from app.books.service import BookService
from app.core.db import Database
from tests.support.factories import make_author, make_book
from tests.support.rows import select_values

pytestmark = pytest.mark.private_database

BOOKS = "SELECT title FROM books ORDER BY created_at, id"
AUTHORS = "SELECT name || coalesce(' ' || dob, '') FROM authors ORDER BY created_at, id"


def line(author: str, title: str, dob: str | None = None) -> BookLine:
    return BookLine.model_validate({"author": author, "title": title, "dob": dob})


LE_GUIN = line("Ursula K. Le Guin", "The Dispossessed", "1929-10-21")


async def add(database: Database, lines: Iterable[BookLine]) -> tuple[int, int]:
    """In a transaction of its own; how many authors and books were added."""
    async with database.transaction() as session:
        added = await BookService(session).import_lines(lines)
    assert isinstance(added, ImportCounts)
    return added.authors, added.books


async def all_lines(database: Database) -> list[BookLine]:
    async with database.transaction() as session:
        return [line async for lines in BookService(session).export_lines() for line in lines]


# What is added


async def test_import_creates_books_and_authors(database: Database, client: AsyncClient) -> None:
    given = [LE_GUIN, line("Ursula K. Le Guin", "Lavinia", "1929-10-21"), line("Homer", "Iliad")]
    assert await add(database, given) == (2, 3)
    answer = await client.get("/books")
    found = [(b["author"]["name"], b["author"]["dob"], b["title"]) for b in answer.json()["items"]]
    assert found == [
        ("Ursula K. Le Guin", "1929-10-21", "The Dispossessed"),
        ("Ursula K. Le Guin", "1929-10-21", "Lavinia"),
        ("Homer", None, "Iliad"),
    ]
    assert await all_lines(database) == given


async def test_import_of_no_lines_adds_nothing(database: Database) -> None:
    assert await add(database, []) == (0, 0)
    assert await all_lines(database) == []


async def test_second_import_of_same_lines_changes_nothing(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    given = [LE_GUIN, line("Homer", "Iliad"), line("Homer", "Odyssey")]
    assert await add(database, given) == (2, 3)
    rows = [
        await outside_connection.fetch(f"SELECT * FROM {table}") for table in ("authors", "books")
    ]
    assert await add(database, given) == (0, 0)
    assert await add(database, reversed(given)) == (0, 0)
    assert [
        await outside_connection.fetch(f"SELECT * FROM {t}") for t in ("authors", "books")
    ] == rows


async def test_authors_with_different_dates_of_birth_are_different(database: Database) -> None:
    dates = ("1900-01-01", None, "1900-01-02")
    given = [line("John Smith", "Memoirs", dob) for dob in dates]
    assert await add(database, given) == (3, 3)
    assert await select_values(database, AUTHORS) == [
        "John Smith 1900-01-01", "John Smith", "John Smith 1900-01-02",
    ]  # fmt: skip
    assert await add(database, given) == (0, 0)


async def test_import_keeps_case_spaces_and_accents_of_names_and_titles(database: Database) -> None:
    titles = ["Emma", "emma", "Emma ", " Emma", "Émma", normalize("NFD", "Émma"), "E\\m\tm\ra\n"]
    given = [line(title, title) for title in titles]
    assert await add(database, [*given, *given]) == (7, 7)
    assert await all_lines(database) == given


async def test_first_line_counts_if_file_repeats_a_book(database: Database) -> None:
    homer, other = line("Homer", "Iliad"), line("Homer", "Odyssey")
    assert await add(database, [other, homer, LE_GUIN, homer, other, LE_GUIN]) == (2, 3)
    assert await select_values(database, BOOKS) == ["Odyssey", "Iliad", "The Dispossessed"]
    assert await select_values(database, AUTHORS) == ["Homer", "Ursula K. Le Guin 1929-10-21"]


async def test_two_authors_may_have_books_with_the_same_title(database: Database) -> None:
    given = [line("A", "Poems"), line("B", "Poems"), line("A", "Poems", "1900-01-01")]
    assert await add(database, given) == (3, 3)
    assert await all_lines(database) == given


# What is there already


async def test_import_uses_authors_and_books_that_already_exist(
    database: Database, client: AsyncClient
) -> None:
    author = await make_author(client, LE_GUIN.author, dob="1929-10-21")
    book = await make_book(client, LE_GUIN.title, author["id"])
    assert await add(database, [line(LE_GUIN.author, "Lavinia", "1929-10-21"), LE_GUIN]) == (0, 1)
    items = (await client.get("/books")).json()["items"]
    assert [item["title"] for item in items] == ["The Dispossessed", "Lavinia"]
    assert items[0] == book
    assert items[1]["author_id"] == author["id"]
    assert (await client.get(f"/authors/{author['id']}")).json() == author


@pytest.mark.parametrize("dob", [None, "1929-10-21"])
async def test_import_uses_the_oldest_of_several_equal_authors(
    database: Database, client: AsyncClient, dob: str | None
) -> None:
    oldest, *_ = [await make_author(client, "Homer", dob=dob) for _ in range(3)]
    given = [line("Homer", "Iliad", dob), line("Homer", "Odyssey", dob)]
    assert await add(database, given) == (0, 2)
    answer = await client.get("/books", params={"author_id": oldest["id"]})
    assert [item["title"] for item in answer.json()["items"]] == ["Iliad", "Odyssey"]


async def test_import_does_not_add_a_book_that_exists_twice(
    database: Database, client: AsyncClient
) -> None:
    author = (await make_author(client, "Homer"))["id"]
    for _ in range(2):
        await make_book(client, "Iliad", author)
    assert await add(database, [line("Homer", "Iliad")]) == (0, 0)


# How it is stored


async def test_imported_books_are_listed_in_the_order_of_the_lines(
    database: Database, client: AsyncClient
) -> None:
    given = [line(f"Author {n * 7919 % 100}", f"Title {n * 7919 % 5000}") for n in range(5000)]
    assert await add(database, given) == (100, 5000)
    assert await select_values(database, BOOKS) == [each.title for each in given]
    assert await select_values(database, AUTHORS) == [each.author for each in given[:100]]
    assert await all_lines(database) == given
    first = (await client.get("/books", params={"size": 100})).json()["items"]
    assert [item["title"] for item in first] == [each.title for each in given[:100]]


async def test_imported_rows_have_ids_versions_and_search_words_as_usual(
    database: Database, client: AsyncClient
) -> None:
    await add(database, [line("Gabriel García Márquez", "Cien años de soledad", "1927-03-06")])
    for path, word in (("/books", "anos"), ("/authors", "garcia")):
        [found] = (await client.get(path, params={"q": word})).json()["items"]
        assert found["id"][14] == "7"
        answer = await client.get(f"{path}/{found['id']}")
        assert (answer.json(), answer.headers["etag"]) == (found, f'"{found["version"]}"')
        assert found["version"].startswith("1")
        assert found["created_at"] == found["updated_at"]


async def test_import_stores_nothing_when_reading_a_line_fails(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    def failing() -> Iterator[BookLine]:
        yield LE_GUIN
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        await add(database, failing())
    assert (
        await outside_connection.fetchval(
            "SELECT (SELECT count(*) FROM books) + count(*) FROM authors"
        )
        == 0
    )
    assert await add(database, [LE_GUIN]) == (1, 1)


async def test_import_stores_nothing_when_transaction_is_rolled_back(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as session:
            assert (await BookService(session).import_lines([LE_GUIN])).books == 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await select_values(database, AUTHORS) == []
    assert await all_lines(database) == []


async def test_import_leaves_no_temporary_table_and_no_lock(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    await add(database, [LE_GUIN])
    tables = "SELECT count(*) FROM pg_class WHERE relname LIKE 'incoming%'"
    assert await outside_connection.fetchval(tables) == 0
    locks = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    assert await outside_connection.fetchval(locks) == 0


async def test_import_takes_same_number_of_statements_for_any_number_of_lines(
    database: Database, statements: list[str]
) -> None:
    await add(database, [LE_GUIN])
    one = len(statements)
    await add(database, [line(f"Author {n}", f"Title {n}") for n in range(1000)])
    assert len(statements) == 2 * one
    assert one <= 6


async def test_import_does_not_keep_lines_in_memory(database: Database) -> None:
    alive: list[weakref.ref[BookLine]] = []

    def made() -> Iterator[BookLine]:
        for n in range(5000):
            each = line("A", f"Title {n}")
            alive.append(weakref.ref(each))
            yield each
            assert sum(made() is not None for made in alive[-100:]) < 10

    assert await add(database, made()) == (1, 5000)


# Two at once


async def test_concurrent_imports_of_same_lines_add_each_book_once(database: Database) -> None:
    given = [line(f"Author {n % 50}", f"Title {n}") for n in range(500)]
    added = await asyncio.gather(*(add(database, given) for _ in range(4)))
    assert sorted(added) == [(0, 0)] * 3 + [(50, 500)]
    assert await all_lines(database) == given
