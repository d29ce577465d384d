"""All databases of the service, and the transaction boundary: no other module commits."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.caller_limits import Caller, CallerLimits
from app.core.db._after_commit import CallbackRunner
from app.core.db._engine_metrics import measure_engine
from app.core.db._failover import ConnectionReplacement, replace_connections_of
from app.core.db._named_database import DATABASE_CONFIGS, NamedDatabase
from app.core.db._pool import PoolShares
from app.core.db._schema_version import READ_ONLY_PROBLEM, find_database_problem
from app.core.db._sessions import TransactionSession
from app.core.db._sqlstate import DATABASE_AND_OS_ERRORS, DATABASE_ERRORS, translate_database_errors
from app.core.db._write_slots import TransactionSlot, provide_transaction_slot
from app.core.observability import STREAMS_IN_FLIGHT, record_statement
from app.settings import Settings

CLOSE_TIMEOUT_SECONDS: Final = 2.0
CALLBACKS_TIMEOUT_SECONDS: Final = 1.0
log = logging.getLogger(__name__)


class Database:
    """All databases of the service. Executes single statements and begins transactions.

    `reads`, `locking_reads`, `writes` and `optional_writes` are sessions of the default database
    that commit each statement immediately. See `NamedDatabase`.
    `named_databases` contains every database by its name in `DATABASE_CONFIGS`:

        await database.reads.execute(statement)
        await database.named_databases["reporting"].reads.execute(statement)
        async with database.transaction() as session: ...
        async with database.transaction("reporting") as session: ...
    """

    def __init__(self, settings: Settings, *, reserve_reads: bool = True) -> None:
        """Create a connection pool for each database, without opening a connection yet.

        Args:
            settings: The settings of the service.
            reserve_reads: Reserve a part of each pool for reads (see `PoolShares`). A process that
                serves no clients needs no reserve.
        """
        self._callback_runner = CallbackRunner()
        self.named_databases = {
            database_name: NamedDatabase(
                database_name,
                settings,
                config,
                partial(self.transaction, database_name),
                self._callback_runner,
                reserve_reads=reserve_reads,
            )
            for database_name, config in DATABASE_CONFIGS.items()
        }
        self._connection_replacement = ConnectionReplacement()
        for database_name, database in self.named_databases.items():
            sync_engine = database.engine.sync_engine
            self._connection_replacement.add(sync_engine, read_only=database.read_only)
            measure_engine(sync_engine, database_name)

        default_database = self.named_databases["default"]
        self.engine = default_database.engine
        self.reads = default_database.reads
        self.locking_reads = default_database.locking_reads
        self.writes = default_database.writes
        self.optional_writes = default_database.optional_writes

        self._stream_limits = _create_stream_limits(settings)

    @asynccontextmanager
    async def transaction(
        self, database_name: str = "default"
    ) -> AsyncIterator[TransactionSession]:
        """Run the `async with` block in a transaction of one database, for example "reporting".

        Commits when the block ends, and then starts the callbacks that the block has passed to
        `session.after_commit`. Rolls back if the block raises an error.

        Raises `FailedTransaction` instead of committing if a statement outside of a savepoint
        failed and the block suppressed its error.
        """
        database = self.named_databases[database_name]
        async with (
            provide_transaction_slot(database.write_slots) as slot,
            self._open_transaction(database, slot) as session,
        ):
            yield session

        for callback in session.after_commit_callbacks:
            self._callback_runner.start(callback)

    @asynccontextmanager
    async def _open_transaction(
        self, database: NamedDatabase, slot: TransactionSlot | None
    ) -> AsyncIterator[TransactionSession]:
        """Run the `async with` block in a transaction. See `transaction`.

        `slot` is taken before the first statement. Without one, the transaction is not limited.
        """
        async with database.create_orm_session(slot=slot) as orm_session:
            session = TransactionSession(orm_session, database_is_read_only=database.read_only)
            try:
                # Translate OSErrors only during COMMIT. In the block, they may come from a file.
                with translate_database_errors(DATABASE_ERRORS):
                    yield session
                with translate_database_errors():
                    await _commit(orm_session)
            except (asyncio.CancelledError, GeneratorExit):
                # Close the connection instead of sending a ROLLBACK, because the cancelled task
                # would wait forever if the database hangs.
                await orm_session.invalidate()
                raise
            except BaseException:
                await _roll_back(orm_session)
                raise

    @asynccontextmanager
    async def streaming_transaction(self, caller: Caller) -> AsyncIterator[TransactionSession]:
        """Run the `async with` block in a transaction that is open while a client downloads rows.

        The number of these transactions is limited, because slow clients would otherwise occupy the
        whole connection pool. Raises `TooManyRequests` if the caller has too many of them, and
        `Overloaded` if all callers together have too many.
        """
        with self._stream_limits.reserve(caller):
            # It only reads, so it takes no slot of the writes.
            database = self.named_databases["default"]
            with STREAMS_IN_FLIGHT.track_inprogress():
                async with self._open_transaction(database, slot=None) as session:
                    yield session

    async def find_problem(self, required_revisions: Sequence[str]) -> str | None:
        """Return a sentence about what prevents reads or writes, or None, for readiness probes.

        For example, "database: is read-only". See `find_database_problem`. If the server is
        read-only, this replaces all connections, so that requests after a failover do not meet the
        former primary.
        """
        readiness = self.named_databases["readiness"]
        problem = await find_database_problem(
            readiness.reads, required_revisions, must_accept_writes=True
        )
        if problem == READ_ONLY_PROBLEM:
            self._connection_replacement.replace_connections()
            # The line above may do nothing because it was called a moment ago. The next probe must
            # see the server to which new connections lead.
            replace_connections_of(readiness.engine.sync_engine)
        return problem

    async def wait_for_callbacks(self) -> None:
        """Wait until all `after_commit` callbacks have ended. CLI commands do this before exit."""
        await self._callback_runner.wait()

    async def close(self) -> None:
        """Wait for `after_commit` callbacks, and then close all connections.

        Cancels callbacks that are still running after `CALLBACKS_TIMEOUT_SECONDS`. Stops waiting
        for connections to close after `CLOSE_TIMEOUT_SECONDS`. The end of the process closes them.
        """
        await self._callback_runner.close(CALLBACKS_TIMEOUT_SECONDS)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                for database in self.named_databases.values():
                    await database.engine.dispose()
        except TimeoutError:
            log.warning("database connections were not closed within %g s", CLOSE_TIMEOUT_SECONDS)


async def _commit(orm_session: AsyncSession) -> None:
    """Commit a transaction. Record the duration as that of a statement with the name "commit"."""
    started_at = perf_counter()
    try:
        await orm_session.commit()
    finally:
        record_statement("commit", perf_counter() - started_at)


async def _roll_back(orm_session: AsyncSession) -> None:
    """Roll back a transaction after an error, which the caller raises again.

    If the connection has been lost, Postgres has already rolled back. An error of the ROLLBACK must
    not replace the other error, for example a `NotFound` that explains to the client what is wrong.
    """
    try:
        await orm_session.rollback()
    except DATABASE_AND_OS_ERRORS:
        await orm_session.invalidate()


def _create_stream_limits(settings: Settings) -> CallerLimits:
    """Return the limits of streaming transactions. Downloads could otherwise occupy the pool."""
    max_streams = PoolShares.divide(settings.db_pool_size).streams
    return CallerLimits(
        "streams",
        total=max_streams,
        per_network=max(1, max_streams * 3 // 4),
        per_user=max(1, max_streams // 2),
    )
