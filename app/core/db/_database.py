"""The databases by name, and the transaction boundary: no other module commits."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from app import NAME
from app.core.db._after_commit import BackgroundCallbacks
from app.core.db._failed_transactions import forbid_commit_after_failure
from app.core.db._fast_path import FastPath
from app.core.db._pool import ConnectionPool, discard_connections_after_loss
from app.core.db._sessions import AutocommitSession, TransactionSession, create_sqlalchemy_executor
from app.core.db._sqlstate import DATABASE_ERRORS, translate_database_errors
from app.core.errors import Overloaded
from app.core.observability import export_pool_metrics, time_statements
from app.settings import Settings

# Seconds. Connections are replaced at this age because a pre-ping would cost each request a round
# trip.
MAX_CONNECTION_AGE_SECONDS = 1800
CLOSE_TIMEOUT_SECONDS: Final = 2.0  # seconds
CALLBACKS_TIMEOUT_SECONDS: Final = 1.0  # seconds
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatabaseConfig:
    """A database: the setting with its URL. The default database is used if that is not set."""

    setting: str
    read_only: bool = False
    # Only the readiness probe uses it, on one connection.
    probed: bool = False

    def pool_size(self, size: int) -> int:
        """Return the number of connections in a process whose default pool has `size`."""
        if self.probed:
            return 1
        if self.read_only:
            return _quarter(size)
        return size


# Every database by name. One more is a setting and a line here; `reading` makes its dependency.
NAMED_DATABASES: Final = {
    "default": DatabaseConfig("database_url"),
    "reporting": DatabaseConfig("reporting_database_url", read_only=True),
    "readiness": DatabaseConfig("database_url", read_only=True, probed=True),
}
# Behind a transaction-mode pooler the next transaction may run on another connection, so that no
# prepared statement can be reused. A named one would remain on the pooler's connection, because its
# Close message goes to whichever connection runs the next transaction.
TRANSACTION_POOLER_OPTIONS: Final[dict[str, Any]] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}


class NamedDatabase:
    """The three kinds of session over one database's connection pool."""

    def __init__(
        self, settings: Settings, bind: DatabaseConfig, callbacks: BackgroundCallbacks
    ) -> None:
        self.engine = create_async_engine(
            settings.url_of(bind.setting),
            **_engine_options(settings, bind),
            poolclass=ConnectionPool,
            skip_autocommit_rollback=True,
            max_overflow=0,
            pool_timeout=settings.db_pool_timeout,
            pool_recycle=MAX_CONNECTION_AGE_SECONDS,
            hide_parameters=True,
        )
        discard_connections_after_loss(self.engine.sync_engine)
        forbid_commit_after_failure(self.engine.sync_engine)
        execute = create_sqlalchemy_executor(self.engine.sync_engine)
        # A pooler may run a statement on another connection than the one that has prepared it.
        if settings.db_fast_path and not settings.db_pgbouncer:
            execute = FastPath(self.engine.sync_engine, execute).execute
        self.reads = AutocommitSession(execute, callbacks, reads_only=True)
        self.writes = AutocommitSession(execute, callbacks, reads_only=False)
        self.orm_sessions = async_sessionmaker(
            self.engine.execution_options(isolation_level="READ COMMITTED"),
            expire_on_commit=False,
            # A session that is used after its transaction would begin another one, which nobody
            # commits, and would keep its connection.
            close_resets_only=False,
        )


def _engine_options(settings: Settings, bind: DatabaseConfig) -> dict[str, Any]:
    """Return the options of a connection, and the isolation level of a single statement."""
    pool_size = bind.pool_size(settings.db_pool_size)
    connect_args: dict[str, Any] = {"timeout": settings.db_pool_timeout}
    options: dict[str, Any] = {"connect_args": connect_args, "pool_size": pool_size}
    if settings.db_pgbouncer:
        # A pooler rejects settings in the startup message, so the role has to have the timeouts.
        connect_args |= TRANSACTION_POOLER_OPTIONS
        options["isolation_level"] = "READ COMMITTED"
        options["execution_options"] = {"postgresql_readonly": bind.read_only}
        return options
    statement_timeout = int(settings.db_statement_timeout * 1000)
    # lock_timeout is below statement_timeout so that the error names the lock.
    lock_timeout = max(1, statement_timeout // 2)
    connect_args["server_settings"] = {
        "application_name": NAME,
        "statement_timeout": str(statement_timeout),
        "lock_timeout": str(lock_timeout),
        # The driver converts all times to UTC, but not those in the JSON of an embedded list.
        "timezone": "UTC",
    }
    if bind.read_only:
        connect_args["server_settings"]["default_transaction_read_only"] = "on"
    # Otherwise each statement would be prepared again every five minutes.
    connect_args["max_cached_statement_lifetime"] = 0
    options["isolation_level"] = "AUTOCOMMIT"
    return options


def _quarter(size: int) -> int:
    """Return a quarter of a pool, which may be busy without starving ordinary requests."""
    return max(1, size // 4)


class Database(NamedDatabase):
    """The sessions of the default database, and those of every other database by its name."""

    def __init__(self, settings: Settings) -> None:
        self._callbacks = BackgroundCallbacks()
        super().__init__(settings, NAMED_DATABASES["default"], self._callbacks)
        self._max_streams = _quarter(settings.db_pool_size)
        self._streams = 0
        self.named_databases: dict[str, NamedDatabase] = {"default": self}
        for name, bind in NAMED_DATABASES.items():
            if name != "default":
                self.named_databases[name] = NamedDatabase(settings, bind, self._callbacks)
        for name, sessions in self.named_databases.items():
            time_statements(sessions.engine.sync_engine)
            export_pool_metrics(name, sessions.engine.sync_engine)

    @asynccontextmanager
    async def transaction(self, bind_key: str = "default") -> AsyncIterator[TransactionSession]:
        """Commit when the block ends, and then start its callbacks. Roll back if it raises.

        Raises `FailedTransaction` if the block goes on after a statement has failed outside of a
        savepoint.
        """
        async with self.named_databases[bind_key].orm_sessions() as orm:
            session = TransactionSession(orm)
            try:
                # An OSError of the block may come from a file that it writes.
                with translate_database_errors(DATABASE_ERRORS):
                    yield session
                with translate_database_errors():
                    await orm.commit()
            except (asyncio.CancelledError, GeneratorExit):
                # A server that is stuck would never respond to a ROLLBACK.
                await orm.invalidate()
                raise
            for callback in session.callbacks:
                self._callbacks.start(callback)

    @asynccontextmanager
    async def streaming_transaction(self) -> AsyncIterator[TransactionSession]:
        """Open a transaction that lasts as long as a client reads.

        Raises `Overloaded` while a quarter of the pool is in use by such transactions.
        """
        if self._streams >= self._max_streams:
            raise Overloaded
        self._streams += 1
        try:
            async with self.transaction() as session:
                yield session
        finally:
            self._streams -= 1

    async def wait_for_callbacks(self) -> None:
        """Wait until all `after_commit` callbacks have ended, for a process that ends soon."""
        await self._callbacks.wait()

    async def close(self) -> None:
        """Wait for callbacks and close the pools, both for a limited time."""
        await self._callbacks.close(CALLBACKS_TIMEOUT_SECONDS)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                for sessions in self.named_databases.values():
                    await sessions.engine.dispose()
        except TimeoutError:
            log.warning("the database did not close its connections in time")
