"""Has SQLAlchemy handle the errors of statements that the driver executes without it."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa


def raise_sqlalchemy_error(
    connection: sa.Connection, sql: str, driver_values: Sequence[Any], error: BaseException
) -> None:
    """Raise the error that SQLAlchemy would raise if it had executed the statement itself.

    An error of the driver is raised as a `DBAPIError`, and any other error unchanged. The
    connection is discarded if it is lost, or if the task was cancelled, because its state is
    unknown then.
    """
    dbapi: Any = connection.dialect.loaded_dbapi
    adapted_connection: Any = connection.connection.dbapi_connection

    # SQLAlchemy reads `sys.exc_info()`, so its private handlers are called in `except` blocks.
    try:
        if isinstance(error, Exception):
            # If the error comes from asyncpg, this raises the DBAPI error that corresponds to it.
            adapted_connection._handle_exception(error)  # noqa: SLF001
        raise error  # noqa: TRY301
    except dbapi.Error as dbapi_error:
        connection._handle_dbapi_exception(  # noqa: SLF001
            dbapi_error, statement=sql, parameters=tuple(driver_values), cursor=None, context=None
        )
    except BaseException as other_error:  # noqa: BLE001 - the call below raises it
        connection._handle_dbapi_exception(  # noqa: SLF001
            other_error, statement=None, parameters=None, cursor=None, context=None
        )
