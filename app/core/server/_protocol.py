"""The HTTP protocol of the server: uvicorn's, with a size limit and with problem details."""

import logging
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from app.core.errors import MalformedRequest, RequestHeaderFieldsTooLarge, ServiceError, UriTooLong
from app.core.http import PROBLEM_MEDIA_TYPE, problem_body
from app.core.observability import current_request_id, new_request_id
from app.core.server._request_limits import MAX_HEADERS_BYTES, MAX_TARGET_BYTES
from app.core.server._security_headers import SECURITY_HEADERS

# Twice what `RequestLimitsMiddleware` allows, so that `HttpProtocol` rejects only extreme requests.
# The middleware gives better errors, which name the path in the response and in the log.
MAX_HEAD_BYTES: Final = 2 * (MAX_HEADERS_BYTES + MAX_TARGET_BYTES)
_SECURITY_HEADER_LINES: Final = "".join(
    f"{name}: {value}\r\n" for name, value in SECURITY_HEADERS.items()
)
log = logging.getLogger(__name__)


class HttpProtocol(HttpToolsProtocol):
    """One HTTP connection, which rejects invalid requests and requests with a huge head.

    uvicorn keeps the head of a request (request line and headers) in memory until it is complete,
    however large it is. This class limits it to `MAX_HEAD_BYTES`.

    A rejected request gets an error response (400, 414 or 431) that bypasses the application, and
    the connection is closed. Each request must get exactly one response, so the outcome depends on
    the response that the application is sending at that moment:

        the application is responding to    outcome
        no request                          the error response is sent
        this request, not started           the error response is sent instead
        this request, started               the response is cut off
        this request, complete              the connection is closed
        an earlier request                  that response is completed, without an error response
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """Create the state of a new connection. The arguments are those of uvicorn's class."""
        super().__init__(*args, **options)
        # The bytes that have arrived of a request line and headers that are not complete yet.
        self._head_size = 0
        self._is_reading_head = True
        self._is_reading_body = False
        self._has_rejected = False
        # The request that the application is responding to, or has responded to last. A client may
        # send more requests without waiting for this response (HTTP pipelining). They wait in
        # uvicorn's `self.pipeline`, and `self.cycle` is the last one of them.
        self._current_cycle: RequestResponseCycle | None = None

    def data_received(self, data: bytes) -> None:
        """Parse bytes that the client has sent, and reject a request whose head becomes too large.

        The head is the request line and the headers.
        """
        if self._has_rejected:
            return
        super().data_received(data)

        if not self._is_reading_head:
            self._head_size = 0
            return
        self._head_size += len(data)
        # uvicorn's parser may have rejected the request in the meantime, if it is not valid HTTP.
        if self._head_size <= MAX_HEAD_BYTES or self._has_rejected:
            return

        request_target = self.url or b""
        if len(request_target) > MAX_TARGET_BYTES:
            self._reject(UriTooLong())
        else:
            self._reject(RequestHeaderFieldsTooLarge())

    def on_message_begin(self) -> None:
        self._is_reading_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_reading_head = False
        super().on_headers_complete()
        self._is_reading_body = True

    def on_message_complete(self) -> None:
        self._is_reading_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - a problem replaces uvicorn's text
        """Reject a message that uvicorn cannot parse."""
        self._reject(MalformedRequest("The message is not valid HTTP"))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._current_cycle = cycle
        super()._start_asgi_task(cycle, app)

    def _reject(self, error: ServiceError) -> None:
        """Reject the request that is being received, and close the connection.

        The client gets an error response, unless the application has already started to respond to
        this request. If the application is still responding to an earlier request, the client gets
        only that response.
        """
        self._has_rejected = True
        # uvicorn calls a request and its response a cycle. `self.cycle` is the one received last.
        cycle = self._current_cycle

        if cycle is None or cycle.response_complete:
            if self._is_reading_body:
                # The application has already responded, before it received all of this body.
                self.transport.close()
            else:
                self._send_error_response(error)
        elif self._is_reading_body and cycle is self.cycle:
            # The application is handling this request while its body is being received.
            self._interrupt_application(cycle)
            if cycle.response_started:
                self.transport.close()
            else:
                self._send_error_response(error)
        else:
            # The application is responding to an earlier request. Close the connection after that
            # response, and drop all requests that wait for theirs.
            cycle.keep_alive = False
            self.pipeline.clear()

    def _interrupt_application(self, cycle: RequestResponseCycle) -> None:
        """Tell the application that the client of this request has disconnected.

        From now on, uvicorn drops all messages that the application sends for the request.
        """
        cycle.disconnected = True
        # Wake the application if it is waiting for the rest of the request body.
        cycle.message_event.set()

    def _send_error_response(self, error: ServiceError) -> None:
        """Write a complete HTTP response for the error, and close the connection.

        The application never sees the request, so this method also logs it, with a new request id.
        """
        request_id = new_request_id()
        # `problem_body` and the log formatter read the id from this variable.
        token = current_request_id.set(request_id)
        body = problem_body(error)
        headers = (
            f"content-type: {PROBLEM_MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"{_SECURITY_HEADER_LINES}cache-control: no-store\r\nx-request-id: {request_id}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[error.status] + headers.encode() + body)
        self.transport.close()

        log.info(
            "rejected a request before it reached the application: %s",
            error,
            extra={"status": error.status},
        )
        current_request_id.reset(token)
