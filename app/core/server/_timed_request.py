"""One request and its deadline: the steps that time it out and send an error response."""

import asyncio
from contextvars import copy_context
from enum import Enum, auto
from math import inf
from time import monotonic
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import RequestTimeout, ServiceError, ShuttingDown, Unavailable
from app.core.http import problem_response
from app.core.server._shutdown import Shutdown
from app.core.transfer_clock import MinimumRate, TransferClock


class _ResponseState(Enum):
    """How much of the response to a request has been sent.

    A request that times out gets an error response only in the state NOT_STARTED.
    """

    # Nothing has been sent.
    NOT_STARTED = auto()
    # The handler has sent the status and the headers, but not the whole body.
    STARTED = auto()
    # The handler has sent the whole response.
    COMPLETE = auto()
    # An error response has replaced the handler's response, whose messages are dropped.
    REPLACED = auto()


class TimedRequest:
    """A request in progress and the deadline by which it has to make progress.

    Example with a timeout of 30 seconds, for a handler that waits for a frozen database:

         0 s  the handler starts; the deadline is at 30 s
        30 s  `time_out` sends a 503 and cancels the handler; the deadline is at 60 s
        60 s  `time_out` cancels the handler again if it is still cleaning up
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        minimum_rate: MinimumRate,
        shutdown: Shutdown,
    ) -> None:
        """Set the first deadline of the request, which the current task is about to handle.

        Args:
            scope: The ASGI scope of the request.
            receive: Receives messages from the server.
            send: Sends messages to the server.
            minimum_rate: The rate at which the client has to send the body. The grace period is
                how long the request may take from one progress to the next.
            shutdown: Tells whether the process is shutting down, so that connections are closed.
        """
        self._scope = scope
        self._receive = receive
        self._send = send
        self._minimum_rate = minimum_rate
        self._timeout_seconds = minimum_rate.grace_seconds
        self._shutdown = shutdown

        # Seconds on the clock of `time.monotonic`.
        self.deadline = monotonic() + self._timeout_seconds
        # The server runs each request in a task, so the current task is never None.
        self._task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]
        # An error response contains the request id, which is known only in this context. The timer
        # that calls `time_out` runs in another one.
        self._request_context = copy_context()

        # None until the client has sent a part of the body that is not the last one.
        self._body_clock: TransferClock | None = None
        self._body_has_ended = False
        self._is_receiving = False
        self._has_timed_out = False
        self._response_state = _ResponseState.NOT_STARTED
        self._error_response_task: asyncio.Task[None] | None = None

    async def run(self, app: ASGIApp) -> None:
        """Run the application until it has handled the request, or has been cancelled.

        Raises `TimeoutError` if the request timed out in the middle of its response. The server
        then closes the connection, so that the client sees an incomplete response.
        """
        try:
            await app(self._scope, self._timed_receive, self._timed_send)
        except asyncio.CancelledError:
            is_cancelled_by_server = True
            if self._has_timed_out:
                # Withdraw the cancellation by `time_out`. If another one remains, it comes from the
                # server, which cancels requests at the end of a shutdown.
                is_cancelled_by_server = self._task.uncancel() > 0
            if is_cancelled_by_server:
                self._send_error(ShuttingDown())
                raise
        if self._has_timed_out and self._response_state is _ResponseState.STARTED:
            raise TimeoutError(
                f"the response made no progress for {self._timeout_seconds:g} seconds"
            )

    async def wait_for_error_response(self) -> None:
        """Wait until the error response has been sent, if this request gets one."""
        if self._error_response_task is not None:
            await self._error_response_task

    def record_progress(self) -> None:
        """Move the deadline into the future, to `timeout_seconds` from now."""
        self.deadline = monotonic() + self._timeout_seconds

    def time_out(self) -> None:
        """Cancel the handler because the request has made no progress.

        If no response has been started, this also sends an error response: 408 if the client has
        not sent the rest of the request body, otherwise 503.
        """
        if self._is_receiving:
            self._send_error(RequestTimeout())
        else:
            self._send_error(Unavailable())

        if self._has_timed_out:
            # The handler is still cleaning up after an earlier cancellation. Replace that one,
            # because a second cancellation would seem to come from the server.
            self._task.uncancel()
        self._has_timed_out = True
        self._task.cancel()
        self.record_progress()

    async def _timed_receive(self) -> Message:
        """Receive a part of the request body. Raises `RequestTimeout` if the client is too slow."""
        response_has_started = self._response_state is not _ResponseState.NOT_STARTED
        if self._body_has_ended or response_has_started:
            # The handler waits for the client to disconnect, while it sends the response.
            return await self._receive()

        started_at = monotonic()
        if self._body_clock is not None:
            self.deadline = started_at + self._body_clock.remaining_seconds
        self._is_receiving = True
        try:
            message = await self._receive()
        finally:
            self._is_receiving = False
            self.record_progress()
        if message.get("more_body", False):
            self._record_part(monotonic() - started_at, len(message["body"]))
        else:
            self._body_has_ended = True
        return message

    def _record_part(self, waited_seconds: float, size: int) -> None:
        """Record that a part of the body has arrived. Raises `RequestTimeout` if it is too late."""
        if self._body_clock is None:
            self._body_clock = TransferClock(self._minimum_rate)
        self._body_clock.record(waited_seconds, size)
        if self._body_clock.has_run_out:
            raise RequestTimeout

    async def _timed_send(self, message: Message) -> None:
        """Send a part of the handler's response, or drop it if an error response was sent instead.

        The request cannot time out while the client is reading this part.
        """
        if self._response_state is _ResponseState.REPLACED:
            return

        if message["type"] == "http.response.start":
            self._response_state = _ResponseState.STARTED
            if self._shutdown.has_begun and _has_connection_headers(self._scope):
                # Make the client send its next request to another process.
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        elif not message.get("more_body", False):
            self._response_state = _ResponseState.COMPLETE

        # `CursorResponse` has a timeout of its own for clients that are slow to read.
        self.deadline = inf
        try:
            await self._send(message)
        finally:
            self.record_progress()

    def _send_error(self, error: ServiceError) -> None:
        """Start to send an error response. Do nothing if a response has already been started.

        A separate task sends the response, so that the client does not have to wait until the
        cancelled handler has cleaned up. That may take long if the database does not respond.
        """
        if self._response_state is not _ResponseState.NOT_STARTED:
            return
        self._response_state = _ResponseState.REPLACED
        self._error_response_task = asyncio.get_running_loop().create_task(
            self._render_and_send(error), context=self._request_context
        )

    async def _render_and_send(self, error: ServiceError) -> None:
        """Send the response for an error, and have the server close the connection after it."""
        response = problem_response(Request(self._scope), error)
        if _has_connection_headers(self._scope):
            response.headers["Connection"] = "close"
        await response(self._scope, self._receive, self._send)


def _has_connection_headers(scope: Scope) -> bool:
    """Return whether responses may have a Connection header, which HTTP/2 forbids."""
    http_version: str = scope["http_version"]
    return http_version.startswith("1")
