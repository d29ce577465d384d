"""Fetch the rows of a database cursor with the driver, because a stream has very many rows.

SQLAlchemy would wrap each row, which takes longer than everything that the driver does for it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.db._driver_errors import raise_sqlalchemy_error
from app.core.db._statement_names import find_statement_name
from app.core.observability import StatementTimer


async def fetch_cursor_rows(
    connection: AsyncConnection, fetch_statement: sa.TextClause
) -> Sequence[Mapping[str, Any]]:
    """Execute a FETCH and return its rows as mappings, which are records of the driver.

    An earlier statement of the same transaction has declared the cursor. Raises the errors of
    SQLAlchemy.
    """
    raw_connection = await connection.get_raw_connection()
    driver_connection: Any = raw_connection.driver_connection
    sql = fetch_statement.text
    name = find_statement_name(sql, fetch_statement.get_execution_options())
    try:
        with StatementTimer(sql, name):
            return cast("Sequence[Mapping[str, Any]]", await driver_connection.fetch(sql))
    except BaseException as error:
        await connection.run_sync(raise_sqlalchemy_error, sql, (), error)
        # `raise_sqlalchemy_error` has raised, but the type checker cannot know that.
        raise
