"""Rows written straight into the tables: many at once, or with times that no client can set."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from app.core.db import Database, Rows
from tests.statements import heard

AUTHOR = "01890000-0000-7000-8000-000000000001"  # of the books that `fill` makes
BOOKS_OF_AUTHOR = f"/authors/{AUTHOR}/books"
COLLECTIONS = ("/authors", "/books", "/documents", "/users")
LISTS = (*COLLECTIONS, BOOKS_OF_AUTHOR)
SORTS = {
    "/authors": ("name", "dob", "created_at"),
    "/books": ("title", "created_at", "updated_at"),
    "/documents": ("name", "size", "created_at"),
    "/users": ("name", "email", "created_at"),
    BOOKS_OF_AUTHOR: ("title", "created_at", "updated_at"),
}
TABLES = {path: path.rsplit("/", 1)[1] for path in LISTS}
# What `fill` has in every name or title of a list.
WORDS = {
    "/authors": "author",
    "/books": "title",
    "/documents": "paper",
    "/users": "reader",
    BOOKS_OF_AUTHOR: "title",
}

# Row n is n minutes into 2026 and was changed n minutes into 2027; its id ends in n.
_ID = "('01890000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid"
_TIMES = """
    timestamptz '2026-01-01T00:00Z' + n * interval '1 minute',
    timestamptz '2027-01-01T00:00Z' + n * interval '1 minute'
"""
_FILL = (
    f"""
    INSERT INTO authors (id, name, dob, created_at, updated_at)
    SELECT {_ID}, 'Author ' || n, date '1900-01-01' + n, {_TIMES}
    FROM generate_series(1, :count) n
    """,
    f"""
    INSERT INTO books (id, title, author_id, created_at, updated_at)
    SELECT {_ID}, 'Title ' || n, '{AUTHOR}', {_TIMES} FROM generate_series(1, :count) n
    """,
    f"""
    INSERT INTO documents (id, name, size, created_at, updated_at)
    SELECT {_ID}, 'Paper ' || n, n, {_TIMES} FROM generate_series(1, :count) n
    """,
    f"""
    INSERT INTO users (name, email, password_hash, created_at, updated_at)
    SELECT 'Reader ' || n, 'Reader' || n || '@Example.com', 'x', {_TIMES}
    FROM generate_series(1, :count) n
    """,
)


async def fill(database: Database, count: int) -> None:
    """So many of each entity, books all by `AUTHOR`; each is younger than the one before."""
    for statement in _FILL:
        await run(database, statement, {"count": count})


async def insert(database: Database, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """These rows; all have the columns of the first."""
    columns = list(rows[0])
    values = ", ".join(f":{column}" for column in columns)
    await run(database, f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})", rows)


def first_value(rows: Rows) -> str:
    """The first column of the first row."""
    return str(next(iter(rows[0].values())))


async def run(
    database: Database,
    statement: str,
    parameters: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
) -> None:
    """One statement in a transaction of its own."""
    async with database.transaction() as session:
        await session.orm.execute(text(statement), parameters)
    await heard()


async def query(database: Database, statement: str, **parameters: Any) -> list[Any]:
    """The first column of what a SELECT finds."""
    async with database.transaction() as session:
        values = list((await session.orm.execute(text(statement), parameters)).scalars())
    await heard()
    return values
