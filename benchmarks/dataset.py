"""The rows in the database that all servers use."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy.engine import URL, make_url

from app import embedded, schema
from app.tokens.secret import compute_token_digest, generate_token
from benchmarks import cores

AUTHOR_COUNT: Final = 1_000
BOOK_COUNT: Final = 10_000
# The number of books that are read one after the other. They are spread over the table.
SAMPLE_SIZE: Final = 10_000
# The numbers of rows before the pages that are read.
DEPTHS: Final = (0, 1_000, 100_000)
_SETTINGS: Final = {"max_connections": "300", "max_wal_size": "4GB"}

# Rows are created one second apart, so that the order of a list is unambiguous. The times are whole
# seconds, because some servers do not return fractions.
_INSERT_ROWS: Final = """
WITH author AS (
    INSERT INTO authors (id, name, dob, created_at, updated_at)
    SELECT uuidv7(), 'Author ' || n, date '1900-01-01' + n % 30000, instant, instant
    FROM generate_series(1, $1::int) AS n,
         LATERAL (SELECT timestamptz '2020-01-01Z' + n * interval '1 second') AS created(instant)
    RETURNING id
), numbered AS (
    SELECT id, row_number() OVER () - 1 AS number FROM author
)
INSERT INTO books (id, title, author_id, created_at, updated_at)
SELECT uuidv7(), concat_ws(' ', 'Title', md5(n::text), CASE WHEN n % 2 = 0 THEN 'half' END,
                           CASE WHEN n % 20000 = 0 THEN 'rare' END), numbered.id, instant, instant
FROM generate_series(1, $2::int) AS n JOIN numbered ON numbered.number = n % $1,
     LATERAL (SELECT timestamptz '2020-01-01Z' + n * interval '1 second') AS created(instant)
"""
_DELETE_NEW_AUTHORS: Final = "DELETE FROM authors WHERE name NOT LIKE 'Author %'"
_INSERT_SPARE_AUTHORS: Final = """
INSERT INTO authors (id, name)
SELECT unnest($1::uuid[]), 'Spare author'
"""
_INSERT_TOKEN: Final = """
WITH editor AS (
    INSERT INTO users (name, email, password_hash, role)
    VALUES ('Ada', 'ada@example.com', 'no password', 'editor') RETURNING id
)
INSERT INTO tokens (id, user_id, name, digest, expires_at)
SELECT uuidv7(), id, 'benchmark', $1, now() + interval '1 day' FROM editor
"""


@dataclass(frozen=True)
class Position:
    """The last row before a page of books, which is row number `rows` of the list."""

    rows: int
    created_at: datetime
    id: UUID


@dataclass(frozen=True)
class Dataset:
    """The rows that requests name. `positions` has a position for each of DEPTHS."""

    book_ids: Sequence[UUID]
    author_ids: Sequence[UUID]
    positions: Mapping[int, Position | None]


def sqlalchemy_url(url: str) -> URL:
    """Return the URL of a database for SQLAlchemy: `postgresql+asyncpg://...`."""
    return make_url(url).set(drivername="postgresql+asyncpg")


def spare_author_ids(count: int) -> list[UUID]:
    """Return the ids of authors without books, which requests may update and delete."""
    return [UUID(f"00000000-0000-4000-8000-{number:012x}") for number in range(count)]


async def insert_rows(connection: asyncpg.Connection, authors: int, books: int) -> None:
    """Insert authors and books into the empty tables."""
    await connection.execute(_INSERT_ROWS, authors, books)
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")


async def load_dataset(url: str, books: int = BOOK_COUNT) -> Dataset:
    """Insert the rows, and return those that requests name."""
    connection = await asyncpg.connect(url)
    try:
        await insert_rows(connection, AUTHOR_COUNT, books)
        book_rows = await connection.fetch(
            "SELECT id FROM books ORDER BY md5(id::text) LIMIT $1", SAMPLE_SIZE
        )
        author_rows = await connection.fetch("SELECT id FROM authors ORDER BY created_at")
        positions = {depth: await _find_position(connection, depth) for depth in DEPTHS}
    finally:
        await connection.close()
    book_ids = [row["id"] for row in book_rows]
    author_ids = [row["id"] for row in author_rows]
    return Dataset(book_ids, author_ids, positions)


async def _find_position(connection: asyncpg.Connection, rows: int) -> Position | None:
    """Return the position of row number `rows`, or None if there is no such row."""
    if rows == 0:
        return None
    query = "SELECT created_at, id FROM books ORDER BY created_at, id OFFSET $1 LIMIT 1"
    row = await connection.fetchrow(query, rows - 1)
    if row is None:
        return None
    return Position(rows, *row)


async def create_token(url: str) -> str:
    """Insert a user who may change authors, and return an access token of the user."""
    token = generate_token()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_INSERT_TOKEN, compute_token_digest(token))
    finally:
        await connection.close()
    return token


async def restore_authors(url: str, spare_authors: int = 0) -> None:
    """Delete the authors that a trial has created, and insert spare authors again."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_DELETE_NEW_AUTHORS)
        await connection.execute(_INSERT_SPARE_AUTHORS, spare_author_ids(spare_authors))
        await connection.execute("VACUUM ANALYZE authors")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def count_authors(url: str) -> int:
    """Return the number of authors."""
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM authors"))
    finally:
        await connection.close()


@contextmanager
def running_database(
    directory: Path, layout: cores.CoreLayout, books: int = BOOK_COUNT, revision: str = "head"
) -> Iterator[tuple[str, Dataset]]:
    """Run Postgres with the rows, until the block ends. Yield the URL and the rows.

    The server is as durable as in production.
    """
    with ExitStack() as stack:
        with cores.pinned(layout.database):
            server = stack.enter_context(embedded.run_postgres(directory / "data", _SETTINGS))
        url = server.url()
        schema.upgrade(sqlalchemy_url(url), revision)
        yield url, asyncio.run(load_dataset(url, books))
