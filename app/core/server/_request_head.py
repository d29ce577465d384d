"""Rules for the head of a request (request line and headers) that the parser does not enforce."""

import re
from typing import Final
from urllib.parse import unquote

import httptools
from uvicorn._types import HTTPScope

from app.core.errors import MalformedRequest, ServiceError
from app.core.http import RequestHeaderFieldsTooLarge, UriTooLong
from app.core.server._head_errors import FeatureNotImplemented, HttpVersionNotSupported
from app.core.server._request_limits import MAX_HEADERS, MAX_HEADERS_BYTES, MAX_TARGET_BYTES

# Twice what `RequestLimitsMiddleware` allows, so that the server rejects only extreme requests.
# The middleware gives better errors, which name the path in the response and in the log.
MAX_HEAD_BYTES: Final = 2 * (MAX_HEADERS_BYTES + MAX_TARGET_BYTES)
MAX_HEAD_HEADERS: Final = 2 * MAX_HEADERS
# The number of requests that may wait for the responses to earlier ones (HTTP pipelining). A
# request of 30 bytes occupies some kilobytes of memory, and thousands may arrive in one segment.
MAX_WAITING_REQUESTS: Final = 100
# The supported versions, and how a request line with each of them ends.
REQUEST_LINE_ENDS: Final = {"1.1": b"HTTP/1.1\r\n", "1.0": b"HTTP/1.0\r\n"}
# The parser reports this version for a request line without a version, such as `GET /`.
_NO_VERSION: Final = "0.9"


class RejectedHead(Exception):
    """Raised by the methods that the parser calls, to stop it because of the head of a request."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__(str(error))
        self.error = error


def find_size_error(head_size: int, target_size: int) -> ServiceError | None:
    """Return the error for an incomplete head that is too large, otherwise None.

    The sizes are those of the bytes of the head and of its target that have arrived.
    """
    if head_size <= MAX_HEAD_BYTES:
        return None
    if target_size > MAX_TARGET_BYTES:
        return UriTooLong()
    return RequestHeaderFieldsTooLarge()


def find_head_error(
    method: bytes, version: str, transfer_encodings: list[bytes]
) -> ServiceError | None:
    """Return the error with which to reject a request because of its head, otherwise None.

    Args:
        method: The method, for example `b"GET"`.
        version: The version of HTTP, for example `"1.1"`.
        transfer_encodings: The values of all Transfer-Encoding headers.
    """
    if version == _NO_VERSION:
        return MalformedRequest("The request line must end with HTTP/1.1")
    if version not in REQUEST_LINE_ENDS:
        return HttpVersionNotSupported()
    if method == b"CONNECT":
        return FeatureNotImplemented("The server is not a proxy, so it does not support CONNECT")
    if transfer_encodings:
        return _find_encoding_error(version, transfer_encodings)
    return None


def _find_encoding_error(version: str, transfer_encodings: list[bytes]) -> ServiceError | None:
    """Return the error with which to reject a request because of its Transfer-Encoding, or None."""
    if [encoding.lower() for encoding in transfer_encodings] != [b"chunked"]:
        return FeatureNotImplemented("The only supported Transfer-Encoding is chunked")
    if version == "1.0":
        # RFC 9112, section 6.1. Proxies of HTTP/1.0 would disagree about the end of the body.
        return MalformedRequest("A request of HTTP/1.0 must not have a Transfer-Encoding")
    return None


def set_target(scope: HTTPScope, target: bytes, root_path: str) -> None:
    """Set the path and the query string of a scope, and its Host header if the target has a host.

    `target` is the request target, for example `b"/books?q=ada"`, `b"http://example.com/books"`, or
    `b"*"`, which means the server as a whole.

    Raises `HttpParserInvalidURLError` or `UnicodeError` if the target is invalid.
    """
    url = httptools.parse_url(target)
    raw_path: bytes | None = url.path
    if raw_path is None:
        # The target is the root of the server, for example `http://example.com`.
        raw_path = b"*" if scope["method"] == "OPTIONS" else b"/"
    path = raw_path.decode("ascii")
    if "%" in path:
        path = unquote(path)
    scope["path"] = root_path + path
    scope["raw_path"] = root_path.encode("ascii") + raw_path
    scope["query_string"] = url.query or b""
    if url.host is not None:
        _replace_host_header(scope, target)


def _replace_host_header(scope: HTTPScope, target: bytes) -> None:
    """Replace the Host header by the host in the request target, which is a whole URL.

    RFC 9112, section 3.2.2, requires this. A proxy sends such a target. The header is added if it
    is missing in a request of HTTP/1.0. Other requests need exactly one, so they stay invalid.
    """
    after_scheme = target.partition(b"://")[2]
    authority = re.split(rb"[/?#]", after_scheme)[0]
    host = authority.rpartition(b"@")[2]

    # The list is that of the server, which has the same headers.
    headers: list[tuple[bytes, bytes]] = scope["headers"]  # type: ignore[assignment]
    positions = [position for position, (name, _) in enumerate(headers) if name == b"host"]
    if len(positions) == 1:
        headers[positions[0]] = (b"host", host)
    elif not positions and scope["http_version"] == "1.0":
        headers.append((b"host", host))


def build_head_without_upgrade(
    method: bytes, target: bytes, version: str, headers: list[tuple[bytes, bytes]]
) -> bytes:
    """Return the bytes of the head of a request, without its Upgrade headers."""
    header_lines = [b"%b: %b\r\n" % header for header in headers if header[0] != b"upgrade"]
    request_line = b" ".join((method, target, REQUEST_LINE_ENDS[version]))
    return b"".join((request_line, *header_lines, b"\r\n"))
