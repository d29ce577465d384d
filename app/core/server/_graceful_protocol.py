"""Closes an HTTP connection at shutdown, after the response to a request that is on its way."""

import select
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.core.server._forwarded_headers import UntrustedProxyWarning
from app.core.server._protocol import HttpProtocol

# The time that a client has during a shutdown to send a request on an idle connection. It is enough
# for a segment that is lost and sent again.
REQUEST_WAIT_SECONDS: Final = 0.5


class GracefulProtocol(HttpProtocol):
    """One HTTP connection, which is closed at shutdown after at most one more request.

    uvicorn would close a connection immediately if it is not responding to a request. A client that
    has just connected, and whose request is on its way, would then see a reset.
    """

    def __init__(
        self, *args: Any, proxy_warning: UntrustedProxyWarning | None = None, **options: Any
    ) -> None:
        """Create the state of a new connection.

        Args:
            args: The arguments of the base class, like `options`.
            proxy_warning: Checks the first request of the connection, if it is not None.
            options: The keyword arguments of the base class.
        """
        super().__init__(*args, **options)
        self._is_shutting_down = False
        self._proxy_warning = proxy_warning

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        # It is None if the first request has an Upgrade header, whose head is then read again.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None:
            return
        if self._is_shutting_down:
            cycle.keep_alive = False
        if self._proxy_warning is not None:
            self._check_peer(self._proxy_warning, cycle)

    def _check_peer(self, warning: UntrustedProxyWarning, cycle: RequestResponseCycle) -> None:
        """Warn if the client of this connection is a proxy that is not trusted.

        Only the first request is checked, so that later requests take no longer.
        """
        self._proxy_warning = None
        # A client that is connected by a Unix socket has no address.
        if self.client is not None:
            warning.check(self.client[0], (name for name, _ in cycle.scope["headers"]))

    def shutdown(self) -> None:
        """Close the connection after the responses in progress, or soon if there are none.

        A request that arrives in the meantime gets its response first. A connection that is being
        drained is closed soon. The server calls this method when it shuts down.
        """
        self._is_shutting_down = True
        if self._is_responding():
            # The connection is closed after the response.
            super().shutdown()
        elif self._drain is not None:
            self._drain.end_soon()
        else:
            self._unset_keepalive_if_required()
            self.loop.call_later(REQUEST_WAIT_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        """Close the connection, unless it has received a request or has unread bytes."""
        if self.transport.is_closing() or self._drain is not None or self._is_responding():
            return
        if self._has_unread_bytes():
            # The event loop was busy. It will read the bytes before the next check.
            self.loop.call_later(REQUEST_WAIT_SECONDS, self._close_if_idle)
        else:
            self._stop_head_timer()
            self._time_out_head()

    def _has_unread_bytes(self) -> bool:
        """Return whether the client has sent bytes, or its end, that the event loop has not read.

        If a socket with unread bytes is closed, the operating system resets the connection.
        """
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))
