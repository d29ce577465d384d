"""Databases with different numbers of books, in one Postgres server.

A directory can be kept, because ten million books take minutes to insert.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg

from app import embedded, schema
from benchmarks import cores
from benchmarks.dataset import AUTHOR_COUNT, insert_rows, sqlalchemy_url

# The number of books that are read one after the other.
SAMPLE_SIZE: Final = 1_000
_SETTINGS: Final = {
    "max_connections": "300",
    "max_wal_size": "8GB",
    "shared_buffers": "1GB",
    "maintenance_work_mem": "1GB",
}
# The indexes that no constraint needs. Building them after the rows is several times faster.
_SELECT_INDEXES: Final = """
SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition
FROM pg_index
WHERE indrelid = 'books'::regclass
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""


@dataclass(frozen=True)
class SizedDatabase:
    """A database with a number of books.

    Args:
        books: The number of books.
        url: The URL of the database.
        book_ids: A sample of the ids of books, which are spread over the table.
        author_id: The id of any author.
    """

    books: int
    url: str
    book_ids: Sequence[UUID]
    author_id: UUID


@contextmanager
def running_databases(
    directory: Path, sizes: Sequence[int], layout: cores.CoreLayout
) -> Iterator[list[SizedDatabase]]:
    """Run Postgres with a database for each number of books, until the block ends.

    Databases that `directory` already contains are upgraded to the current schema.
    """
    with cores.pinned(layout.database), embedded.run_postgres(directory, _SETTINGS) as server:
        databases = []
        for books in sizes:
            name = f"books_{books}"
            asyncio.run(_create_database(server.url(), name))
            schema.upgrade(sqlalchemy_url(server.url(name)))
            databases.append(asyncio.run(_fill_database(server.url(name), books)))
        yield databases


async def _create_database(url: str, name: str) -> None:
    """Create a database unless it exists."""
    connection = await asyncpg.connect(url)
    try:
        query = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
        if not await connection.fetchval(query, name):
            await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()


async def _fill_database(url: str, books: int) -> SizedDatabase:
    """Insert the books unless the table has rows."""
    connection = await asyncpg.connect(url)
    try:
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM books)"):
            await _insert_books(connection, books)
        rows = await connection.fetch(
            "SELECT id FROM books TABLESAMPLE SYSTEM (least(100, 2000000.0 / $1)) LIMIT $2",
            books,
            SAMPLE_SIZE,
        )
        author_id = await connection.fetchval("SELECT id FROM authors LIMIT 1")
    finally:
        await connection.close()
    return SizedDatabase(books, url, [row["id"] for row in rows], author_id)


async def _insert_books(connection: asyncpg.Connection, books: int) -> None:
    """Insert authors and books into the empty tables, without the triggers of the change feed.

    The feed would contain ten million changes, which no benchmark reads.
    """
    indexes = await connection.fetch(_SELECT_INDEXES)
    for index in indexes:
        await connection.execute(f"DROP INDEX {index['name']}")
    await connection.execute("SET session_replication_role = replica")
    await insert_rows(connection, AUTHOR_COUNT, books)
    for index in indexes:
        await connection.execute(index["definition"])
    await connection.execute("VACUUM ANALYZE books")
    await connection.execute("CHECKPOINT")
