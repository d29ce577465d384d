"""COPY: the fastest way to insert many rows."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.db._failed_transactions import mark_transaction_failed
from app.core.db._sqlstate import DATABASE_ERRORS, translate_database_errors

RECORDS_PER_CHECK: Final = 1000
Record = tuple[Any, ...]


async def copy_records(
    connection: AsyncConnection, table: sa.Table, records: Iterable[Record]
) -> None:
    """Insert records, which have a value for each column, and hold none of them in memory."""
    raw_connection = await connection.get_raw_connection()
    driver: Any = raw_connection.driver_connection
    columns = [column.name for column in table.columns]
    with translate_database_errors(DATABASE_ERRORS):
        try:
            await driver.copy_records_to_table(
                table.name, columns=columns, records=_while_connected(driver, records)
            )
        except DATABASE_ERRORS:
            # SQLAlchemy does not see the errors of COPY.
            await connection.run_sync(mark_transaction_failed)
            raise
        except asyncio.CancelledError as error:
            raise error.__cause__ or error from None
        finally:
            if driver.is_closed():
                # A ROLLBACK could not be sent any more.
                await connection.invalidate()


async def _while_connected(driver: Any, records: Iterable[Record]) -> AsyncIterator[Record]:
    """Yield the records, and stop if the connection is lost."""
    try:
        for number, record in enumerate(records):
            # If the connection is lost, the driver raises the error.
            if number % RECORDS_PER_CHECK == 0 and await _is_lost(driver):
                return
            yield record
    except SystemExit as error:
        # The driver ends a COPY that is cancelled, but not one that raises SystemExit.
        raise asyncio.CancelledError from error


async def _is_lost(driver: Any) -> bool:
    # Let the event loop notice that the server has closed the connection.
    await asyncio.sleep(0)
    return bool(driver.is_closed())
