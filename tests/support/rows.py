"""Inserts rows into the tables directly: many rows, or times that no client can set."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from app.core.db import Database, Rows
from tests.support.entities import CASES_BY_PATH, cases_in_insert_order, referenced_cases
from tests.support.entity_case import FIRST_ID, EntityCase
from tests.support.statements import wait_for_statement_callbacks

# The author of all books that `fill_tables` inserts.
AUTHOR_ID = FIRST_ID
AUTHOR_BOOKS_PATH = f"/authors/{AUTHOR_ID}/books"
COLLECTION_PATHS = tuple(CASES_BY_PATH)
LIST_PATHS = (*COLLECTION_PATHS, AUTHOR_BOOKS_PATH)
# The entity whose rows each list shows.
LIST_CASES = {**CASES_BY_PATH, AUTHOR_BOOKS_PATH: CASES_BY_PATH["/books"]}
SORT_KEYS = {path: case.sorts for path, case in LIST_CASES.items()}
TABLE_NAMES = {path: case.plural for path, case in LIST_CASES.items()}
# A word that `fill_tables` inserts into every name or title of a list that can be searched.
SEARCH_WORDS = {
    path: case.search_word for path, case in LIST_CASES.items() if case.search_word is not None
}


async def fill_tables(database: Database, count: int) -> None:
    """Insert rows 1 to `count` of each entity. All books are by `AUTHOR_ID`."""
    for case in cases_in_insert_order():
        statement = case.insert_statement("generate_series(1, :count) n")
        await execute(database, statement, {"count": count})


async def add_referenced_rows(database: Database, case: EntityCase) -> None:
    """Insert the rows that the filled rows of an entity refer to, unless they exist."""
    for other in referenced_cases(case).values():
        await add_referenced_rows(database, other)
        statement = other.insert_statement("generate_series(1, 1) n")
        await execute(database, f"{statement} ON CONFLICT DO NOTHING")


async def add_rows(database: Database, case: EntityCase, rows: Sequence[dict[str, Any]]) -> None:
    """Insert filled rows: `{"n": 7, "name": "x"}` is row 7 with another name.

    All rows have the keys of the first. `add_referenced_rows` comes before it.
    """
    changed = case.with_columns({key: f":{key}" for key in rows[0] if key != "n"})
    await execute(database, changed.insert_statement("(SELECT CAST(:n AS int) AS n) numbers"), rows)


async def insert_rows(database: Database, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows into a table. All rows have the columns of the first."""
    columns = list(rows[0])
    values = ", ".join(f":{column}" for column in columns)
    await execute(database, f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})", rows)


def first_value(rows: Rows) -> str:
    """Return the first column of the first row as a string."""
    return str(next(iter(rows[0].values())))


async def execute(
    database: Database,
    statement: str,
    parameters: dict[str, Any] | Sequence[dict[str, Any]] | None = None,
) -> None:
    """Execute one statement in a new transaction.

    With a sequence of parameters the statement is executed once for each element.
    """
    async with database.transaction() as session:
        await session.orm.execute(text(statement), parameters)
    await wait_for_statement_callbacks()


async def select_values(database: Database, statement: str, **parameters: Any) -> list[Any]:
    """Return the first column of all rows of a SELECT."""
    async with database.transaction() as session:
        values = list((await session.orm.execute(text(statement), parameters)).scalars())
    await wait_for_statement_callbacks()
    return values
