"""Options of connections to Postgres, directly or through a transaction-mode pooler."""

from typing import Any, Final

from app import NAME
from app.core.db._driver_connections import PreparedPoolerConnection, UniquelyNamingConnection
from app.core.db._pooler_check import PoolerCheck
from app.settings import Settings

# Keep prepared statements forever. By default, asyncpg drops them after five minutes.
_STATEMENT_LIFETIME: Final = 0
# Options for a direct connection to Postgres.
_DIRECT_OPTIONS: Final[dict[str, Any]] = {
    "connection_class": UniquelyNamingConnection,
    "max_cached_statement_lifetime": _STATEMENT_LIFETIME,
}
# Options that disable prepared statements, for a transaction-mode pooler that does not keep them.
# The pooler may run the next transaction on another connection, where the statement does not exist.
# A statement with a name would also stay on the first connection forever, because the message that
# closes it may go to another one.
TRANSACTION_POOLER_OPTIONS: Final[dict[str, Any]] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}
# Options for a transaction-mode pooler that keeps prepared statements.
_PREPARED_POOLER_OPTIONS: Final[dict[str, Any]] = {
    "connection_class": PreparedPoolerConnection,
    "max_cached_statement_lifetime": _STATEMENT_LIFETIME,
    # asyncpg gives longer statements no name, so that they would be lost. 0 allows any length.
    "max_cacheable_statement_size": 0,
}
# The Postgres settings of connections that a pooler such as PgBouncer passes on to Postgres.
_SETTINGS_BEHIND_POOLER: Final = {
    "application_name": NAME,
    # Postgres formats the times in JSON, for example of embedded lists, in this time zone. The
    # driver converts only the times in columns to UTC.
    "timezone": "UTC",
}


def commits_single_statements(settings: Settings, *, read_only: bool) -> bool:
    """Return whether a single statement is sent without BEGIN and COMMIT.

    A pooler in transaction mode does not pass the setting on that makes a connection read-only, so
    only BEGIN can do this. Without prepared statements, the driver also needs a transaction,
    because it sends a statement in two steps, and the pooler may send each of them to another
    connection.
    """
    if settings.pooler == "transaction-prepared":
        return not read_only
    return settings.pooler == "none"


def connection_options(settings: Settings, *, read_only: bool) -> dict[str, Any]:
    """Return options of `create_postgres_engine` for connections to Postgres or to a pooler.

    On a direct connection to Postgres, the service sets timeouts when it opens the connection. A
    pooler in transaction mode does not pass them on, so they have to be set for the database role.
    """
    is_autocommit = commits_single_statements(settings, read_only=read_only)
    statement_timeout_ms = int(settings.db_statement_timeout * 1000)
    pooler_check = PoolerCheck(settings.pooler, statement_timeout_ms)
    options: dict[str, Any] = {
        "timeout_seconds": settings.db_pool_timeout,
        "check_connection": pooler_check.check_connection,
        # None: the level that the database or the role has by default. SQLAlchemy refuses to return
        # a connection to the pool if this is the name of another level.
        "isolation_level": "AUTOCOMMIT" if is_autocommit else None,
    }
    if settings.pooler == "none":
        return options | {
            "connect_args": _DIRECT_OPTIONS,
            "postgres_settings": _postgres_settings(statement_timeout_ms),
            "read_only": read_only,
        }
    connect_args = TRANSACTION_POOLER_OPTIONS
    if settings.pooler == "transaction-prepared":
        connect_args = _PREPARED_POOLER_OPTIONS
    return options | {
        "connect_args": connect_args,
        "postgres_settings": _SETTINGS_BEHIND_POOLER,
        "execution_options": {"postgresql_readonly": read_only},
    }


def _postgres_settings(statement_timeout_ms: int) -> dict[str, str]:
    """Return the Postgres settings of a connection, for example `{"statement_timeout": "5000"}`."""
    # The shorter lock_timeout makes Postgres report that a statement was waiting for a lock.
    # Otherwise the error would say only that the statement timed out.
    lock_timeout_ms = max(1, statement_timeout_ms // 2)
    return {
        **_SETTINGS_BEHIND_POOLER,
        "statement_timeout": str(statement_timeout_ms),
        "lock_timeout": str(lock_timeout_ms),
        # Starting workers takes longer than most statements, which are many and short. The planner
        # would use them for searches, because it overestimates how many rows contain a word.
        "max_parallel_workers_per_gather": "0",
    }
