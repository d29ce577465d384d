"""Options of connections to Postgres, directly or through a transaction-mode pooler."""

from typing import Any, Final

from app import NAME
from app.settings import Settings

# Options that disable prepared statements, for a transaction-mode pooler such as PgBouncer. The
# pooler may run the next transaction on another connection, where the statement does not exist. A
# statement with a name would also stay on the first connection forever, because the message that
# closes it may go to another one.
TRANSACTION_POOLER_OPTIONS: Final[dict[str, Any]] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}


def connection_options(settings: Settings, *, read_only: bool) -> dict[str, Any]:
    """Return options of `create_postgres_engine` for connections to Postgres or to PgBouncer.

    On a direct connection to Postgres, the service sets timeouts when it opens the connection, and
    executes single statements in autocommit mode.

    PgBouncer in transaction mode does not accept settings for a connection, so the timeouts have to
    be set for the database role. Every statement is sent between BEGIN and COMMIT, because only
    BEGIN can make it read-only.
    """
    if settings.db_pgbouncer:
        return {
            "timeout_seconds": settings.db_pool_timeout,
            "connect_args": TRANSACTION_POOLER_OPTIONS,
            "isolation_level": "READ COMMITTED",
            "execution_options": {"postgresql_readonly": read_only},
        }
    return {
        "timeout_seconds": settings.db_pool_timeout,
        "postgres_settings": _postgres_settings(settings),
        "read_only": read_only,
        # Keep prepared statements forever. By default, asyncpg drops them after five minutes.
        "connect_args": {"max_cached_statement_lifetime": 0},
        "isolation_level": "AUTOCOMMIT",
    }


def _postgres_settings(settings: Settings) -> dict[str, str]:
    """Return the Postgres settings of a connection, for example `{"statement_timeout": "5000"}`.

    `settings` are those of the service.
    """
    statement_timeout_ms = int(settings.db_statement_timeout * 1000)
    # The shorter lock_timeout makes Postgres report that a statement was waiting for a lock.
    # Otherwise the error would say only that the statement timed out.
    lock_timeout_ms = max(1, statement_timeout_ms // 2)
    return {
        "application_name": NAME,
        "statement_timeout": str(statement_timeout_ms),
        "lock_timeout": str(lock_timeout_ms),
        # Postgres formats the times in JSON, for example of embedded lists, in this time zone. The
        # driver converts only the times in columns to UTC.
        "timezone": "UTC",
    }
