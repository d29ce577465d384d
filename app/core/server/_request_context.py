"""The context of a request: its id, its statistics, its log line and its last error handler."""

import logging
import re
from time import perf_counter
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import InternalError
from app.core.http import MAX_PATH, render
from app.core.observability import (
    REQUESTS_IN_FLIGHT,
    RequestStats,
    current_request_id,
    current_request_stats,
    mark_logged,
    new_request_id,
    record_request,
)
from app.core.server._security_headers import add_security_headers
from app.core.server._telemetry import annotate_span, is_traced

CLIENT_CLOSED_REQUEST: Final = 499  # never sent; the status that nginx logs for such a request
UNKNOWN_ROUTE: Final = "unknown"
_ACCEPTABLE_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
# A path segment longer than any id may be a token that was sent in the wrong place.
_TOO_LONG_FOR_AN_ID: Final = re.compile(r"[^/]{37,}")
log = logging.getLogger("app.access")


class RequestContext:
    """Middleware around everything else.

    It gives each request its id and statistics, adds the headers that every response has, sends a
    500 for errors that nothing else has handled, and records the request in the log and metrics.
    """

    def __init__(
        self, app: ASGIApp, *, server_timing_enabled: bool = False, metrics_enabled: bool = False
    ) -> None:
        self._app = app
        self._server_timing_enabled = server_timing_enabled
        self._metrics_enabled = metrics_enabled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _ObservedRequest(scope, send, server_timing_enabled=self._server_timing_enabled)
        id_token = current_request_id.set(request.id)
        stats_token = current_request_stats.set(request.stats)
        if self._metrics_enabled:
            REQUESTS_IN_FLIGHT.inc()
        try:
            await request.run(self._app, receive)
        finally:
            request.finish(metrics_enabled=self._metrics_enabled)
            current_request_stats.reset(stats_token)
            current_request_id.reset(id_token)


class _ObservedRequest:
    """A request in progress, and what is known of its response."""

    def __init__(self, scope: Scope, send: Send, *, server_timing_enabled: bool) -> None:
        self._start = perf_counter()
        self._scope = scope
        self._send = send
        self._server_timing_enabled = server_timing_enabled
        self._status = 0  # until a response has started
        self._error: Exception | None = None
        self.id = _choose_id(scope)
        self.stats = RequestStats()
        if is_traced(scope):
            self.stats.has_span = annotate_span(scope, self.id, _loggable_path(scope))

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        """Run the application, and respond in its place if it fails before it has responded."""
        try:
            await app(self._scope, receive, self._observed_send)
        except ClientDisconnect:
            self._status = CLIENT_CLOSED_REQUEST
        except Exception as error:
            self._error = error
            response_has_started = self._status != 0
            if response_has_started:
                # The server has to close the connection, so that the response is seen to be cut.
                raise
            response = render(Request(self._scope), InternalError())
            await response(self._scope, receive, self._observed_send)

    def finish(self, *, metrics_enabled: bool) -> None:
        """Record the request in the metrics and the log."""
        seconds = perf_counter() - self._start
        if metrics_enabled:
            REQUESTS_IN_FLIGHT.dec()
            record_request(self._scope["method"], _route(self._scope), self._status, seconds)
        level = logging.INFO if self._error is None else logging.ERROR
        if log.isEnabledFor(level):
            self._log(level, seconds)

    async def _observed_send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._add_headers(message["headers"])
        await self._send(message)

    def _add_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        add_security_headers(headers)
        headers.append((b"x-request-id", self.id.encode()))
        if self._server_timing_enabled:
            value = self.stats.server_timing(perf_counter() - self._start)
            headers.append((b"server-timing", value.encode()))

    def _log(self, level: int, seconds: float) -> None:
        fields = {
            "method": self._scope["method"],
            "route": _route(self._scope),
            "path": _loggable_path(self._scope),
            "status": self._status,
            "duration_ms": round(seconds * 1000, 2),
            "sql": self.stats.statements,
            "sql_ms": round(self.stats.seconds * 1000, 2),
        }
        log.log(level, "request", exc_info=self._error, extra=fields)
        if self._error is not None:
            mark_logged(self._error)


def _choose_id(scope: Scope) -> str:
    """Return the id that the client or a proxy sent if it is acceptable, otherwise a new one."""
    sent_ids = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(sent_ids) == 1 and _ACCEPTABLE_ID.fullmatch(sent_ids[0]):
        return str(sent_ids[0].decode())
    return new_request_id()


def _loggable_path(scope: Scope) -> str:
    return _TOO_LONG_FOR_AN_ID.sub("...", scope["path"][:MAX_PATH])


def _route(scope: Scope) -> str:
    """Return the template of the path, for example "/books/{id}"."""
    route = scope.get("route")
    endpoint = scope.get("endpoint")
    if route is None and endpoint is not None:
        # The router records the route only if it is one of FastAPI's, so find it by its endpoint.
        for candidate in scope["app"].routes:
            if endpoint in (getattr(candidate, name, None) for name in ("endpoint", "app")):
                route = candidate
                break
    return getattr(route, "path", UNKNOWN_ROUTE)
