"""Opens connections to the first suitable one of several hosts, as libpq does.

asyncpg also accepts several hosts, but has one timeout for all of them: it would never reach the
second one while the first one is unreachable and drops packets.
"""

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import asyncpg
from asyncpg.exceptions import (
    CannotConnectNowError,
    PostgresConnectionError,
    TargetServerAttributeNotMatched,
)

from app.core.db._server_errors import ConnectingFailed

# Errors after which the next host is tried: the host is unreachable, is starting or shutting down,
# or is a standby where a primary is required. A wrong password is not one of them.
_HOST_ERRORS: Final = (
    CannotConnectNowError,
    OSError,
    PostgresConnectionError,
    TargetServerAttributeNotMatched,
)
# Not a value of libpq: a server that accepts writes if there is one, otherwise a standby.
PREFER_PRIMARY: Final = "prefer-primary"
# The roles that are looked for one after the other, for a value of target_session_attrs that is not
# a role itself.
_ROLES_IN_ORDER: Final[Mapping[str | None, Sequence[str]]] = {
    PREFER_PRIMARY: ("read-write", "any"),
    "prefer-standby": ("standby", "any"),
}
CheckConnection = Callable[[asyncpg.Connection], Awaitable[None]]
_MAKE_READ_ONLY: Final = "SET default_transaction_read_only = on"


class NoSuitableHost(ConnectionError):
    """None of several hosts accepts connections and has the required role."""


@dataclass(frozen=True)
class Host:
    """The address of a server: a name, an IP address or the directory of a socket, and a port.

    None is the default of the driver.
    """

    name: str | None
    port: int | None


@dataclass(frozen=True)
class KeepAlive:
    """When TCP finds out that a server no longer responds. See tcp(7).

    Args:
        is_enabled: Send probes while a connection is idle.
        socket_options: The number and the value of each option of TCP, for example
            `{socket.TCP_KEEPIDLE: 30}`.
    """

    is_enabled: bool
    socket_options: Mapping[int, int]

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> "KeepAlive":
        """Return the options of a URL, for example of `?keepalives_idle=30`."""
        option_names = {
            "keepalives_idle": "TCP_KEEPIDLE",
            "keepalives_interval": "TCP_KEEPINTVL",
            "keepalives_count": "TCP_KEEPCNT",
            "tcp_user_timeout": "TCP_USER_TIMEOUT",
        }
        socket_options = {}
        for parameter_name, option_name in option_names.items():
            value = int(parameters.get(parameter_name, 0))
            # 0 is the default of the operating system. Some systems lack an option.
            option = getattr(socket, option_name, None)
            if value > 0 and option is not None:
                socket_options[option] = value
        return cls(parameters.get("keepalives") != "0", socket_options)

    def apply(self, connection: Any) -> None:
        """Set the options of a connection of asyncpg, unless it uses a Unix socket."""
        # asyncpg has no public access to the socket.
        tcp_socket = connection._transport.get_extra_info("socket")  # noqa: SLF001
        if tcp_socket is None or tcp_socket.family == socket.AF_UNIX:
            return
        tcp_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(self.is_enabled))
        for option, value in self.socket_options.items():
            tcp_socket.setsockopt(socket.IPPROTO_TCP, option, value)


@dataclass(frozen=True)
class Connector:
    """Opens the connections of an engine.

    Args:
        hosts: The hosts, of which the first suitable one is used.
        timeout_seconds: How long opening a connection may take, with all hosts together.
        host_timeout_seconds: How long it may take with one host. 0: not limited.
        target_session_attrs: The required role of the server, for example "read-write", or
            `PREFER_PRIMARY`. None: the default of the driver, which accepts every server.
        shuffle: Try the hosts in random order.
        keep_alive: The options of TCP.
        check_connection: Raises an error if a new connection cannot be used.
        read_only: Make transactions read-only by default.
    """

    hosts: Sequence[Host]
    timeout_seconds: float
    host_timeout_seconds: float
    target_session_attrs: str | None
    shuffle: bool
    keep_alive: KeepAlive
    check_connection: CheckConnection | None
    read_only: bool

    async def connect(self, **options: Any) -> asyncpg.Connection:
        """Open a connection to the first suitable host.

        Raises `ConnectingFailed` whatever the cause is.

        Args:
            options: Further arguments of `asyncpg.connect`. Those for the host are ignored.
        """
        for name in ("host", "port"):
            options.pop(name, None)
        try:
            return await self._open_first_suitable(options)
        except ConnectingFailed:
            raise
        except Exception as error:
            raise ConnectingFailed.from_driver_error(error) from error

    async def _open_first_suitable(self, options: Mapping[str, Any]) -> asyncpg.Connection:
        """Open a connection to the first suitable host.

        Raises the error of the only host. If there are several hosts, raises `NoSuitableHost`, or
        `TargetServerAttributeNotMatched` if none has the required role. The search ends at a host
        that refuses the user, for example, because the others would refuse them too.
        """
        deadline = monotonic() + self.timeout_seconds
        hosts = list(self.hosts)
        if self.shuffle:
            random.shuffle(hosts)
        roles = _ROLES_IN_ORDER.get(self.target_session_attrs, [self.target_session_attrs])
        errors: dict[Host, Exception] = {}
        for role_number, role in enumerate(roles):
            remaining_roles = len(roles) - role_number - 1
            for host_number, host in enumerate(hosts):
                # All attempts share the time that the previous ones did not need. For each further
                # role, one attempt is enough, because only hosts that respond are tried again.
                remaining_attempts = len(hosts) - host_number + remaining_roles
                seconds = (deadline - monotonic()) / remaining_attempts
                try:
                    return await self._open(host, role, seconds, options)
                except _HOST_ERRORS as error:
                    errors[host] = error
            hosts = [host for host in hosts if _has_wrong_role(errors[host])]
        raise _summarize_errors(errors)

    async def _open(
        self, host: Host, role: str | None, seconds: float, options: Mapping[str, Any]
    ) -> asyncpg.Connection:
        """Open a connection to one host within some seconds, and set its options."""
        if self.host_timeout_seconds:
            seconds = min(seconds, self.host_timeout_seconds)
        async with asyncio.timeout(seconds):
            return await self._open_configured(host, role, options)

    async def _open_configured(
        self, host: Host, role: str | None, options: Mapping[str, Any]
    ) -> asyncpg.Connection:
        """Open a connection to one host, and set its options."""
        host_options: dict[str, Any] = {
            "host": host.name,
            "port": host.port,
            "target_session_attrs": role,
        }
        connection: asyncpg.Connection = await asyncpg.connect(**options, **host_options)
        try:
            self.keep_alive.apply(connection)
            if self.check_connection is not None:
                await self.check_connection(connection)
            if self.read_only:
                # Among the settings with which the connection is opened, this one would make the
                # driver take a primary for a server that does not accept writes.
                await connection.execute(_MAKE_READ_ONLY)
        except BaseException:
            connection.terminate()
            raise
        return connection


def _has_wrong_role(error: Exception) -> bool:
    """Return whether a host accepted the connection, but is a standby or a primary."""
    return isinstance(error, TargetServerAttributeNotMatched)


def _summarize_errors(errors: Mapping[Host, Exception]) -> Exception:
    """Return the error of the only host, or an error with a message that names all hosts."""
    if len(errors) == 1:
        [error] = errors.values()
        return error
    message = "; ".join(
        f"{host.name}:{host.port}: {str(error) or type(error).__name__}"
        for host, error in errors.items()
    )
    if all(_has_wrong_role(error) for error in errors.values()):
        return TargetServerAttributeNotMatched(message)
    return NoSuitableHost(message)
