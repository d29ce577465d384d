"""The databases of the service: their names and URLs, and a connection pool for each."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from app import NAME
from app.core.db._after_commit import BackgroundCallbacks
from app.core.db._failed_transactions import forbid_commit_after_failure
from app.core.db._fast_path import FastPath
from app.core.db._pool import ConnectionPool, discard_connections_after_loss
from app.core.db._sessions import AutocommitSession, create_sqlalchemy_executor
from app.settings import Settings

# An older connection is replaced when it is checked out. This bounds how long a dead connection can
# stay in the pool without a ping before each use, which would cost every request a round trip.
MAX_CONNECTION_AGE_SECONDS = 1800
# Options that disable prepared statements, for a transaction-mode pooler such as PgBouncer. The
# pooler may run the next transaction on another connection, where the statement does not exist. A
# statement with a name would also stay on the first connection forever, because the message that
# closes it may go to another one.
TRANSACTION_POOLER_OPTIONS: Final[dict[str, Any]] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}


@dataclass(frozen=True)
class DatabaseConfig:
    """The configuration of one named database.

    Args:
        url_setting: The setting with the URL, for example `reporting_database_url`. If it has no
            value, the URL of the default database is used.
        read_only: Make Postgres refuse writes, even if the role in the URL may write.
        for_readiness_probe: Open one connection only, which only the readiness probe uses. It is
            available even while all connections of the default pool are in use.
    """

    url_setting: str
    read_only: bool = False
    for_readiness_probe: bool = False

    def pool_size(self, default_pool_size: int) -> int:
        """Return the maximum number of connections to this database in one process.

        `default_pool_size` is that number for the default database.
        """
        if self.for_readiness_probe:
            return 1
        if self.read_only:
            # Reports are rarer than other requests.
            return max(1, default_pool_size // 4)
        return default_pool_size


# The configurations of all databases by bind key. To add a database, add a setting with its URL and
# an entry here. `read_session_dependency` in core/http creates the dependency for endpoints.
DATABASE_CONFIGS: Final = {
    "default": DatabaseConfig("database_url"),
    "reporting": DatabaseConfig("reporting_database_url", read_only=True),
    "readiness": DatabaseConfig("database_url", read_only=True, for_readiness_probe=True),
}


class NamedDatabase:
    """The connection pool of one database, and the sessions that execute statements on it.

    `reads` and `writes` commit every statement by itself. `reads` repeats a statement after a lost
    connection; `writes` does not, because it cannot know whether the statement was committed.
    `create_orm_session` creates SQLAlchemy's session for a transaction of several statements.
    """

    def __init__(
        self, settings: Settings, config: DatabaseConfig, callbacks: BackgroundCallbacks
    ) -> None:
        """Create the pool. It opens connections when they are first needed.

        Args:
            settings: The settings of the service, which include the URL and the timeouts.
            config: The configuration of this database.
            callbacks: Runs the `after_commit` callbacks of all databases.
        """
        self.engine = create_async_engine(
            settings.sqlalchemy_url_of(config.url_setting),
            **_engine_options(settings, config),
            poolclass=ConnectionPool,
            pool_size=config.pool_size(settings.db_pool_size),
            max_overflow=0,
            pool_timeout=settings.db_pool_timeout,
            pool_recycle=MAX_CONNECTION_AGE_SECONDS,
            # A statement that commits by itself leaves nothing to roll back.
            skip_autocommit_rollback=True,
            # Parameters may be passwords, and error messages are logged.
            hide_parameters=True,
        )
        engine = self.engine.sync_engine
        discard_connections_after_loss(engine)
        forbid_commit_after_failure(engine)
        execute = create_sqlalchemy_executor(engine)
        # The fast path uses prepared statements, which a transaction-mode pooler does not support.
        if settings.db_fast_path and not settings.db_pgbouncer:
            execute = FastPath(engine, fallback=execute).execute
        self.reads = AutocommitSession(execute, callbacks, reads_only=True)
        self.writes = AutocommitSession(execute, callbacks, reads_only=False)
        self.create_orm_session = async_sessionmaker(
            self.engine.execution_options(isolation_level="READ COMMITTED"),
            expire_on_commit=False,
            # Make a session that is used after its transaction raise an error. Otherwise it would
            # begin another transaction, which nobody commits, and keep its connection.
            close_resets_only=False,
        )


def _engine_options(settings: Settings, config: DatabaseConfig) -> dict[str, Any]:
    """Return the options of `create_async_engine` that depend on whether there is a pooler.

    Without a pooler, each connection gets its timeouts when it is opened, and a single statement
    runs in autocommit mode. A transaction-mode pooler rejects settings of a connection. Behind one,
    the database role has to define the timeouts, and every statement is sent between BEGIN and
    COMMIT, because BEGIN is the only way to make it read-only.
    """
    connect_timeout = settings.db_pool_timeout
    if settings.db_pgbouncer:
        return {
            "connect_args": {"timeout": connect_timeout, **TRANSACTION_POOLER_OPTIONS},
            "isolation_level": "READ COMMITTED",
            "execution_options": {"postgresql_readonly": config.read_only},
        }
    connect_args = {
        "timeout": connect_timeout,
        "server_settings": _server_settings(settings, config),
        # The default of asyncpg is to prepare each statement again after five minutes.
        "max_cached_statement_lifetime": 0,
    }
    return {"connect_args": connect_args, "isolation_level": "AUTOCOMMIT"}


def _server_settings(settings: Settings, config: DatabaseConfig) -> dict[str, str]:
    """Return the Postgres settings of a connection, for example `{"statement_timeout": "5000"}`."""
    statement_timeout = int(settings.db_statement_timeout * 1000)  # milliseconds
    # lock_timeout is below statement_timeout so that the error names the lock.
    lock_timeout = max(1, statement_timeout // 2)  # milliseconds
    server_settings = {
        "application_name": NAME,
        "statement_timeout": str(statement_timeout),
        "lock_timeout": str(lock_timeout),
        # The driver converts the times of columns to UTC, but not those in the JSON of an embedded
        # list, which Postgres formats in this time zone.
        "timezone": "UTC",
    }
    if config.read_only:
        server_settings["default_transaction_read_only"] = "on"
    return server_settings
