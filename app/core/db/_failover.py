"""Replaces the connections to a server that has become read-only.

After a failover, the address of the database may lead to the former primary for a while, for
example until DNS changes. That server is a standby then, or it has default_transaction_read_only.
A connection to it stays open and works for reads, so nothing replaces it. Its first failed write
makes all pools replace their connections, each at its next checkout:

    UPDATE authors ...  ->  25006 (read_only_sql_transaction)  ->  503, Retry-After: 1
    the next statement  ->  opens a connection, which leads to the new primary
"""

import asyncio
import math
from time import monotonic
from typing import Final

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from app.core.db._pool import ConnectionPool
from app.core.db._server_errors import ServerIsReadOnly
from app.core.db._sqlstate import find_sqlstate

READ_ONLY_SQLSTATE: Final = "25006"
# A server may be read-only for long. Reads should not have to open connections after every write
# that fails. Clients retry after the same time (Retry-After), on a connection that is newer.
REPLACEMENT_INTERVAL_SECONDS: Final = 1.0


class ConnectionReplacement:
    """Makes the pools of all databases replace their connections, at most once a second."""

    def __init__(self) -> None:
        self._engines: list[Engine] = []
        self._replaced_at = -math.inf
        self._is_scheduled = False

    def add(self, engine: Engine, *, read_only: bool) -> None:
        """Include the pool of a database.

        If the database is not `read_only`, a write that a read-only server refuses raises
        `ServerIsReadOnly`, and has all connections replaced. On a database that the service itself
        makes read-only, such a write is a bug.
        """
        self._engines.append(engine)
        if not read_only:
            event.listen(engine, "handle_error", self._handle_read_only_error)

    def replace_connections(self) -> None:
        """Have all open connections replaced at their next checkout.

        If the last time was less than a second ago, this happens when the second has passed.
        """
        if self._is_scheduled:
            return
        seconds_to_wait = self._replaced_at + REPLACEMENT_INTERVAL_SECONDS - monotonic()
        if seconds_to_wait <= 0:
            self._replace_now()
            return
        self._is_scheduled = True
        asyncio.get_running_loop().call_later(seconds_to_wait, self._replace_now)

    def _replace_now(self) -> None:
        self._is_scheduled = False
        self._replaced_at = monotonic()
        for engine in self._engines:
            replace_connections_of(engine)

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
