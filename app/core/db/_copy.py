"""COPY: the fastest way to insert many rows."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.db._driver_errors import raise_sqlalchemy_error
from app.core.db._sqlstate import DATABASE_ERRORS, translate_database_errors

# How often to check that the connection still exists.
RECORDS_PER_CONNECTION_CHECK: Final = 1000
# The values of all columns of a row.
Record = tuple[Any, ...]


async def copy_records(
    connection: AsyncConnection, table: sa.Table, records: Iterable[Record]
) -> None:
    """Insert records with COPY. Each record has a value for every column of the table.

    The records are sent one by one, so `records` may be a generator of more records than fit into
    memory. Raises a `ServiceError` if the database reports an error. The transaction cannot be
    committed after that.
    """
    raw_connection = await connection.get_raw_connection()
    driver_connection: Any = raw_connection.driver_connection
    column_names = [column.name for column in table.columns]

    driver_connection.add_termination_listener(_resume_writing)
    with translate_database_errors(DATABASE_ERRORS):
        try:
            await driver_connection.copy_records_to_table(
                table.name,
                columns=column_names,
                records=_iterate_while_connected(driver_connection, records),
            )
        except DATABASE_ERRORS as error:
            # SQLAlchemy does not notice the error, because the driver executes COPY directly.
            await connection.run_sync(raise_sqlalchemy_error, f"COPY {table.name}", (), error)
        except asyncio.CancelledError as error:
            # If `_iterate_while_connected` has replaced a SystemExit, raise the SystemExit again.
            raise error.__cause__ or error from None
        finally:
            driver_connection.remove_termination_listener(_resume_writing)


def _resume_writing(driver_connection: Any) -> None:
    """Let the driver continue a COPY after its connection was lost, so that it raises the error.

    If the server reads slowly, the driver waits until it may write again. It does not stop waiting
    when the connection is lost.
    """
    driver_connection._protocol.resume_writing()  # noqa: SLF001 - not a part of the public API


async def _iterate_while_connected(
    driver_connection: Any, records: Iterable[Record]
) -> AsyncIterator[Record]:
    """Yield the records to the driver, which sends them. Stop early if the connection is lost.

    The driver then raises the error of the lost connection.

    If `records` raises `SystemExit`, which happens when the process is asked to stop, this raises a
    `CancelledError` instead. The driver ends a COPY properly only after a `CancelledError`.
    """
    try:
        for index, record in enumerate(records):
            is_check_due = index % RECORDS_PER_CONNECTION_CHECK == 0
            if is_check_due and await _is_connection_lost(driver_connection):
                return
            yield record
    except SystemExit as error:
        raise asyncio.CancelledError from error


async def _is_connection_lost(driver_connection: Any) -> bool:
    """Return whether the server has closed the connection."""
    # Let the event loop run once, so that the driver can notice the closed connection.
    await asyncio.sleep(0)
    return bool(driver_connection.is_closed())
