"""The rows that all servers answer from."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy.engine import make_url

from app import embedded, schema
from benchmarks import cores

AUTHOR_COUNT: Final = 1_000
BOOK_COUNT: Final = 10_000
SAMPLE_SIZE: Final = 10_000  # books that are read in turn, picked all over the table
DEPTHS: Final = (0, 1_000, 100_000)  # rows before a page
_SETTINGS: Final = {"max_connections": "300", "max_wal_size": "4GB"}

# Created a second apart, so that the order of a list is one order only, and one by one in the
# table. Whole seconds, for not everybody's JSON shows more.
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


@dataclass(frozen=True)
class Position:
    """The last row before a page of books: how many there are up to it, and its key."""

    rows: int
    created_at: datetime
    id: UUID


@dataclass(frozen=True)
class Dataset:
    """What requests are about. Authors have books; of `positions` there are those of `DEPTHS`."""

    books: Sequence[UUID]
    authors: Sequence[UUID]
    positions: Mapping[int, Position | None]


def spare_author_ids(count: int) -> list[UUID]:
    """The ids of authors without books, that may be changed and deleted."""
    return [UUID(f"00000000-0000-4000-8000-{number:012x}") for number in range(count)]


async def insert_rows(connection: asyncpg.Connection, authors: int, books: int) -> None:
    """Fill the empty tables."""
    await connection.execute(_INSERT_ROWS, authors, books)
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")


async def load_dataset(url: str, books: int = BOOK_COUNT) -> Dataset:
    """Fill the empty tables; what is there to ask for."""
    connection = await asyncpg.connect(url)
    try:
        await insert_rows(connection, AUTHOR_COUNT, books)
        asked = await connection.fetch(
            "SELECT id FROM books ORDER BY md5(id::text) LIMIT $1", SAMPLE_SIZE
        )
        found = await connection.fetch("SELECT id FROM authors ORDER BY created_at")
        positions = {depth: await _position(connection, depth) for depth in DEPTHS}
    finally:
        await connection.close()
    return Dataset([row["id"] for row in asked], [row["id"] for row in found], positions)


async def _position(connection: asyncpg.Connection, rows: int) -> Position | None:
    last = "SELECT created_at, id FROM books ORDER BY created_at, id OFFSET $1 LIMIT 1"
    row = await connection.fetchrow(last, rows - 1) if rows else None
    return Position(rows, *row) if row else None


async def restore_authors(url: str, count: int = 0) -> None:
    """The same authors as at the beginning, and so many spare ones, whatever trial was before."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_DELETE_NEW_AUTHORS)
        await connection.execute(_INSERT_SPARE_AUTHORS, spare_author_ids(count))
        await connection.execute("VACUUM ANALYZE authors")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def count_authors(url: str) -> int:
    """How many authors there are."""
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM authors"))
    finally:
        await connection.close()


@contextmanager
def running_database(
    directory: Path, layout: cores.CoreLayout, books: int = BOOK_COUNT
) -> Iterator[tuple[str, Dataset]]:
    """The URL of a migrated and filled database as durable as in production; what it holds."""
    with ExitStack() as stack:
        with cores.pinned(layout.database):
            server = stack.enter_context(embedded.run_postgres(directory / "data", _SETTINGS))
        url = server.url()
        schema.upgrade(make_url(url).set(drivername="postgresql+asyncpg"))
        yield url, asyncio.run(load_dataset(url, books))
