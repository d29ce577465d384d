"""The HTTP protocol of the server: uvicorn's, with limits, problem details and safe closing."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.core.errors import RequestTimeout, ServiceError
from app.core.server._cors import CorsPolicy
from app.core.server._drain import Drain, reset_connection
from app.core.server._flow_control import ConnectionFlowControl
from app.core.server._request_reader import RequestReader
from app.core.server._response_cycle import ResponseCycle, ResponseTransport
from app.core.server._server_response import build_error_response

# The time that a client has to send a request line and headers, in total.
HEAD_TIMEOUT_SECONDS: Final = 10.0


class HttpProtocol(RequestReader):
    """One HTTP connection: each request gets exactly one response, and every connection ends.

    A connection is in one of these states:

        waiting      No response is in progress. The head of a request has to arrive within
                     `HEAD_TIMEOUT_SECONDS`. After a response, uvicorn's keep-alive timeout closes
                     the connection unless a byte arrives.
        responding   The application is responding to a request. The next requests may arrive in the
                     meantime (HTTP pipelining) and wait in uvicorn's `self.pipeline`.
        draining     The server has sent its last response. It discards what the client still sends,
                     and closes the connection soon. See `Drain`.

    A request that is not valid HTTP, too large or too slow is rejected, and so is one that follows
    too many others. The error response (400, 408, 414, 429, 431, 501 or 505) bypasses the
    application, and then the connection is drained. When it is sent depends on the state:

        state        the rejected request               outcome
        waiting      any                                the error response is sent
        responding   the response to it has not begun   the error response is sent instead
        responding   the response to it has begun       the response is cut off
        responding   follows earlier requests           the error response is sent after all of
                                                        their responses
        draining     cannot be rejected                 its bytes are discarded

    A client may close its direction of the connection and still wait for responses (half-close).
    Complete requests get their responses, and then the connection is closed. A request whose body
    is incomplete counts as disconnected.
    """

    def __init__(self, *args: Any, cors_policy: CorsPolicy | None = None, **options: Any) -> None:
        """Create the state of a new connection.

        Args:
            args: The arguments of uvicorn's class, like `options`.
            cors_policy: The origins whose pages may read error responses of the server.
            options: The keyword arguments of uvicorn's class.
        """
        super().__init__(*args, **options)
        self._cors_policy = cors_policy
        # The reason to reject the last request, after the responses to earlier ones.
        self._pending_error: ServiceError | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._drain: Drain | None = None
        self._has_received_eof = False

    # The event loop calls the following methods.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.flow = ConnectionFlowControl(transport, self.loop, self.pipeline)
        self._response_transport = ResponseTransport(
            transport, self.loop, self._close_after_response
        )
        self._start_head_timer()

    def data_received(self, data: bytes) -> None:
        """Receive bytes of the client, in any state."""
        self._unset_keepalive_if_required()
        if self._drain is not None:
            self._drain.discard(data)
            return
        if self._pending_error is not None:
            # Discard bytes behind a rejected request, and do not read more.
            self.flow.pause_reading()
            return

        error = self._read(data)
        if error is not None:
            self._reject(error)
        elif self._is_responding():
            self._stop_head_timer()
        elif self._head_timer is None:
            self._start_head_timer()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Receive the end of the client's direction. Return whether responses are still due."""
        self._has_received_eof = True
        if self._drain is not None:
            return False
        body_is_cut_off = self._is_reading_body and self.cycle is self._current_cycle
        if body_is_cut_off or not self._is_responding():
            self._close_connection()
            return False
        if self._is_reading_body:
            self._drop_incomplete_request()
        if self._pending_error is None:
            self.cycle.keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application that the client has disconnected, and stop the timers."""
        if self._current_cycle is not None and not self._current_cycle.response_complete:
            self._interrupt_application(self._current_cycle)
        self._stop_head_timer()
        if self._drain is not None:
            self._drain.stop()
        # Otherwise, the connection would refer to itself until the next garbage collection.
        self._drop_waiting_requests()
        self._response_transport.close = self.transport.close
        super().connection_lost(exc)

    # uvicorn's classes call the following methods.

    def on_response_complete(self) -> None:
        """Start the next request that has arrived, reject it, or wait for it."""
        if self._drain is not None:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        if self._pending_error is not None or self._is_reading_head:
            self._go_on_with_incomplete_request()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection because no request has followed the last response in time."""
        self._close_connection()

    def shutdown(self) -> None:
        """Close the connection at the shutdown of the server, after the responses in progress."""
        if self._drain is None:
            super().shutdown()

    def _close_after_response(self) -> None:
        """Close the connection after a response, or because the application has failed."""
        if self._drain is not None or self.transport.is_closing():
            return
        cycle = self._current_cycle
        if cycle is None or not cycle.response_complete:
            self._cut_off_response()
        else:
            self._drain_connection()

    # The methods above call the following ones.

    def _go_on_with_incomplete_request(self) -> None:
        """Reject the request that follows the responses, or wait for the rest of its head."""
        if self._is_responding() or self.transport.is_closing():
            return
        if self._pending_error is not None:
            self._send_error_response(self._pending_error)
        else:
            # The rest of a head has the same time as other heads, not the keep-alive timeout.
            self._unset_keepalive_if_required()
            self._start_head_timer()

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self._time_out_head)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _time_out_head(self) -> None:
        """Reject a request whose head is incomplete, or close a connection without a request."""
        self._head_timer = None
        if self._is_reading_head:
            self._reject(RequestTimeout("The head of the request did not arrive in time"))
        else:
            self._close_connection()

    def _reject(self, error: ServiceError) -> None:
        """Reject the request that is being received. See the table of this class."""
        self._stop_head_timer()
        cycle = self._current_cycle
        if cycle is None or cycle.response_complete:
            self._send_error_response(error)
        elif self._is_reading_body and cycle is self.cycle:
            self._interrupt_application(cycle)
            if cycle.response_started:
                self._cut_off_response()
            else:
                self._send_error_response(error)
        else:
            if self._is_reading_body:
                self._drop_incomplete_request()
            self._pending_error = error

    def _interrupt_application(self, cycle: RequestResponseCycle) -> None:
        """Tell the application that the client of this request has disconnected.

        From now on, uvicorn drops all messages that the application sends for the request.
        """
        cycle.disconnected = True
        cycle.waiting_for_100_continue = False
        # Wake the application if it is waiting for the rest of the request body.
        cycle.message_event.set()

    def _send_error_response(self, error: ServiceError) -> None:
        """Send the last response of this connection, which bypasses the application."""
        headers = list(self.server_state.default_headers)
        if self._cors_policy is not None:
            self._cors_policy.add_headers(self._get_received_headers(), headers)
        self.transport.write(build_error_response(error, headers))
        self._drain_connection()

    def _cut_off_response(self) -> None:
        """Close the connection so that the client notices that the response is incomplete."""
        self._response_transport.flush()
        cycle = self._current_cycle
        if isinstance(cycle, ResponseCycle) and cycle.is_delimited_by_close:
            # A normal end of the connection would look like the end of the response.
            reset_connection(self.transport)
        else:
            self._close_connection()

    def _drain_connection(self) -> None:
        """Close the connection after the last response, which the client may not have read yet."""
        self._unset_keepalive_if_required()
        self._drop_waiting_requests()
        if self._has_received_eof or self.transport.is_closing():
            self._close_connection()
        else:
            self.flow.resume_reading()
            self._drain = Drain(self.transport, self.loop)

    def _close_connection(self) -> None:
        """Close the connection as soon as the client has read all bytes that are left to send."""
        if not self.transport.is_closing():
            # Let `self.flow` notice a client that does not read them.
            self.transport.set_write_buffer_limits(high=0)
            self.transport.close()
