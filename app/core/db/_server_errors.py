"""Errors of a database server that cannot be used: it refuses connections, or it accepts no writes.

Whatever fails while connecting is neither an error of the client nor a bug in a statement, although
Postgres and the driver report it by the same SQLSTATEs and exceptions. For example, 55000 means
that the database accepts no connections, and asyncpg's error for a missing CA file is a ValueError,
as is its error for a value that it cannot encode.
"""

import re
import socket
import ssl
from typing import Final, Self

import asyncpg

POOLER_ADVICE: Final = (
    "set DB_POOLER to transaction-prepared (PgBouncer 1.21 or newer in transaction mode, with "
    "max_prepared_statements > 0) or to transaction (all other poolers)"
)
# PgBouncer does not translate its messages.
_UNSUPPORTED_PARAMETER: Final = "unsupported startup parameter"
_REJECTS_SETTINGS: Final = (
    f"rejects the settings of connections. If it is a connection pooler, {POOLER_ADVICE}"
)
_DOES_NOT_RESPOND: Final = "does not respond"
_REFUSES_CONNECTIONS: Final = "does not accept connections"
# Regular expressions for SQLSTATEs of a rejected connection, and what they mean.
_REASONS_BY_SQLSTATE: Final = (
    ("28...", "rejects the login"),  # wrong password, no such role, pg_hba.conf
    ("42501", "rejects the login"),  # the role has no CONNECT privilege
    ("3D000", "does not exist"),
    ("53300", "has too many connections"),
    ("57P0[123]", "is starting up or shutting down"),
    # PgBouncer reports most of its errors as 08P01.
    ("08003|08006|08P01|55000", _REFUSES_CONNECTIONS),
)
# Exceptions that the driver raises without an SQLSTATE. The first match counts, so a class precedes
# its base classes.
_REASONS_BY_EXCEPTION: Final[tuple[tuple[type[Exception], str], ...]] = (
    (asyncpg.TargetServerAttributeNotMatched, "has no host that matches target_session_attrs"),
    (asyncpg.ClientConfigurationError, "has a URL that cannot be used"),
    (ssl.SSLError, "fails to set up TLS"),
    (socket.gaierror, "has a host name that cannot be resolved"),
    (UnicodeError, "has a host name that cannot be resolved"),
    (TimeoutError, _DOES_NOT_RESPOND),
    # The driver also raises a ConnectionError if the server refuses to use TLS.
    (OSError, _REFUSES_CONNECTIONS),
)


class ServerUnusable(Exception):
    """Base class of errors after which the same statement may succeed on another connection.

    The `__cause__` is the error of the driver.
    """


class ServerIsReadOnly(ServerUnusable):
    """A server to which the service writes accepts only reads, usually after a failover."""


class ConnectingFailed(ServerUnusable):
    """No connection to the database server could be opened, or a new one cannot be used.

    Args:
        reason: What the server did, for example "rejects the login". Clients may see it.
        message: The message of the driver, for the log.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"it {reason}: {message}")
        self.reason = reason

    @classmethod
    def from_driver_error(cls, error: Exception) -> Self:
        """Return the error to raise in place of one that the driver has raised."""
        # A TimeoutError, for example, has no text.
        return cls(_find_reason(error), str(error) or repr(error))


def _find_reason(error: Exception) -> str:
    """Return what a server did instead of accepting a connection, for example "does not exist".

    The result contains nothing of the error's message, which may name hosts and users.
    """
    if _UNSUPPORTED_PARAMETER in str(error):
        return _REJECTS_SETTINGS
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate:
        for pattern, reason in _REASONS_BY_SQLSTATE:
            if re.fullmatch(pattern, sqlstate):
                return reason
        return f"rejects connections with SQLSTATE {sqlstate}"
    for exception_class, reason in _REASONS_BY_EXCEPTION:
        if isinstance(error, exception_class):
            return reason
    return "cannot be connected to"
