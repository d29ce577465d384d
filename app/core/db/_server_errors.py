"""Errors of a database server that cannot be used: it refuses connections, or it accepts no writes.

The error of the driver is the `__cause__` of each.
"""


class ServerUnusable(Exception):
    """Base class of errors after which the same statement may succeed on another connection."""


class ConnectingFailed(ServerUnusable):
    """No connection to the database server could be opened.

    Args:
        reason: What the server did, for example "rejects the login". Clients may see it.
        message: The message of the driver, for the log.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"it {reason}: {message}")
        self.reason = reason


class ServerIsReadOnly(ServerUnusable):
    """A server to which the service writes accepts only reads, usually after a failover."""
