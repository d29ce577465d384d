"""Checks whether DB_POOLER describes the pooler to which a new connection leads.

A transaction-mode pooler executes each transaction on another connection to Postgres. Without the
right setting, some statements would fail, and only while several connections are in use.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta
from secrets import token_hex
from typing import Any, Final

from asyncpg import InvalidSQLStatementNameError

from app.core.db._server_errors import POOLER_ADVICE, ConnectingFailed
from app.settings import Pooler

# Reasons why a connection cannot be used. They continue a sentence about the database.
_IGNORES_SETTINGS: Final = (
    f"is a connection pooler that ignores the settings of connections: {POOLER_ADVICE}"
)
_SHARES_CONNECTIONS: Final = (
    f"is a connection pooler that shares connections between clients: {POOLER_ADVICE}"
)
_KEEPS_NO_STATEMENTS: Final = (
    "is a connection pooler that does not keep prepared statements, although DB_POOLER is "
    "transaction-prepared: use PgBouncer 1.21 or newer in transaction mode, with "
    "max_prepared_statements > 0, or set DB_POOLER to transaction"
)
# Warnings about a connection that can be used.
_UNEXPECTED_POOLER: Final = (
    "a connection pooler or proxy is between the service and Postgres. If it is in transaction "
    f"mode, {POOLER_ADVICE}"
)
_MISSING_TIMEOUT: Final = (
    "the database role has no statement_timeout, and the service cannot set it behind a pooler: "
    "use ALTER ROLE ... SET statement_timeout and lock_timeout, as deploy/roles.sql does"
)
log = logging.getLogger(__name__)
# The parameter is the name of this prepared statement.
_SELECT_STATE: Final = """
SELECT pg_backend_pid() AS server_pid,
    EXISTS (SELECT FROM pg_prepared_statements WHERE name = $1) AS has_original_name,
    current_setting('statement_timeout')::interval AS statement_timeout
"""


@dataclass(frozen=True)
class ConnectionState:
    """The properties of a new connection that depend on a pooler.

    Args:
        has_pooler: The process of Postgres is not the one to which the service has connected.
        has_original_name: A prepared statement has the name that the service has chosen. A
            transaction-mode pooler that keeps prepared statements renames them.
        statement_timeout: The timeout that Postgres applies.
    """

    has_pooler: bool
    has_original_name: bool
    statement_timeout: timedelta


class PoolerCheck:
    """Checks each new connection of an engine."""

    def __init__(self, pooler: Pooler, statement_timeout_ms: int) -> None:
        """Create the check.

        Args:
            pooler: The pooler that DB_POOLER names.
            statement_timeout_ms: The timeout that the service sets on direct connections.
        """
        self._pooler = pooler
        self._statement_timeout = timedelta(milliseconds=statement_timeout_ms)
        self._logged_messages: set[str] = set()

    async def check_connection(self, connection: Any) -> None:
        """Raise `ConnectingFailed` if a new connection of the driver cannot be used."""
        try:
            state = await self._read_state(connection)
        except InvalidSQLStatementNameError as error:
            # The pooler has prepared and executed the statement on different connections.
            reason = _SHARES_CONNECTIONS if self._pooler == "none" else _KEEPS_NO_STATEMENTS
            raise ConnectingFailed(reason, str(error)) from error

        if self._pooler == "none":
            self._check_direct_connection(state)
            return
        if self._pooler == "transaction-prepared" and state.has_pooler and state.has_original_name:
            raise ConnectingFailed(_KEEPS_NO_STATEMENTS, "it has not renamed a statement")
        if not state.statement_timeout:
            self._log_once(_MISSING_TIMEOUT)

    async def _read_state(self, connection: Any) -> ConnectionState:
        """Return the state of a connection."""
        # The unnamed statement is sent again with its parameters, so it cannot be lost.
        name = "" if self._pooler == "transaction" else f"check_{token_hex(8)}"
        statement = await connection.prepare(_SELECT_STATE, name=name)
        row = await statement.fetchrow(name)
        return ConnectionState(
            has_pooler=row["server_pid"] != connection.get_server_pid(),
            has_original_name=row["has_original_name"],
            statement_timeout=row["statement_timeout"],
        )

    def _check_direct_connection(self, state: ConnectionState) -> None:
        """Raise `ConnectingFailed` if a connection certainly leads to a pooler."""
        if state.statement_timeout != self._statement_timeout:
            message = f"statement_timeout is {state.statement_timeout}"
            raise ConnectingFailed(_IGNORES_SETTINGS, message)
        if not state.has_original_name:
            raise ConnectingFailed(_SHARES_CONNECTIONS, "it has renamed a statement")
        if state.has_pooler:
            self._log_once(_UNEXPECTED_POOLER)

    def _log_once(self, message: str) -> None:
        """Log a warning, but not again for every further connection."""
        if message not in self._logged_messages:
            self._logged_messages.add(message)
            log.warning(message)
