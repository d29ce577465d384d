"""HTTP as uvicorn speaks it, with an end to how much head it takes, and problems for refusals."""

import logging
from secrets import token_hex
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.core.errors import MalformedRequest, RequestHeaderFieldsTooLarge, ServiceError, UriTooLong
from app.core.http import MEDIA_TYPE, standalone
from app.core.observability import request_id
from app.core.server._request_limits import MAX_HEADERS, MAX_TARGET, SECURE

MAX_HEAD: Final = 2 * (MAX_HEADERS + MAX_TARGET)  # bytes; below it `Gate` says what is too long
log = logging.getLogger(__name__)


class Protocol(HttpToolsProtocol):
    """A head that never ends is refused while it comes: it would all be kept in memory."""

    _head = 0  # bytes of it that have come
    _in_head = True

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._head = self._head + len(data) if self._in_head else 0
        if self._head > MAX_HEAD and not self.transport.is_closing():
            long = len(self.url or b"") > MAX_TARGET
            self._refuse(UriTooLong() if long else RequestHeaderFieldsTooLarge())

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it is uvicorn's plain text
        self._refuse(MalformedRequest("What was sent is not HTTP"))

    def _refuse(self, error: ServiceError) -> None:
        named = request_id.set(identifier := token_hex(16))
        body = standalone(error)
        secure = "".join(f"{name}: {value}\r\n" for name, value in SECURE.items())
        head = (
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n{secure}"
            f"cache-control: no-store\r\nx-request-id: {identifier}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[error.status] + head.encode() + body)
        self.transport.close()
        log.info("refused what is no request", extra={"status": error.status})
        request_id.reset(named)
