"""Limits on the size of a request's URL and headers, and the check of its Host header."""

import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.errors import MalformedRequest, RequestHeaderFieldsTooLarge, ServiceError, UriTooLong
from app.core.http import get_route_path, problem_response
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
    """Middleware that rejects requests with a large URL or large headers, or for another host.

    The response is 414 for a target longer than `MAX_TARGET_BYTES`, 431 for more than `MAX_HEADERS`
    headers or headers longer than `MAX_HEADERS_BYTES`, and 400 for a target that is not
    percent-encoded UTF-8, or for a Host header that is missing, malformed or not allowed.

    Only HTTP/1.1 requires a Host header (RFC 9112, section 3.2). If the allowed hosts are limited,
    a request of HTTP/1.0 without this header is rejected too, because it does not name one of them.
    A probe may name any host.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str] = ()) -> None:
        """Create the middleware.

        Args:
            app: The application that handles accepted requests.
            allowed_hosts: Host names that the Host header may have. "*.example.com" allows all
                subdomains of example.com. If the list is empty, every host is allowed.
        """
        self._app = app
        self._exact_hosts: set[str] = set()
        # The suffix ".example.com" allows "api.example.com", but not "example.com".
        self._domain_suffixes: tuple[str, ...] = ()
        for host in allowed_hosts:
            if host.startswith("*."):
                self._domain_suffixes += (host.removeprefix("*"),)
            else:
                self._exact_hosts.add(host)

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
        return self._find_host_error(host_headers, scope)

    def _find_host_error(self, host_headers: list[bytes], scope: Scope) -> MalformedRequest | None:
        """Return the error with which to reject a request for another host, otherwise None.

        `host_headers` are the values of all Host headers, for example `[b"example.com:8000"]`.
        """
        host = _parse_host(host_headers, scope["http_version"])
        if host is None:
            return MalformedRequest("The request must have exactly one valid Host header")
        if not self._is_allowed_host(host) and not _is_probe(scope):
            return MalformedRequest("The request has no Host header that names this service")
        return None

    def _is_allowed_host(self, host: str) -> bool:
        """Return whether requests may name this host, for example "api.example.com"."""
        if not self._exact_hosts and not self._domain_suffixes:
            return True
        return host in self._exact_hosts or host.endswith(self._domain_suffixes)


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
