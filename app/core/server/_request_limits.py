"""What holds for every request and answer before anything looks at what is asked."""

import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import MalformedRequest, RequestHeaderFieldsTooLarge, ServiceError, UriTooLong
from app.core.http import render

MAX_TARGET: Final = 8 * 1024  # bytes
MAX_HEADERS: Final = 64 * 1024  # bytes
PROBES: Final = {"/livez", "/readyz"}  # whoever asks them knows an address and no name
_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(:[0-9]*)?")
# An answer of ours is never a page, save for /docs, which has a policy of its own.
SECURE: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_LINES: Final = [(name.lower().encode(), value.encode()) for name, value in SECURE.items()]


def secure(start: Message) -> None:
    """Tell browsers what to make of an answer that starts, where it does not say so itself."""
    given = {name for name, _ in start["headers"]}
    start["headers"] += [line for line in _LINES if line[0] not in given]


class Gate:
    """Refuses what is too long, and a `Host` that is missing, doubtful or not one of `hosts`.

    `*.example.com` is any name below it; no hosts are any.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self.app = app
        self._hosts = {host for host in hosts if not host.startswith("*.")}
        self._domains = tuple(host[1:] for host in hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (error := self._fault(scope)):
            await render(Request(scope), error)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _fault(self, scope: Scope) -> ServiceError | None:
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_TARGET:
            return UriTooLong()
        size, hosts = 0, []
        for name, value in scope["headers"]:
            size += len(name) + len(value) + 4
            if name == b"host":
                hosts.append(value)
        if size > MAX_HEADERS:
            return RequestHeaderFieldsTooLarge()
        if len(hosts) != 1 or not (found := _HOST.fullmatch(hosts[0])):
            return MalformedRequest("The request must have one Host, and a valid one")
        if not self._allowed(found[1].decode().lower()) and scope["path"] not in PROBES:
            return MalformedRequest("The service does not answer for this Host")
        return None

    def _allowed(self, host: str) -> bool:
        if not self._hosts and not self._domains:
            return True
        return host in self._hosts or host.endswith(self._domains)
