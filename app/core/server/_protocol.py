"""The HTTP protocol of the server: uvicorn's, with limits, and with problem details as refusals."""

import logging
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from app.core.errors import MalformedRequest, RequestHeaderFieldsTooLarge, ServiceError, UriTooLong
from app.core.http import MEDIA_TYPE, standalone
from app.core.observability import current_request_id, new_request_id
from app.core.server._request_limits import MAX_HEADERS_BYTES, MAX_TARGET_BYTES
from app.core.server._security_headers import SECURITY_HEADERS

# Bytes. Below this limit, `RequestLimits` says what is too long.
MAX_HEAD_BYTES: Final = 2 * (MAX_HEADERS_BYTES + MAX_TARGET_BYTES)
_HEADER_LINES: Final = "".join(f"{name}: {value}\r\n" for name, value in SECURITY_HEADERS.items())
log = logging.getLogger(__name__)


class HttpProtocol(HttpToolsProtocol):
    """One connection. Refuses what is not HTTP, and a head (request line and headers) without end.

    uvicorn keeps all of a head in memory until it is complete, so a refusal cannot wait for that.

    A refusal is a response that the application does not know of. It is sent only if the connection
    is free for it, so that each request gets one response:

        the application is responding to   what follows a malformed message
        nothing                            the refusal
        the same request, not started      the refusal, and the application is disconnected
        the same request, started          none: the response is cut off
        the same request, complete         none: the connection is closed
        an earlier request                 that response, which closes the connection
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_bytes = 0
        self._is_in_head = True
        self._is_in_body = False
        self._is_refused = False
        # The request that the application is responding to, or has responded to last. `self.cycle`
        # is the last request received, which waits in `self.pipeline` while that is another one.
        self._running: RequestResponseCycle | None = None

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if self._is_in_head else 0
        if self._head_bytes > MAX_HEAD_BYTES and not self._is_refused:
            is_target_too_long = len(self.url or b"") > MAX_TARGET_BYTES
            self._refuse(UriTooLong() if is_target_too_long else RequestHeaderFieldsTooLarge())

    def on_message_begin(self) -> None:
        self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()
        self._is_in_body = True

    def on_message_complete(self) -> None:
        self._is_in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - a problem replaces uvicorn's text
        self._refuse(MalformedRequest("What was sent is not HTTP"))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _refuse(self, error: ServiceError) -> None:
        """End the connection because of a malformed message, with a response if it is free."""
        self._is_refused = True
        running = self._running
        if running is None or running.response_complete:
            # A body that becomes malformed after its response belongs to a request that has one.
            if self._is_in_body:
                self.transport.close()
            else:
                self._send_refusal(error)
        elif self._is_in_body and running is self.cycle:
            has_started = running.response_started
            # This makes uvicorn drop what the application sends, and tell it when it reads.
            running.disconnected = True
            running.message_event.set()
            if has_started:
                self.transport.close()
            else:
                self._send_refusal(error)
        else:
            running.keep_alive = False
            self.pipeline.clear()

    def _send_refusal(self, error: ServiceError) -> None:
        identifier = new_request_id()
        token = current_request_id.set(identifier)
        body = standalone(error)
        head = (
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n{_HEADER_LINES}"
            f"cache-control: no-store\r\nx-request-id: {identifier}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[error.status] + head.encode() + body)
        self.transport.close()
        log.info("refused what is no request", extra={"status": error.status})
        current_request_id.reset(token)
