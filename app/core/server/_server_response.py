"""Error responses that the server writes itself, because the application never sees the request."""

import logging
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.core.errors import ServiceError
from app.core.http import PROBLEM_MEDIA_TYPE, problem_body
from app.core.observability import current_request_id, new_request_id
from app.core.server._security_headers import SECURITY_HEADERS

log = logging.getLogger(__name__)
_FIXED_HEADERS: Final = {
    "content-type": PROBLEM_MEDIA_TYPE,
    **SECURITY_HEADERS,
    "cache-control": "no-store",
    # The server cannot tell where the next request would begin.
    "connection": "close",
}


def build_error_response(error: ServiceError, more_headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return a complete HTTP response for the error, and log the rejected request.

    Args:
        error: The reason why the server rejects the request.
        more_headers: Further headers, such as `(b"date", b"Sun, 29 Nov 2026 12:00:00 GMT")`.
    """
    request_id = new_request_id()
    # `problem_body` and the log formatter read the id from this variable.
    token = current_request_id.set(request_id)
    body = problem_body(error)
    log.info(
        "rejected a request before it reached the application: %s",
        error,
        extra={"status": error.status},
    )
    current_request_id.reset(token)
    return _build_head(error, request_id, len(body), more_headers) + body


def _build_head(
    error: ServiceError,
    request_id: str,
    content_length: int,
    more_headers: list[tuple[bytes, bytes]],
) -> bytes:
    """Return the status line and the headers of a response of the server."""
    headers = {**_FIXED_HEADERS, "content-length": str(content_length), "x-request-id": request_id}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    header_lines = [b"%b: %b\r\n" % header for header in more_headers]
    header_lines += [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
    return STATUS_LINE[error.status] + b"".join(header_lines) + b"\r\n"
