"""Tests of importing and exporting books as lines of a file, with `BookService`."""

import asyncio
import weakref
from collections.abc import Iterator
from unicodedata import normalize

import asyncpg
import pytest
import sqlalchemy as sa
from httpx import AsyncClient

from app.books.schemas import BookLine
from app.books.service import BookService
from app.core.db import Database
from app.core.schemas import EXAMPLE_ID
from tests.support.book_lines import LE_GUIN, book_line, export_lines, import_lines
from tests.support.factories import make_author, make_book
from tests.support.rows import select_values

pytestmark = pytest.mark.private_database

NAMES_BY_ID = """
SELECT name FROM authors WHERE id = $1 UNION SELECT title FROM books WHERE id = $1 ORDER BY name
"""
BOOK_TITLES = "SELECT title FROM books ORDER BY created_at, id"
SEQUENTIAL_SCANS = sa.text("""
SELECT sum(seq_scan) AS scans FROM pg_stat_xact_user_tables WHERE relname IN ('authors', 'books')
""")
AUTHORS_WITH_DOB = "SELECT name || coalesce(' ' || dob, '') FROM authors ORDER BY created_at, id"


# Added rows


async def test_import_creates_books_and_authors(database: Database, client: AsyncClient) -> None:
    lines = [
        LE_GUIN,
        book_line("Ursula K. Le Guin", "Lavinia", "1929-10-21"),
        book_line("Homer", "Iliad"),
    ]
    assert await import_lines(database, lines) == (2, 3)
    response = await client.get("/books")
    books = response.json()["items"]
    assert [(book["author"]["name"], book["author"]["dob"], book["title"]) for book in books] == [
        ("Ursula K. Le Guin", "1929-10-21", "The Dispossessed"),
        ("Ursula K. Le Guin", "1929-10-21", "Lavinia"),
        ("Homer", None, "Iliad"),
    ]
    assert await export_lines(database) == lines


async def test_first_book_of_an_import_and_its_author_get_the_first_id(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    lines = [LE_GUIN, book_line("Homer", "Iliad")]
    assert await import_lines(database, lines, first_id=EXAMPLE_ID) == (2, 2)
    names = await outside_connection.fetch(NAMES_BY_ID, EXAMPLE_ID)
    assert [row["name"] for row in names] == ["The Dispossessed", "Ursula K. Le Guin"]


async def test_first_id_that_is_used_is_not_used_again(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    await import_lines(database, [LE_GUIN], first_id=EXAMPLE_ID)
    await outside_connection.execute("UPDATE authors SET name = 'Le Guin'")
    assert await import_lines(database, [LE_GUIN], first_id=EXAMPLE_ID) == (1, 1)
    names = await outside_connection.fetch(NAMES_BY_ID, EXAMPLE_ID)
    assert [row["name"] for row in names] == ["Le Guin", "The Dispossessed"]


async def test_import_of_no_lines_adds_nothing(database: Database) -> None:
    assert await import_lines(database, []) == (0, 0)
    assert await export_lines(database) == []


async def test_second_import_of_same_lines_changes_nothing(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    lines = [LE_GUIN, book_line("Homer", "Iliad"), book_line("Homer", "Odyssey")]
    assert await import_lines(database, lines) == (2, 3)
    rows = [
        await outside_connection.fetch(f"SELECT * FROM {table}") for table in ("authors", "books")
    ]
    assert await import_lines(database, lines) == (0, 0)
    assert await import_lines(database, reversed(lines)) == (0, 0)
    assert [
        await outside_connection.fetch(f"SELECT * FROM {t}") for t in ("authors", "books")
    ] == rows


async def test_authors_with_different_dates_of_birth_are_different(database: Database) -> None:
    dates = ("1900-01-01", None, "1900-01-02")
    lines = [book_line("John Smith", "Memoirs", dob) for dob in dates]
    assert await import_lines(database, lines) == (3, 3)
    assert await select_values(database, AUTHORS_WITH_DOB) == [
        "John Smith 1900-01-01", "John Smith", "John Smith 1900-01-02",
    ]  # fmt: skip
    assert await import_lines(database, lines) == (0, 0)


async def test_import_keeps_case_spaces_and_accents_of_names_and_titles(database: Database) -> None:
    titles = ["Emma", "emma", "Emma ", " Emma", "Émma", normalize("NFD", "Émma"), "E\\m\tm\ra\n"]
    lines = [book_line(title, title) for title in titles]
    assert await import_lines(database, [*lines, *lines]) == (7, 7)
    assert await export_lines(database) == lines


async def test_first_line_counts_if_file_repeats_a_book(database: Database) -> None:
    iliad, odyssey = book_line("Homer", "Iliad"), book_line("Homer", "Odyssey")
    assert await import_lines(database, [odyssey, iliad, LE_GUIN, iliad, odyssey, LE_GUIN]) == (
        2,
        3,
    )
    assert await select_values(database, BOOK_TITLES) == ["Odyssey", "Iliad", "The Dispossessed"]
    assert await select_values(database, AUTHORS_WITH_DOB) == [
        "Homer",
        "Ursula K. Le Guin 1929-10-21",
    ]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
async def test_size_of_batches_does_not_change_what_is_imported(
    database: Database, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    monkeypatch.setattr("app.books.repository.IMPORT_BATCH_SIZE", batch_size)
    names = ["Homer", "homer", "Hömer", "Homer "]
    lines = [
        book_line(name, title, dob)
        for title in ["Iliad", "iliad", "Iliad", "Odyssey\n\u2028\\N"]
        for name in names
        for dob in [None, "1900-01-01", None]
    ]
    distinct_lines = list(dict.fromkeys((line.author, line.dob, line.title) for line in lines))
    assert await import_lines(database, [*lines, *reversed(lines)]) == (8, len(distinct_lines))
    exported_lines = await export_lines(database)
    assert [(line.author, line.dob, line.title) for line in exported_lines] == distinct_lines
    assert await import_lines(database, lines) == (0, 0)


async def test_import_never_reads_whole_tables(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.books.repository.IMPORT_BATCH_SIZE", 10)
    authors = [book_line(f"Author {number}", "Poems") for number in range(20)]
    async with database.transaction() as session:
        await BookService(session).import_lines([LE_GUIN] * 10 + authors + authors)
        [row] = await session.execute(SEQUENTIAL_SCANS)
    assert row["scans"] == 0


async def test_two_authors_may_have_books_with_the_same_title(database: Database) -> None:
    lines = [
        book_line("A", "Poems"),
        book_line("B", "Poems"),
        book_line("A", "Poems", "1900-01-01"),
    ]
    assert await import_lines(database, lines) == (3, 3)
    assert await export_lines(database) == lines


# Existing rows


async def test_import_uses_authors_and_books_that_already_exist(
    database: Database, client: AsyncClient
) -> None:
    author = await make_author(client, LE_GUIN.author, dob="1929-10-21")
    book = await make_book(client, LE_GUIN.title, author["id"])
    assert await import_lines(
        database, [book_line(LE_GUIN.author, "Lavinia", "1929-10-21"), LE_GUIN]
    ) == (0, 1)
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
    lines = [book_line("Homer", "Iliad", dob), book_line("Homer", "Odyssey", dob)]
    assert await import_lines(database, lines) == (0, 2)
    response = await client.get("/books", params={"author_id": oldest["id"]})
    assert [item["title"] for item in response.json()["items"]] == ["Iliad", "Odyssey"]


async def test_import_does_not_add_a_book_that_exists_twice(
    database: Database, client: AsyncClient
) -> None:
    author = (await make_author(client, "Homer"))["id"]
    for _ in range(2):
        await make_book(client, "Iliad", author)
    assert await import_lines(database, [book_line("Homer", "Iliad")]) == (0, 0)


# Order, statements and failures


async def test_imported_books_are_listed_in_the_order_of_the_lines(
    database: Database, client: AsyncClient
) -> None:
    lines = [book_line(f"Author {n * 7919 % 100}", f"Title {n * 7919 % 5000}") for n in range(5000)]
    assert await import_lines(database, lines) == (100, 5000)
    assert await select_values(database, BOOK_TITLES) == [line.title for line in lines]
    assert await select_values(database, AUTHORS_WITH_DOB) == [line.author for line in lines[:100]]
    assert await export_lines(database) == lines
    first = (await client.get("/books", params={"size": 100})).json()["items"]
    assert [item["title"] for item in first] == [line.title for line in lines[:100]]


async def test_imported_rows_have_ids_versions_and_search_words_as_usual(
    database: Database, client: AsyncClient
) -> None:
    await import_lines(
        database, [book_line("Gabriel García Márquez", "Cien años de soledad", "1927-03-06")]
    )
    for path, word in (("/books", "anos"), ("/authors", "garcia")):
        [item] = (await client.get(path, params={"q": word})).json()["items"]
        assert item["id"][14] == "7"
        response = await client.get(f"{path}/{item['id']}")
        assert (response.json(), response.headers["etag"]) == (item, f'"{item["version"]}"')
        assert item["version"].startswith("1")
        assert item["created_at"] == item["updated_at"]


async def test_import_stores_nothing_when_reading_a_line_fails(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    def lines_with_failure() -> Iterator[BookLine]:
        yield LE_GUIN
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        await import_lines(database, lines_with_failure())
    assert (
        await outside_connection.fetchval(
            "SELECT (SELECT count(*) FROM books) + count(*) FROM authors"
        )
        == 0
    )
    assert await import_lines(database, [LE_GUIN]) == (1, 1)


async def test_import_stores_nothing_when_transaction_is_rolled_back(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as session:
            assert (await BookService(session).import_lines([LE_GUIN])).books == 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await select_values(database, AUTHORS_WITH_DOB) == []
    assert await export_lines(database) == []


async def test_import_leaves_no_temporary_table_and_no_lock(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    await import_lines(database, [LE_GUIN])
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
    await import_lines(database, [LE_GUIN])
    statements_of_one_line = len(statements)
    await import_lines(database, [book_line(f"Author {n}", f"Title {n}") for n in range(1000)])
    assert len(statements) == 2 * statements_of_one_line
    assert statements_of_one_line <= 6


async def test_import_does_not_keep_lines_in_memory(database: Database) -> None:
    references: list[weakref.ref[BookLine]] = []

    def many_lines() -> Iterator[BookLine]:
        for n in range(5000):
            line = book_line("A", f"Title {n}")
            references.append(weakref.ref(line))
            yield line
            assert sum(reference() is not None for reference in references[-100:]) < 10

    assert await import_lines(database, many_lines()) == (1, 5000)


# Concurrent imports


async def test_concurrent_imports_of_same_lines_add_each_book_once(database: Database) -> None:
    lines = [book_line(f"Author {n % 50}", f"Title {n}") for n in range(500)]
    added = await asyncio.gather(*(import_lines(database, lines) for _ in range(4)))
    assert sorted(added) == [(0, 0)] * 3 + [(50, 500)]
    assert await export_lines(database) == lines
