"""Limits of one HTTP connection whose client sends or reads at another speed than the server."""

import asyncio
from collections.abc import Sized
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl

from app.core.server._drain import reset_connection

# A client that has not read all bytes is disconnected if it reads more slowly than this, on average
# over `UNREAD_TIMEOUT_SECONDS`.
MIN_READ_RATE: Final = 8 * 1024  # bytes per second
UNREAD_TIMEOUT_SECONDS: Final = 30.0


class ConnectionFlowControl(FlowControl):
    """Pauses reading and writing, so that a client cannot occupy memory without a limit.

    It differs from uvicorn's class, whose methods the protocol, the requests and the event loop
    call:

    - While requests wait for the responses to earlier ones (HTTP pipelining), the server does not
      read further requests. uvicorn reads on after each response, so the queue would grow forever.
    - A client that does not read its responses, or reads single bytes, is disconnected. Otherwise,
      the connection and the request that is sending would stay until the client disconnects.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, waiting_requests: Sized
    ) -> None:
        """Create the state of a new connection.

        Args:
            transport: The transport of the connection.
            loop: The event loop of the connection.
            waiting_requests: The requests that wait for the responses to earlier ones.
        """
        super().__init__(transport)
        self._loop = loop
        self._waiting_requests = waiting_requests
        self._unread_timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0

    def resume_reading(self) -> None:
        """Read from the client again, unless requests are waiting."""
        if len(self._waiting_requests) == 0:
            super().resume_reading()

    def pause_writing(self) -> None:
        """Let responses wait until the client has read enough."""
        super().pause_writing()
        self._start_unread_timer()

    def resume_writing(self) -> None:
        """Continue to send. It is also called when the connection is closed."""
        super().resume_writing()
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _start_unread_timer(self) -> None:
        self._unsent_bytes = self._transport.get_write_buffer_size()
        self._unread_timer = self._loop.call_later(UNREAD_TIMEOUT_SECONDS, self._check_progress)

    def _check_progress(self) -> None:
        """Disconnect a client that has read too little since the timer was started."""
        read_bytes = self._unsent_bytes - self._transport.get_write_buffer_size()
        if read_bytes >= MIN_READ_RATE * UNREAD_TIMEOUT_SECONDS:
            self._start_unread_timer()
        else:
            reset_connection(self._transport)
