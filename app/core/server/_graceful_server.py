"""uvicorn's server, with a shutdown that resets no connection and ends in time."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from threading import Timer
from typing import Any, Final

import uvicorn

from app.core.server._listening_socket import accept_queued_connections, refuse_new_handshakes

# The longest time that the requests in progress may take, once the port is closed.
GRACE_PERIOD_SECONDS: Final = 5
# The time that clients have to complete handshakes that they began before the port was closed.
HANDSHAKE_SECONDS: Final = 0.05
# The longest time that a server needs until its process exits. `SHUTDOWN_DELAY_SECONDS` comes
# before it, so that a shutdown takes less than ten seconds in total.
EXIT_TIMEOUT_SECONDS: Final = 7.2
log = logging.getLogger(__name__)


class GracefulServer(uvicorn.Server):
    """A server that responds to all requests that were sent before it closed its port."""

    def __init__(self, application: Any, is_last_user: Callable[[], bool], **options: Any) -> None:
        """Create a server. `run` runs it until the process receives SIGTERM or SIGINT.

        Args:
            application: The ASGI application.
            is_last_user: Returns whether the listening socket is to be closed in all processes. If
                one of several processes stops, the others continue to accept connections.
            options: Arguments of `uvicorn.Config`.
        """
        config = uvicorn.Config(
            application, timeout_graceful_shutdown=GRACE_PERIOD_SECONDS, **options
        )
        super().__init__(config)
        self._is_last_user = is_last_user
        self._exit_timer = Timer(EXIT_TIMEOUT_SECONDS, _exit_late_process)
        self._exit_timer.daemon = True

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Run the server in a new event loop until it has shut down."""
        try:
            super().run(sockets)
        finally:
            self._exit_timer.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, wait for the requests in progress, and then cancel those that are left.

        Connections that wait in the queue of the port are accepted first. `GracefulProtocol` then
        gives each connection without a request a short time to send one.
        """
        self._exit_timer.start()
        listeners = sockets or []
        queued_connections: list[socket.socket] = []
        if self._is_last_user():
            for listener in listeners:
                refuse_new_handshakes(listener)
            # The server still accepts connections during this time.
            await asyncio.sleep(HANDSHAKE_SECONDS)
            for listener in listeners:
                queued_connections += accept_queued_connections(listener)
        # Close the port before the next `await`, because during it a client could connect.
        for server in self.servers:
            server.close()
        for listener in listeners:
            listener.close()

        for connection in queued_connections:
            await self._serve_connection(connection)
        # The event loop passes a connection to its protocol in a later iteration.
        await asyncio.sleep(0)
        await super().shutdown(sockets)

    async def _serve_connection(self, connection: socket.socket) -> None:
        """Handle the requests of a connection that this class has accepted."""

        def create_protocol() -> asyncio.Protocol:
            return self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )

        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(create_protocol, connection)
        except OSError:
            # The client has disconnected in the meantime.
            connection.close()


def _exit_late_process() -> None:
    """Exit the process immediately, because its shutdown takes too long."""
    log.error("the shutdown did not end in time, so the process exits now")
    exit_immediately()


def exit_immediately() -> None:
    """Exit the process with code 0, without waiting for its threads."""
    # os._exit skips the cleanup of a normal exit, so flush the log here.
    logging.shutdown()
    os._exit(0)
