"""The rows that both servers answer from."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy.engine import make_url

from app import embedded, schema
from benchmarks import cores

AUTHORS: Final = 1_000
BOOKS: Final = 10_000

# Created a minute apart, so that the order of a list is one order only.
_LOAD: Final = """
WITH author AS (
    INSERT INTO authors (id, name, dob, created_at)
    SELECT gen_random_uuid(), 'Author ' || n, date '1900-01-01' + n, now() - n * interval '1 minute'
    FROM generate_series(1, $1::int) AS n
    RETURNING id
), numbered AS (
    SELECT id, row_number() OVER () - 1 AS number FROM author
)
INSERT INTO books (id, title, author_id, created_at)
SELECT gen_random_uuid(), 'Book ' || n, numbered.id, now() - n * interval '1 minute'
FROM generate_series(1, $2::int) AS n JOIN numbered ON numbered.number = n % $1
RETURNING id
"""
# Every author of `_LOAD` has books; one that a benchmark created has none.
_FORGET: Final = """
DELETE FROM authors WHERE NOT EXISTS (SELECT FROM books WHERE author_id = authors.id)
"""


async def load(url: str) -> list[UUID]:
    """Fill the empty tables; the ids of the books."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(_LOAD, AUTHORS, BOOKS)
    finally:
        await connection.close()
    await restore(url)
    return [row["id"] for row in rows]


async def restore(url: str) -> None:
    """Forget created authors, so that every trial starts from the same tables and the same WAL."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_FORGET)
        await connection.execute("VACUUM ANALYZE authors, books")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


@contextmanager
def loaded(directory: Path, layout: cores.Layout) -> Iterator[tuple[str, Sequence[UUID]]]:
    """The URL of a migrated and filled database as durable as in production; its books' ids."""
    with ExitStack() as stack:
        with cores.pinned(layout.database):
            server = stack.enter_context(embedded.postgres(directory / "data"))
        url = server.url()
        schema.upgrade(make_url(url).set(drivername="postgresql+asyncpg"))
        yield url, asyncio.run(load(url))
