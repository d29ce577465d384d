"""Sessions execute statements: each in its own transaction, or several in one transaction."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final, Protocol, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session as OrmSession
from sqlalchemy.util import greenlet_spawn

from app.core.db._after_commit import Callback, CallbackRunner
from app.core.db._copy import copy_records
from app.core.db._cursor_rows import fetch_cursor_rows
from app.core.db._retries import Retries, RetryPolicy
from app.core.db._sqlstate import DATABASE_AND_OS_ERRORS, translate_database_errors, translate_error

Parameters = Mapping[str, Any]
Row = Mapping[str, Any]
Rows = Sequence[Row]
# Executes one statement in its own transaction.
ExecuteStatement = Callable[[sa.Executable, Parameters], Awaitable[Rows]]
# Begins a transaction, which is committed at the end of the `async with` block.
OpenTransaction = Callable[[], AbstractAsyncContextManager["TransactionSession"]]
T = TypeVar("T")
# Executes the statements of one transaction.
TransactionOperation = Callable[["TransactionSession"], Awaitable[T]]
ExecutableT = TypeVar("ExecutableT", bound=sa.Executable)

# The name of the execution option with which a statement is marked as reusable.
_REUSABLE_OPTION: Final = "app_reusable"


def mark_reusable(statement: ExecutableT) -> ExecutableT:
    """Return a copy of the statement that is marked so that its compiled SQL is cached.

    Mark statements that are built once and executed often with different parameters. Marking a
    statement that is built for a single execution makes it slower.

    An INSERT or UPDATE has to name the columns that it sets, for example
    `sa.insert(table).values(name=sa.bindparam("new_name"))`.
    """
    return statement.execution_options(**{_REUSABLE_OPTION: True})


def is_reusable(statement: sa.Executable) -> bool:
    """Return whether the statement, or one from which it was built, is marked as reusable."""
    return _REUSABLE_OPTION in statement.get_execution_options()


class Session(Protocol):
    """Interface of all sessions. Repositories and services execute their statements with it."""

    async def execute(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        """Execute a statement. Return its rows as mappings, for example `[{"id": 7}]`.

        Returns an empty list for a statement that returns no rows. Raises a `ServiceError` if the
        database refuses the statement, is overloaded or cannot be reached.
        """

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Return a context manager that keeps the session usable if a statement in it fails.

        In a transaction, a failed block is undone. Without a savepoint, Postgres refuses all
        statements of a transaction after one of them has failed. A session that commits each
        statement immediately stays usable anyway, and undoes nothing.
        """

    async def run_in_transaction(self, operation: TransactionOperation[T]) -> T:
        """Call a function with a session whose statements are committed together.

        Returns the function's result. If it raises an error, all of its statements are undone. It
        must be able to run several times, because a transaction may be repeated after a deadlock.
        """

    def after_commit(self, callback: Callback) -> None:
        """Run a callback in the background after COMMIT, but not if the transaction fails.

        Use it for side effects such as deleting an object from the object store. The callback does
        not run if the process is killed first, so a scheduled job has to complete such work.
        """


class AutocommitSession:
    """Session that commits each statement immediately.

    It retries a statement after an error that leaves the database unchanged, for example after a
    deadlock. A session with `reads_only` also retries after a lost connection.
    """

    def __init__(
        self,
        execute_once: ExecuteStatement,
        open_transaction: OpenTransaction,
        callback_runner: CallbackRunner,
        retry_policy: RetryPolicy,
        *,
        reads_only: bool,
        database_is_read_only: bool = False,
    ) -> None:
        """Create a session. It uses a connection only while it executes a statement.

        Args:
            execute_once: Executes and commits one statement without retrying it.
            open_transaction: Begins a transaction of several statements.
            callback_runner: Runs the callbacks that are passed to `after_commit`.
            retry_policy: How long a statement or a transaction may be repeated.
            reads_only: All statements are reads, which may be retried after a lost connection.
            database_is_read_only: The database is only read, and may be a standby. See
                `translate_error`.
        """
        self._execute_once = execute_once
        self._open_transaction = open_transaction
        self._callback_runner = callback_runner
        self._retry_policy = retry_policy
        self._reads_only = reads_only
        self._database_is_read_only = database_is_read_only

    async def execute(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        """Execute and commit a statement. Return its rows as mappings.

        Repeats the statement after an error that leaves the database unchanged. See `Retries`.
        """
        parameters = parameters or {}
        retries: Retries | None = None
        while True:
            try:
                return await self._execute_once(statement, parameters)
            except DATABASE_AND_OS_ERRORS as error:
                retries = retries or self._retry_policy.start(is_read=self._reads_only)
                wait = retries.choose_wait(error)
                if wait is None:
                    raise translate_error(error, read_only=self._database_is_read_only) from error
            # Wait outside of the `except` block, so that the next error does not contain this one.
            await asyncio.sleep(wait)

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Return a context manager that does nothing, because each statement commits by itself."""
        return nullcontext()

    async def run_in_transaction(self, operation: TransactionOperation[T]) -> T:
        """Call a function with the session of a transaction, and return its result.

        The transaction is repeated after an error such as a deadlock. See `Retries`.
        """

        async def run_once() -> T:
            async with self._open_transaction() as transaction:
                return await operation(transaction)

        return await self._retry_policy.run(run_once, is_read=self._reads_only)

    def after_commit(self, callback: Callback) -> None:
        """Start a callback in the background now, because all statements are already committed."""
        self._callback_runner.start(callback)


class TransactionSession:
    """Session that executes all of its statements in one transaction.

    `Database.transaction` creates the session and commits the transaction. `orm` is the SQLAlchemy
    session of this transaction, for code that works with ORM entities. `execute` sees changes of
    entities only after `orm.flush()`.
    """

    def __init__(self, orm: AsyncSession, *, database_is_read_only: bool = False) -> None:
        """Create a session. The database may be a standby if it is only read."""
        self.orm = orm
        self._database_is_read_only = database_is_read_only
        # `Database.transaction` starts these after COMMIT.
        self.after_commit_callbacks: list[Callback] = []

    async def execute(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        """Execute a statement in the transaction. Return its rows as mappings."""

        def execute_in_greenlet(orm_session: OrmSession) -> Rows:
            # `orm_session.execute(select(Author))` would return entities instead of rows.
            result = orm_session.connection().execute(statement, parameters or {})
            return fetch_rows(result)

        with translate_database_errors(read_only=self._database_is_read_only):
            return await self.orm.run_sync(execute_in_greenlet)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo the statements and callbacks of the `async with` block if it raises an error.

        The session can then execute further statements. The error is raised again.
        """
        number_of_earlier_callbacks = len(self.after_commit_callbacks)
        try:
            async with self.orm.begin_nested():
                yield
        except BaseException:
            del self.after_commit_callbacks[number_of_earlier_callbacks:]
            raise

    async def run_in_transaction(self, operation: TransactionOperation[T]) -> T:
        """Call a function with this session, whose statements are committed together anyway."""
        async with self.savepoint():
            return await operation(self)

    def after_commit(self, callback: Callback) -> None:
        """Run a callback in the background after COMMIT, but not if the transaction fails."""
        self.after_commit_callbacks.append(callback)

    async def fetch(self, fetch_statement: sa.TextClause) -> Rows:
        """Execute a FETCH, which returns the next rows of a database cursor."""
        with translate_database_errors(read_only=self._database_is_read_only):
            return await fetch_cursor_rows(await self.orm.connection(), fetch_statement)

    async def copy_records(self, table: sa.Table, records: Iterable[tuple[Any, ...]]) -> None:
        """Insert records with COPY, the fastest way to insert many rows.

        Each record is a tuple with a value for every column of the table. The records are sent one
        by one, so `records` may be a generator of more records than fit into memory.
        """
        await copy_records(await self.orm.connection(), table, records)


def create_sqlalchemy_executor(engine: sa.Engine) -> ExecuteStatement:
    """Return a function that executes and commits one statement through SQLAlchemy."""

    async def execute_statement(statement: sa.Executable, parameters: Parameters) -> Rows:
        """Execute and commit a statement. Return its rows as mappings."""

        def execute_in_greenlet() -> Rows:
            with engine.begin() as connection:
                result = connection.execute(statement, parameters)
                return fetch_rows(result)

        # One greenlet runs the whole transaction. SQLAlchemy's asynchronous engine would create
        # three greenlets and a task for one statement.
        return await greenlet_spawn(execute_in_greenlet)

    return execute_statement


def fetch_rows(result: sa.CursorResult[Any]) -> Rows:
    """Return all rows of a result as mappings, or an empty list for an INSERT without RETURNING."""
    if not result.returns_rows:
        return []
    return cast("Rows", result.mappings().all())
