"""The sessions: a statement that is its own transaction, and several between BEGIN and COMMIT."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Any, Final, TypeVar, cast

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.util import greenlet_spawn

from app.core.db._prepared import Prepared
from app.core.db._sqlstate import DATABASE_ERRORS, FAILURES, lost, may_retry, meaning, translated
from app.core.observability import StatementTimer

Parameters = Mapping[str, Any]
Rows = Sequence[sa.Row[Any]]
Records = Sequence[Mapping[Any, Any]]  # by column names
T = TypeVar("T")
Statement = TypeVar("Statement")
LOOK: Final = 1000  # records copied between two looks at whether the connection is lost


class AutocommitSession:
    """Every statement is its own transaction: one round trip, on a connection borrowed for it.

    A statement that the server surely undid (deadlock, serialization failure) is run once more,
    and so is a read whose connection turned out to be dead.
    """

    def __init__(self, engine: sa.Engine, *, read: bool, pooled: bool = False) -> None:
        self._engine, self._read = engine, read
        # Behind a pooler what the driver prepares is on another connection than what it runs.
        self._run = self._execute_prepared if pooled else self._fetch

    async def rows(self, statement: sa.Executable, parameters: Parameters) -> Rows:
        """Of a statement that is made for this time."""
        return await self._tried(self._execute, statement, parameters)

    async def fetch(self, statement: Prepared, parameters: Parameters) -> Records:
        """Of a statement that was built once."""
        return await self._tried(self._run, statement, parameters)

    def savepoint(self) -> AbstractAsyncContextManager[object]:
        """Whatever fails in the block, the session goes on; a statement alone needs nothing."""
        return nullcontext()

    async def _tried(
        self,
        run: Callable[[Statement, Parameters], Awaitable[T]],
        statement: Statement,
        parameters: Parameters,
    ) -> T:
        try:
            return await run(statement, parameters)
        except FAILURES as error:
            if not may_retry(error, read=self._read):
                raise meaning(error) from error
        with translated():
            return await run(statement, parameters)

    async def _execute(self, statement: sa.Executable, parameters: Parameters) -> Rows:
        def executed() -> Rows:
            with self._engine.begin() as connection:
                return connection.execute(statement, parameters).all()

        # In one greenlet: `async with engine.connect()` makes three, and a task, for one statement.
        return await greenlet_spawn(executed)

    async def _execute_prepared(self, statement: Prepared, parameters: Parameters) -> Records:
        return _records(await self._execute(statement.executable, parameters))

    async def _fetch(self, statement: Prepared, parameters: Parameters) -> Records:
        arguments = statement.arguments(parameters)
        with await self._connected() as connection:
            driver: Any = connection.connection.driver_connection
            try:
                with StatementTimer(statement.sql):
                    return cast("Records", await driver.fetch(statement.sql, *arguments))
            except BaseException as error:
                # What was cut off leaves it in a state that nobody knows.
                if not isinstance(error, Exception) or driver.is_closed() or lost(error):
                    await greenlet_spawn(connection.invalidate, error)
                raise

    async def _connected(self) -> sa.Connection:
        pool = self._engine.pool
        if isinstance(pool, sa.QueuePool) and pool.checkedin():
            # To take one that is there, nothing is waited for: a greenlet costs a tenth of a read.
            with suppress(MissingGreenlet):  # that one has to be made again
                return self._engine.connect()
        return await greenlet_spawn(self._engine.connect)


class TransactionSession(AsyncSession):
    """An `AsyncSession` between BEGIN and COMMIT, for work of more than one statement."""

    async def rows(self, statement: sa.Executable, parameters: Parameters) -> Rows:
        with translated():
            return (await self.execute(statement, parameters)).all()

    async def fetch(self, statement: Prepared, parameters: Parameters) -> Records:
        return _records(await self.rows(statement.executable, parameters))

    def savepoint(self) -> AbstractAsyncContextManager[object]:
        """Whatever fails in the block is undone, and the transaction goes on."""
        return self.begin_nested()

    async def run(self, statement: sa.Executable) -> None:
        """A statement that has no rows to return."""
        with translated():
            await self.execute(statement)

    async def copy(self, table: sa.Table, records: Iterable[tuple[Any, ...]]) -> None:
        """COPY records into a table as they come: none is held."""
        connection = await self.connection()
        raw = await connection.get_raw_connection()
        driver: asyncpg.Connection[Any] = raw.driver_connection  # type: ignore[assignment]

        async def while_connected() -> AsyncIterator[tuple[Any, ...]]:
            try:
                for number, record in enumerate(records):
                    if number % LOOK == 0:
                        await asyncio.sleep(0)
                        if driver.is_closed():
                            return  # the driver raises it
                    yield record
            except SystemExit as error:  # the driver ends COPY when cancelled, not for this
                raise asyncio.CancelledError from error

        columns = [column.name for column in table.columns]
        with translated(DATABASE_ERRORS):
            try:
                await driver.copy_records_to_table(
                    table.name, columns=columns, records=while_connected()
                )
            except asyncio.CancelledError as error:
                raise error.__cause__ or error from None
            finally:
                if driver.is_closed():  # nothing can be rolled back on it
                    await connection.invalidate()

    async def fetched(
        self, declare: sa.Executable, parameters: Parameters, fetch: sa.Executable
    ) -> AsyncIterator[Records]:
        """The rows of a cursor, some at a time: what declares it and what fetches from it."""
        with translated():
            await self.execute(declare, parameters)
            while rows := (await self.execute(fetch)).mappings().all():
                yield rows


def _records(rows: Rows) -> Records:
    return [row._mapping for row in rows]  # noqa: SLF001 - as SQLAlchemy documents it


Session = AutocommitSession | TransactionSession
