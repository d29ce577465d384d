"""Connections of the driver whose prepared statements are safe behind a connection pooler.

They rely on one private method of asyncpg, `Connection._get_unique_id`, which
`tests/core/test_poolers.py` verifies. All other methods that they override are public.
"""

from secrets import token_hex
from typing import Any, ClassVar

import asyncpg
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext


class UniquelyNamingConnection(asyncpg.Connection):
    """Connection whose prepared statements have names that no other connection uses.

    By default, asyncpg counts: the fifth statement of every process is `__asyncpg_stmt_5__`. If a
    transaction-mode pooler is used without DB_POOLER, processes share the connections to Postgres,
    and one could execute a statement that another one has prepared. With unique names, Postgres
    reports that the statement does not exist.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._unique_suffix = token_hex(8)

    def _get_unique_id(self, prefix: str) -> str:
        """Return a name such as `__asyncpg_stmt_5__0f3a5c7e9b1d2486`."""
        name = super()._get_unique_id(prefix)  # type: ignore[misc]
        return f"{name}{self._unique_suffix}"


class PreparedPoolerConnection(UniquelyNamingConnection):
    """Connection to a transaction-mode pooler that keeps prepared statements.

    PgBouncer prepares a text once for all of its clients, so preparing a statement again does not
    replace a plan that a migration has made stale. A comment makes the text a new one. See
    `replace_stale_plans`.
    """

    # Is added to every statement that is prepared, for example " /* 0f3a5c7e */". All connections
    # of a process share it.
    text_suffix: ClassVar[str] = ""

    def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        """Return the rows of a statement. Prepare it if the connection has not done so."""
        return super().fetch(query + self.text_suffix, *args, **options)

    def prepare(self, query: str, **options: Any) -> Any:
        """Prepare a statement."""
        return super().prepare(query + self.text_suffix, **options)

    def executemany(self, command: str, args: Any, **options: Any) -> Any:
        """Execute a statement once for each tuple of arguments."""
        return super().executemany(command + self.text_suffix, args, **options)


def replace_stale_plans(engine: Engine) -> None:
    """Make later statements new to the pooler as soon as the plan of one is stale.

    Postgres refuses to execute a prepared statement after a migration has changed the types of its
    columns. Such a statement is executed again, because it had no effect.
    """
    event.listen(engine, "handle_error", _renew_text_suffix)


def _renew_text_suffix(error_context: ExceptionContext) -> None:
    """Change the text of all statements if the error is that of a stale plan."""
    driver_error = error_context.original_exception
    # SQLAlchemy's error has that of the driver as its cause.
    errors = (driver_error, driver_error.__cause__)
    if any(isinstance(error, asyncpg.InvalidCachedStatementError) for error in errors):
        # A counter would not do. Another process may have used the same number earlier, for a
        # statement that is stale by now.
        PreparedPoolerConnection.text_suffix = f" /* {token_hex(4)} */"
