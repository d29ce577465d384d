"""Replaces the connections to a server that has become read-only, or that is not the primary.

After a failover, the address of the database may lead to the former primary for a while, for
example until DNS changes. That server is a standby then, or it has default_transaction_read_only.
A connection to it stays open and works for reads, so nothing replaces it. Its first failed write
makes all pools replace their connections, each at its next checkout:

    UPDATE authors ...  ->  25006 (read_only_sql_transaction)  ->  503, Retry-After: 1
    the next statement  ->  opens a connection, which leads to the new primary

While no primary exists, new connections may be read-only as well. They serve reads, so they
are replaced less often. The first new connection that accepts writes has all others replaced.
"""

import asyncio
import math
from time import monotonic
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from app.core.db._pool import ConnectionPool
from app.core.db._server_errors import ServerIsReadOnly
from app.core.db._sqlstate import find_sqlstate

READ_ONLY_SQLSTATE: Final = "25006"
# Reads should not have to open connections after every write that fails. Clients retry after the
# same time (Retry-After), on a connection that is newer.
REPLACEMENT_INTERVAL_SECONDS: Final = 1.0
# The same while new connections are read-only as well. Opening them would only delay reads and
# burden the standby. Usually, a readiness check finds the new primary before this time has passed.
READ_ONLY_REPLACEMENT_INTERVAL_SECONDS: Final = 5.0


class ConnectionReplacement:
    """Makes the pools of all databases replace their connections, at most once a second."""

    def __init__(self) -> None:
        self._engines: list[Engine] = []
        self._replaced_at = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        # True if the newest connection is read-only, and None before the first one.
        self._is_read_only: bool | None = None

    def add(self, engine: Engine, *, read_only: bool) -> None:
        """Include the pool of a database.

        If the database is not `read_only`, a write that a read-only server refuses raises
        `ServerIsReadOnly`, and has all connections replaced. On a database that the service itself
        makes read-only, such a write is a bug.
        """
        self._engines.append(engine)
        if not read_only:
            event.listen(engine, "connect", self._compare_with_previous_connection)
            event.listen(engine, "handle_error", self._handle_read_only_error)

    def replace_connections(self) -> None:
        """Have all open connections replaced at their next checkout.

        If the last time was less than the interval ago, this happens when the interval has passed.
        """
        if self._timer is not None:
            self._timer.cancel()
        interval = REPLACEMENT_INTERVAL_SECONDS
        if self._is_read_only:
            interval = READ_ONLY_REPLACEMENT_INTERVAL_SECONDS
        seconds_to_wait = self._replaced_at + interval - monotonic()
        if seconds_to_wait <= 0:
            self._replace_now()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds_to_wait, self._replace_now)

    def _replace_now(self) -> None:
        self._timer = None
        self._replaced_at = monotonic()
        for engine in self._engines:
            replace_connections_of(engine)

    def _compare_with_previous_connection(self, connection: Any, _record: object) -> None:
        """Have older connections replaced if a new one shows that a primary exists, or none."""
        was_read_only = self._is_read_only
        self._is_read_only = _is_read_only(connection)
        if was_read_only is not None and was_read_only != self._is_read_only:
            self.replace_connections()

    def _handle_read_only_error(self, error_context: ExceptionContext) -> ServerIsReadOnly | None:
        """Return the error that SQLAlchemy raises instead, or None to raise the original one."""
        error = error_context.original_exception
        if find_sqlstate(error) != READ_ONLY_SQLSTATE:
            return None
        self.replace_connections()
        return ServerIsReadOnly(str(error))


def replace_connections_of(engine: Engine) -> None:
    """Have the connections of one pool replaced at their next checkout."""
    pool = engine.pool
    assert isinstance(pool, ConnectionPool)  # noqa: S101 - all engines have it
    pool.invalidate_open_connections()


def _is_read_only(connection: Any) -> bool:
    """Return whether the server of a new connection accepts only reads.

    Postgres reports both settings when a connection is opened. A pooler may not pass them on, and
    a new connection to the pooler does not show to which server it leads.
    """
    settings = connection.driver_connection.get_settings()
    names = ("in_hot_standby", "default_transaction_read_only")
    return any(getattr(settings, name, "off") == "on" for name in names)
