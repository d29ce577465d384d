"""Checks of every request's head: sizes, encoding, Host header, and the origin of web pages."""

import re
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.errors import MalformedRequest, ServiceError
from app.core.http import RequestHeaderFieldsTooLarge, UriTooLong, get_route_path, problem_response
from app.core.server._cross_site import CrossSiteProtection
from app.core.server._host_policy import HostPolicy
from app.core.server._target_encoding import find_encoding_error

# The request target is the path with the query, for example "/books?limit=10".
MAX_TARGET_BYTES: Final = 8 * 1024
MAX_HEADERS_BYTES: Final = 64 * 1024
# A header without a value has four bytes on the wire, and takes a hundred bytes of memory.
MAX_HEADERS: Final = 100
# Each header line has these characters in addition to its name and value.
HEADER_SEPARATOR_BYTES: Final = len(": \r\n")
PROBE_PATHS: Final = {"/livez", "/readyz"}
# Both ask about the server as a whole. `OPTIONS /` is the default health check of HAProxy.
SERVER_OPTIONS_PATHS: Final = {"/", "*"}
# Examples: "example.com", "example.com:8000", "[::1]:8000".
_HOST_HEADER: Final = re.compile(rb"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(:[0-9]*)?")


class RequestLimitsMiddleware:
    """Middleware that rejects requests because of their URL or their headers.

    The response is 414 for a target longer than `MAX_TARGET_BYTES`, 431 for more than `MAX_HEADERS`
    headers or headers longer than `MAX_HEADERS_BYTES`, 400 for a target that is not percent-encoded
    UTF-8, or for a Host header that is missing, malformed or not allowed, and 403 for a write of a
    foreign web page.

    Only HTTP/1.1 requires a Host header (RFC 9112, section 3.2). If the allowed hosts are limited,
    a request of HTTP/1.0 without this header is rejected too, because it does not name one of them.
    A probe may name any host.
    """

    def __init__(
        self, app: ASGIApp, host_policy: HostPolicy, cross_site_protection: CrossSiteProtection
    ) -> None:
        """Create the middleware.

        Args:
            app: The application that handles accepted requests.
            host_policy: The names that the Host header may have.
            cross_site_protection: The web pages that may send writes.
        """
        self._app = app
        self._host_policy = host_policy
        self._cross_site_protection = cross_site_protection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, or send an error response if it is rejected."""
        error = None
        if scope["type"] == "http":
            error = self._find_error(scope)
        if error is None:
            await self._app(scope, receive, send)
        else:
            response = problem_response(Request(scope), error)
            await response(scope, receive, send)

    def _find_error(self, scope: Scope) -> ServiceError | None:
        """Return the error with which to reject a request, or None to accept the request."""
        raw_path = scope.get("raw_path") or b""
        if len(raw_path) + len(scope["query_string"]) > MAX_TARGET_BYTES:
            return UriTooLong()
        encoding_error = find_encoding_error(scope)
        if encoding_error is not None:
            return encoding_error

        headers_size = 0
        host_headers = []
        for name, value in scope["headers"]:
            headers_size += len(name) + len(value) + HEADER_SEPARATOR_BYTES
            if name == b"host":
                host_headers.append(value)

        if headers_size > MAX_HEADERS_BYTES or len(scope["headers"]) > MAX_HEADERS:
            return RequestHeaderFieldsTooLarge()
        host_error = self._find_host_error(host_headers, scope)
        if host_error is not None:
            return host_error
        return self._cross_site_protection.find_error(scope)

    def _find_host_error(self, host_headers: list[bytes], scope: Scope) -> MalformedRequest | None:
        """Return the error with which to reject a request for another host, otherwise None.

        `host_headers` are the values of all Host headers, for example `[b"example.com:8000"]`.
        """
        host = _parse_host(host_headers, scope["http_version"])
        if host is None:
            return MalformedRequest("The request must have exactly one valid Host header")
        host_error = self._host_policy.find_error(host)
        if host_error is not None and _is_probe(scope):
            return None
        return host_error


def _parse_host(host_headers: list[bytes], http_version: str) -> str | None:
    """Return the host that a request names, in lower case and without the port.

    Returns "" for a request of HTTP/1.0 that does not name a host, and None if the request is
    invalid.
    """
    if len(host_headers) > 1:
        return None
    host_header = b"".join(host_headers)
    if host_header == b"" and http_version == "1.0":
        return ""
    host_match = _HOST_HEADER.fullmatch(host_header)
    if host_match is None:
        return None
    return host_match["host"].decode().lower()


def _is_probe(scope: Scope) -> bool:
    """Return whether a request is a health check.

    Health checks connect to the IP address of a process, and do not know the names of the service.
    """
    path = get_route_path(scope)
    if scope["method"] == "OPTIONS" and path in SERVER_OPTIONS_PATHS:
        return True
    return path.removesuffix("/") in PROBE_PATHS
