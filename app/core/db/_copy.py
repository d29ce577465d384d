"""COPY: the fastest way to insert many rows."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.db._failed_transactions import mark_transaction_failed
from app.core.db._sqlstate import DATABASE_ERRORS, translate_database_errors

# How often to check that the connection still exists.
RECORDS_PER_CONNECTION_CHECK: Final = 1000
# The values of all columns of a row.
Record = tuple[Any, ...]


async def copy_records(
    connection: AsyncConnection, table: sa.Table, records: Iterable[Record]
) -> None:
    """Insert records by COPY. Each is a tuple with a value for every column of the table.

    The records are sent while they are iterated, so they may be more than fit into memory. An error
    of the database is raised as a `ServiceError`, and the transaction cannot be committed then.
    """
    raw_connection = await connection.get_raw_connection()
    driver_connection: Any = raw_connection.driver_connection
    columns = [column.name for column in table.columns]
    with translate_database_errors(DATABASE_ERRORS):
        try:
            await driver_connection.copy_records_to_table(
                table.name,
                columns=columns,
                records=_iterate_while_connected(driver_connection, records),
            )
        except DATABASE_ERRORS:
            # SQLAlchemy does not see the errors of COPY.
            await connection.run_sync(mark_transaction_failed)
            raise
        except asyncio.CancelledError as error:
            # The cause is the SystemExit that `_iterate_while_connected` has replaced.
            raise error.__cause__ or error from None
        finally:
            if driver_connection.is_closed():
                # Prevent a ROLLBACK, which cannot be sent any more.
                await connection.invalidate()


async def _iterate_while_connected(
    driver_connection: Any, records: Iterable[Record]
) -> AsyncIterator[Record]:
    """Yield the records, and stop early if the connection is lost.

    The driver then raises the error. A `SystemExit` raised by `records` becomes a `CancelledError`,
    because only after the latter does the driver end the COPY.
    """
    try:
        for index, record in enumerate(records):
            must_check = index % RECORDS_PER_CONNECTION_CHECK == 0
            if must_check and await _is_connection_lost(driver_connection):
                return
            yield record
    except SystemExit as error:
        raise asyncio.CancelledError from error


async def _is_connection_lost(driver_connection: Any) -> bool:
    # Let the event loop notice that the server has closed the connection.
    await asyncio.sleep(0)
    return bool(driver_connection.is_closed())
