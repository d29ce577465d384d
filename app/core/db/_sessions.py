"""Sessions execute statements: one in a transaction of its own, or several in one transaction."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final, Protocol, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session as OrmSession
from sqlalchemy.util import greenlet_spawn

from app.core.db._after_commit import BackgroundCallbacks, Callback
from app.core.db._copy import copy_records
from app.core.db._sqlstate import (
    DATABASE_AND_OS_ERRORS,
    may_retry_statement,
    translate_database_errors,
    translate_error,
)

Parameters = Mapping[str, Any]
Row = Mapping[str, Any]
Rows = Sequence[Row]
# Executes one statement in a transaction of its own.
ExecuteStatement = Callable[[sa.Executable, Parameters], Awaitable[Rows]]
ExecutableT = TypeVar("ExecutableT", bound=sa.Executable)

_REUSABLE: Final = "app_reusable"


def mark_reusable(statement: ExecutableT) -> ExecutableT:
    """Mark a statement that is built once, kept, and executed often with other parameters.

    An INSERT or UPDATE has to name the columns that it sets, by `values()`. Marking a statement
    that is built for one execution does no harm, but makes it slower.
    """
    return statement.execution_options(**{_REUSABLE: True})


def is_reusable(statement: sa.Executable) -> bool:
    """Return whether `reusable` marked the statement, or a statement it was made from."""
    return _REUSABLE in statement.get_execution_options()


class Session(Protocol):
    """The methods that repositories and services need from a session of any kind."""

    async def execute(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        """Execute a statement. Return its rows as mappings, for example `{"id": 7}`.

        A statement that returns no rows has the result `[]`. Raises a `ServiceError` for what the
        database refuses or cannot do.
        """

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Return a block after whose failure the session can go on."""

    def after_commit(self, callback: Callback) -> None:
        """Run a callback in the background after COMMIT, and never if the transaction fails.

        For side effects such as sending an email or removing an object from a store. The callback
        is lost if the process dies in between, so somebody has to find what is left to do.
        """


class AutocommitSession:
    """Executes every statement in a transaction of its own, on a connection checked out for it.

    A statement that the server has surely undone, for example because of a deadlock, is retried
    once. So is a read whose connection turned out to be lost.
    """

    def __init__(
        self, execute_once: ExecuteStatement, callbacks: BackgroundCallbacks, *, reads_only: bool
    ) -> None:
        self._execute_once = execute_once
        self._callbacks = callbacks
        self._reads_only = reads_only

    async def execute(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        parameters = parameters or {}
        try:
            return await self._execute_once(statement, parameters)
        except DATABASE_AND_OS_ERRORS as error:
            if not may_retry_statement(error, read=self._reads_only):
                raise translate_error(error) from error
        with translate_database_errors():
            return await self._execute_once(statement, parameters)

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Return a block that does nothing: a failed statement leaves nothing behind."""
        return nullcontext()

    def after_commit(self, callback: Callback) -> None:
        """Run a callback in the background now: earlier statements have been committed."""
        self._callbacks.start(callback)


class TransactionSession:
    """Executes several statements between BEGIN and COMMIT; `Database.transaction` makes it.

    `orm` is SQLAlchemy's own session of the same transaction, for code that wants entities. Flush
    it before a statement is to see its changes.
    """

    def __init__(self, orm: AsyncSession) -> None:
        self.orm = orm
        self.callbacks: list[Callback] = []

    async def execute(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        def execute_in_greenlet(orm: OrmSession) -> Rows:
            # The session's own `execute` would return entities for `select(Author)`.
            return fetch_rows(orm.connection().execute(statement, parameters or {}))

        with translate_database_errors():
            return await self.orm.run_sync(execute_in_greenlet)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what a failed block has done, its callbacks included, and nothing else."""
        number_of_callbacks = len(self.callbacks)
        try:
            async with self.orm.begin_nested():
                yield
        except BaseException:
            del self.callbacks[number_of_callbacks:]
            raise

    def after_commit(self, callback: Callback) -> None:
        """Run a callback in the background after COMMIT, and never if the transaction fails."""
        self.callbacks.append(callback)

    async def copy(self, table: sa.Table, records: Iterable[tuple[Any, ...]]) -> None:
        """COPY records into a table as they come, without holding them in memory."""
        await copy_records(await self.orm.connection(), table, records)


def create_sqlalchemy_executor(engine: sa.Engine) -> ExecuteStatement:
    """Return the function that executes a statement as SQLAlchemy does it."""

    async def execute(statement: sa.Executable, parameters: Parameters) -> Rows:
        def execute_in_greenlet() -> Rows:
            with engine.begin() as connection:
                return fetch_rows(connection.execute(statement, parameters))

        # `async with engine.begin()` would create three greenlets and a task for one statement.
        return await greenlet_spawn(execute_in_greenlet)

    return execute


def fetch_rows(result: sa.CursorResult[Any]) -> Rows:
    """Return the rows of a result, which may be of a statement that has none."""
    if not result.returns_rows:
        return []
    return cast("Rows", result.mappings().all())
