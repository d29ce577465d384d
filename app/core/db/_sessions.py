"""Sessions execute statements: each in its own transaction, or several in one transaction."""

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
# Executes one statement in its own transaction.
ExecuteStatement = Callable[[sa.Executable, Parameters], Awaitable[Rows]]
ExecutableT = TypeVar("ExecutableT", bound=sa.Executable)

# The name of the execution option with which a statement is marked as reusable.
_REUSABLE_OPTION: Final = "app_reusable"


def mark_reusable(statement: ExecutableT) -> ExecutableT:
    """Return the statement with a mark that lets the fast path cache its compiled SQL.

    Mark statements that are built once and executed often, with different parameters. A marked
    statement that is built for one execution works, but is slower. An INSERT or UPDATE has to name
    the columns that it sets, for example `sa.insert(table).values(name=sa.bindparam("new_name"))`.
    """
    return statement.execution_options(**{_REUSABLE_OPTION: True})


def is_reusable(statement: sa.Executable) -> bool:
    """Return whether `mark_reusable` marked the statement, or the statement it was built from."""
    return _REUSABLE_OPTION in statement.get_execution_options()


class Session(Protocol):
    """The methods that repositories and services need from a session of any kind."""

    async def execute(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        """Execute a statement. Return its rows as mappings, for example `[{"id": 7}]`.

        Returns an empty list for a statement that returns no rows. Raises a `ServiceError` if the
        database refuses the statement, is overloaded or cannot be reached.
        """

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Return a context manager that undoes a failed block, after which the session is usable.

        Without a savepoint, a transaction refuses every statement after a failed one.
        """

    def after_commit(self, callback: Callback) -> None:
        """Run a callback in the background after COMMIT, and never if the transaction fails.

        For side effects such as sending an email or deleting an object from the store. The callback
        is lost if the process dies before it has run, so a scheduled job has to repeat its work.
        """


class AutocommitSession:
    """Session that executes and commits every statement by itself, on any idle connection.

    A statement is repeated once after an error that proves that it had no effect, for example a
    deadlock. With `reads_only`, it is also repeated once if its connection turned out to be lost.
    """

    def __init__(
        self, execute_once: ExecuteStatement, callbacks: BackgroundCallbacks, *, reads_only: bool
    ) -> None:
        self._execute_once = execute_once
        self._callbacks = callbacks
        self._reads_only = reads_only

    async def execute(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        """Execute and commit a statement. Return its rows as mappings."""
        parameters = parameters or {}
        try:
            return await self._execute_once(statement, parameters)
        except DATABASE_AND_OS_ERRORS as error:
            if not may_retry_statement(error, is_read=self._reads_only):
                raise translate_error(error) from error
        with translate_database_errors():
            return await self._execute_once(statement, parameters)

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Return a context manager without effect, because a failed statement has none either."""
        return nullcontext()

    def after_commit(self, callback: Callback) -> None:
        """Run a callback in the background now, because earlier statements have been committed."""
        self._callbacks.start(callback)


class TransactionSession:
    """Session that executes several statements in one transaction. See `Database.transaction`.

    `orm` is SQLAlchemy's session of the same transaction, for code that works with entities. Call
    `orm.flush()` before a statement that has to see changes of entities.
    """

    def __init__(self, orm: AsyncSession) -> None:
        self.orm = orm
        self.callbacks: list[Callback] = []

    async def execute(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        """Execute a statement in the transaction. Return its rows as mappings."""

        def execute_in_greenlet(orm: OrmSession) -> Rows:
            # `orm.execute` would return entities instead of rows for `select(Author)`.
            result = orm.connection().execute(statement, parameters or {})
            return fetch_rows(result)

        with translate_database_errors():
            return await self.orm.run_sync(execute_in_greenlet)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """If the block raises, undo its statements, forget its callbacks, and raise the error."""
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
        """Insert records by COPY. Each is a tuple with a value for every column of the table.

        The records are sent while they are iterated, so they may be more than fit into memory.
        """
        await copy_records(await self.orm.connection(), table, records)


def create_sqlalchemy_executor(engine: sa.Engine) -> ExecuteStatement:
    """Return a function that executes and commits one statement through SQLAlchemy."""

    async def execute(statement: sa.Executable, parameters: Parameters) -> Rows:
        def execute_in_greenlet() -> Rows:
            with engine.begin() as connection:
                result = connection.execute(statement, parameters)
                return fetch_rows(result)

        # `async with engine.begin()` would create three greenlets and a task for one statement.
        return await greenlet_spawn(execute_in_greenlet)

    return execute


def fetch_rows(result: sa.CursorResult[Any]) -> Rows:
    """Return all rows of a result as mappings. A statement without RETURNING has none."""
    if not result.returns_rows:
        return []
    return cast("Rows", result.mappings().all())
