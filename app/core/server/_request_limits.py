"""Limits on the size of a request's head, and the check of its Host header."""

import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.errors import MalformedRequest, RequestHeaderFieldsTooLarge, ServiceError, UriTooLong
from app.core.http import render

MAX_TARGET_BYTES: Final = 8 * 1024  # bytes
MAX_HEADERS_BYTES: Final = 64 * 1024  # bytes
HEADER_SEPARATORS: Final = len(": \r\n")
# Health probes know the address of a process, and none of its names.
PATHS_FOR_ANY_HOST: Final = {"/livez", "/readyz"}
_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(:[0-9]*)?")


class RequestLimits:
    """Middleware that refuses requests that are too large or meant for another host.

    `hosts` are the allowed values of the Host header, without ports. "*.example.com" allows all
    subdomains of example.com. If there are none, any well-formed value is allowed.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self._app = app
        self._hosts = {host for host in hosts if not host.startswith("*.")}
        self._domains = tuple(host.removeprefix("*") for host in hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._find_error(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            response = render(Request(scope), error)
            await response(scope, receive, send)

    def _find_error(self, scope: Scope) -> ServiceError | None:
        raw_path = scope.get("raw_path") or b""
        if len(raw_path) + len(scope["query_string"]) > MAX_TARGET_BYTES:
            return UriTooLong()
        size = 0
        hosts = []
        for name, value in scope["headers"]:
            size += len(name) + len(value) + HEADER_SEPARATORS
            if name == b"host":
                hosts.append(value)
        if size > MAX_HEADERS_BYTES:
            return RequestHeaderFieldsTooLarge()
        host = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if host is None:
            return MalformedRequest("The request must have one Host, and a valid one")
        if not self._allows(host[1].decode().lower()) and scope["path"] not in PATHS_FOR_ANY_HOST:
            return MalformedRequest("The service does not answer for this Host")
        return None

    def _allows(self, host: str) -> bool:
        if not self._hosts and not self._domains:
            return True
        return host in self._hosts or host.endswith(self._domains)
