"""The shutdown of an HTTP connection, which responds to a request that has just been sent."""

import select
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.core.server._protocol import HttpProtocol

# The time that a connection without a request has during a shutdown to send one. It covers a
# segment that is lost and sent again.
REQUEST_WAIT_SECONDS: Final = 0.5


class GracefulProtocol(HttpProtocol):
    """One HTTP connection. When the server shuts down, it is closed after at most one more request.

    uvicorn would close a connection immediately if it is not responding to a request. A client that
    has just connected, and whose request is on its way, would then see a reset.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """Create the state of a new connection. The arguments are those of uvicorn's class."""
        super().__init__(*args, **options)
        self._is_shutting_down = False

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        # Before the first request it is None, although uvicorn declares that it never is.
        cycle: RequestResponseCycle | None = self.cycle
        if self._is_shutting_down and cycle is not None:
            cycle.keep_alive = False

    def shutdown(self) -> None:
        """Close the connection after the responses in progress, or soon if there are none.

        The server calls this method when it shuts down.
        """
        self._is_shutting_down = True
        if self._is_responding():
            # The connection is closed after the response.
            super().shutdown()
        elif self._drain is None:
            self._unset_keepalive_if_required()
            self.loop.call_later(REQUEST_WAIT_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        """Close the connection, unless it has received a request or is about to read one."""
        if self.transport.is_closing() or self._drain is not None or self._is_responding():
            return
        if self._has_unread_bytes():
            # The event loop was busy. It reads the bytes before it calls this method again.
            self.loop.call_later(REQUEST_WAIT_SECONDS, self._close_if_idle)
        else:
            self._stop_head_timer()
            self._time_out_head()

    def _has_unread_bytes(self) -> bool:
        """Return whether the client has sent bytes that the event loop has not read yet.

        Closing a connection with unread bytes resets it.
        """
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))
