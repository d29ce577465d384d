"""Has SQLAlchemy handle the errors of statements that the driver executes without it."""

from collections.abc import Sequence
from typing import Any
from weakref import ref

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry, Pool
from sqlalchemy.pool.base import _ConnectionFairy


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


def wrap_pool_entry(
    engine: sa.Engine, pool: Pool, pool_entry: ConnectionPoolEntry
) -> sa.Connection:
    """Return SQLAlchemy's connection for an entry that was checked out of the pool without it.

    Closing the connection returns the entry to the pool.
    """
    entry: Any = pool_entry
    fairy = _ConnectionFairy(pool, entry.dbapi_connection, entry, echo=False)
    # As many times as `close` has to be called until SQLAlchemy returns the entry to the pool.
    fairy._counter = 1  # noqa: SLF001
    entry.fairy_ref = ref(fairy)
    return sa.Connection(engine, fairy)
