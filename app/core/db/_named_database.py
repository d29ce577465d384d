"""The databases of the service: their names and URLs, and a connection pool for each."""

from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from app.core.db._after_commit import CallbackRunner
from app.core.db._connection_options import commits_single_statements, connection_options
from app.core.db._driver_connections import replace_stale_plans
from app.core.db._engine import DATABASE_DEFAULT, create_postgres_engine, prefer_primary
from app.core.db._failed_transactions import forbid_commit_after_failure
from app.core.db._fast_path import FastPath
from app.core.db._pool import ConnectionPool, PoolShares, discard_connections_after_loss
from app.core.db._retries import RetryPolicy
from app.core.db._sessions import (
    AutocommitSession,
    ExecuteStatement,
    OpenTransaction,
    create_sqlalchemy_executor,
)
from app.core.db._write_slots import SlotSession, WriteSlots, limit_to_slots
from app.settings import Settings

# An older connection is replaced when it is checked out. This bounds how long a dead connection can
# stay in the pool without a ping before each use, which would cost every request a round trip.
MAX_CONNECTION_AGE_SECONDS = 1800


@dataclass(frozen=True)
class DatabaseConfig:
    """The configuration of one named database.

    Args:
        url_setting: The name of the setting that contains the URL, for example
            `reporting_database_url`. The default database's URL is used if the setting is empty.
        read_only: Make Postgres refuse writes, even if the role in the URL may write.
        for_readiness_probe: Reserve a single connection for the readiness probe, so that the probe
            works even while all connections of the default database are in use.
    """

    url_setting: str
    read_only: bool = False
    for_readiness_probe: bool = False

    def max_connections(self, max_default_connections: int) -> int:
        """Return how many connections to this database one process may open.

        A read-only database gets a quarter of the connections of the default database, because
        reports are rarer than other requests.

        Args:
            max_default_connections: The maximum number of connections to the default database.
        """
        if self.for_readiness_probe:
            return 1
        if self.read_only:
            return max(1, max_default_connections // 4)
        return max_default_connections


# The configurations of all databases by name. To add a database, add a setting with its URL and
# an entry here. `read_session_dependency` in core/http creates the dependency for endpoints.
DATABASE_CONFIGS: Final = {
    "default": DatabaseConfig("database_url"),
    "reporting": DatabaseConfig("reporting_database_url", read_only=True),
    # Not read-only, because it has to notice that the server accepts no writes.
    "readiness": DatabaseConfig("database_url", for_readiness_probe=True),
}


class NamedDatabase:
    """One database of the service: its connection pool and the sessions that use it.

    `reads` and `writes` commit each statement immediately. After a lost connection, `reads` repeats
    the statement, but `writes` raises an error, because the database may have committed the change.
    `locking_reads` is `reads` for queries that lock rows, so that their COMMIT may wait. They get a
    slot of the writes.
    `optional_writes` is `writes` for changes that may be skipped: it raises `Overloaded` instead of
    waiting while other writes occupy their share of the pool. `create_orm_session` creates a
    SQLAlchemy session for a transaction of several statements, which is limited if it gets one of
    the `write_slots`. `may_be_copy` tells whether a server that is not a standby may have old data.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        config: DatabaseConfig,
        open_transaction: OpenTransaction,
        callback_runner: CallbackRunner,
        *,
        reserve_reads: bool,
    ) -> None:
        """Create the connection pool, which opens each connection when it is first needed.

        Args:
            name: The name of this database, which metrics have as a label.
            settings: The settings of the service, which include the URL and the timeouts.
            config: The configuration of this database.
            open_transaction: Begins a transaction of this database.
            callback_runner: Runs the callbacks that are passed to `after_commit` of a session.
            reserve_reads: Limit the connections that writes may occupy.
        """
        self.read_only = config.read_only
        self.may_be_copy = _names_another_database(settings, config)
        self.engine = _create_engine(name, settings, config)
        execute_statement = _create_executor(settings, config, self.engine.sync_engine)
        self.write_slots = _create_write_slots(name, settings, config, reserve_reads=reserve_reads)
        execute_write = limit_to_slots(execute_statement, self.write_slots)
        execute_optional_write = limit_to_slots(execute_statement, self.write_slots, may_wait=False)
        create_session = partial(
            AutocommitSession,
            open_transaction=open_transaction,
            callback_runner=callback_runner,
            retry_policy=RetryPolicy.from_settings(settings),
            database_is_read_only=config.read_only,
        )
        self.reads = create_session(execute_statement, reads_only=True)
        self.locking_reads = create_session(execute_write, reads_only=True)
        self.writes = create_session(execute_write, reads_only=False)
        self.optional_writes = create_session(execute_optional_write, reads_only=False)
        self.create_orm_session = _create_sessionmaker(self.engine)


def _create_executor(
    settings: Settings, config: DatabaseConfig, engine: Engine
) -> ExecuteStatement:
    """Return the function that executes single statements."""
    execute_statement = create_sqlalchemy_executor(engine)
    # The fast path sends a statement without BEGIN.
    is_autocommit = commits_single_statements(settings, read_only=config.read_only)
    if settings.db_fast_path and is_autocommit:
        return FastPath(engine, fallback=execute_statement).execute
    return execute_statement


def _names_another_database(settings: Settings, config: DatabaseConfig) -> bool:
    """Return whether a database has other servers or another name than the default database.

    It is the same database if only the role or an option differs.
    """
    url = settings.sqlalchemy_url_of(config.url_setting)
    default_url = settings.sqlalchemy_url
    return _database_address(url) != _database_address(default_url)


def _database_address(url: URL) -> tuple[object, ...]:
    """Return the parts of a URL that decide which server and which database are used."""
    parameters = [url.query.get(name) for name in ("host", "port", "target_session_attrs")]
    return url.host, url.port, url.database, *parameters


def _create_sessionmaker(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Return a function that creates a SQLAlchemy session for one transaction."""
    return async_sessionmaker(
        # Begin a transaction, although the engine commits single statements immediately.
        engine.execution_options(isolation_level=DATABASE_DEFAULT),
        sync_session_class=SlotSession,
        expire_on_commit=False,
        # Raise an error if a session is used after its transaction. Otherwise it would begin
        # another transaction, which would never be committed.
        close_resets_only=False,
    )


def _create_write_slots(
    name: str, settings: Settings, config: DatabaseConfig, *, reserve_reads: bool
) -> WriteSlots:
    """Create the slots for writes: one for each connection that writes may occupy."""
    pool_size = config.max_connections(settings.db_pool_size)
    number_of_slots = pool_size
    if reserve_reads and not config.read_only:
        number_of_slots = PoolShares.divide(pool_size).writes
    return WriteSlots(pool_size, number_of_slots, settings.db_pool_timeout, name)


def _create_engine(name: str, settings: Settings, config: DatabaseConfig) -> AsyncEngine:
    """Create the SQLAlchemy engine of a database, with the connection pool of this service."""
    url = settings.sqlalchemy_url_of(config.url_setting)
    if not config.read_only:
        url = prefer_primary(url)
    engine = create_postgres_engine(
        url,
        **connection_options(settings, read_only=config.read_only),
        poolclass=ConnectionPool,
        pool_logging_name=name,
        pool_size=config.max_connections(settings.db_pool_size),
        # Never open more connections than `pool_size`.
        max_overflow=0,
        pool_timeout=settings.db_pool_timeout,
        pool_recycle=MAX_CONNECTION_AGE_SECONDS,
        # Reuse the connection that was returned last, whose server process is the warmest one.
        pool_use_lifo=True,
        # In autocommit mode, a connection has nothing to roll back when it is returned.
        skip_autocommit_rollback=True,
        # Parameters may be passwords, and error messages are logged.
        hide_parameters=True,
    )
    discard_connections_after_loss(engine.sync_engine)
    replace_stale_plans(engine.sync_engine)
    forbid_commit_after_failure(engine.sync_engine)
    return engine
