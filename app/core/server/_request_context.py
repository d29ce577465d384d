"""The outermost middleware: request id, statistics, log line and the last error handler."""

import logging
import re
from time import perf_counter
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import InternalError
from app.core.http import MAX_PATH_LENGTH, StreamCutOff, problem_response
from app.core.observability import (
    RequestFields,
    RequestStats,
    current_request_id,
    current_request_stats,
    export_requests_in_flight,
    log_request,
    logs_requests,
    mark_logged,
    new_request_id,
    record_request,
)
from app.core.server._cors import CorsPolicy
from app.core.server._handled_route import find_route_path
from app.core.server._security_headers import add_security_headers
from app.core.server._telemetry import annotate_span, current_trace_id, is_traced

# The recorded status if the client closes the connection before it gets a response. nginx uses the
# same number.
CLIENT_CLOSED_REQUEST: Final = 499
# Printable ASCII characters without spaces.
_VALID_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
# A path segment longer than a UUID may be a secret, such as a token in the wrong place.
_LONG_PATH_SEGMENT: Final = re.compile(r"[^/]{37,}")


class RequestContextMiddleware:
    """Outermost middleware, which identifies each request and records it in the log and metrics.

    It also adds the headers that every response has, and responds to unhandled errors with a 500.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        cors_policy: CorsPolicy | None = None,
        server_timing_enabled: bool = False,
        metrics_enabled: bool = False,
    ) -> None:
        """Create the middleware.

        Args:
            app: The application that handles the requests.
            cors_policy: The origins whose pages may read responses, or None to allow no origin.
            server_timing_enabled: Whether responses get a `Server-Timing` header.
            metrics_enabled: Whether requests are recorded in the metrics.
        """
        self._app = app
        self._cors_policy = cors_policy
        self._server_timing_enabled = server_timing_enabled
        self._metrics_enabled = metrics_enabled
        self._requests_in_flight = 0
        if metrics_enabled:
            export_requests_in_flight(lambda: self._requests_in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the request an id and statistics, run the application, and record the outcome."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        request = _ObservedRequest(
            scope,
            send,
            cors_policy=self._cors_policy,
            server_timing_enabled=self._server_timing_enabled,
        )
        # The log formatter and the database sessions read these context variables.
        id_token = current_request_id.set(request.id)
        stats_token = current_request_stats.set(request.stats)
        self._requests_in_flight += 1
        try:
            await request.run(self._app, receive)
        finally:
            self._requests_in_flight -= 1
            request.record_outcome(metrics_enabled=self._metrics_enabled)
            current_request_stats.reset(stats_token)
            current_request_id.reset(id_token)


class _ObservedRequest:
    """A request in progress, with everything that is recorded about it and its response."""

    def __init__(
        self,
        scope: Scope,
        send: Send,
        *,
        cors_policy: CorsPolicy | None,
        server_timing_enabled: bool,
    ) -> None:
        """Choose the id of the request, and start to measure its time.

        The id is also added to the request's span if the request is traced.
        """
        self._started_at = perf_counter()
        self._scope = scope
        self._send = send
        self._cors_policy = cors_policy
        self._server_timing_enabled = server_timing_enabled

        # The status of the response, for example 404. It is 0 until the response has started.
        self._status = 0
        # The reason why the response is incomplete, for example that the client reads too slowly.
        self._cut_off_reason: str | None = None
        # The unhandled error that the application raised.
        self._error: Exception | None = None

        self.id = _choose_request_id(scope)
        self.stats = RequestStats()
        if is_traced(scope):
            self.stats.has_span = annotate_span(scope, self.id, _loggable_path(scope))

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        """Run the application. If it raises an unhandled error, respond with a 500.

        If the response has already been started, this raises the application's error again. The
        server then closes the connection, so that the client sees an incomplete response.
        """
        try:
            await app(self._scope, receive, self._observed_send)
        except ClientDisconnect:
            # The client has closed the connection before it had sent the whole request body.
            self._status = CLIENT_CLOSED_REQUEST
        except StreamCutOff as error:
            # The server closes the connection, because the client is too slow.
            self._status = CLIENT_CLOSED_REQUEST
            self._cut_off_reason = str(error)
            # The line of the request is enough. uvicorn would log a traceback.
            mark_logged(error)
            raise
        except Exception as error:
            self._error = error
            response_has_started = self._status != 0
            if response_has_started:
                raise
            response = problem_response(Request(self._scope), InternalError())
            await response(self._scope, receive, self._observed_send)

    def record_outcome(self, *, metrics_enabled: bool) -> None:
        """Record the completed request in the log, and in the metrics if they are enabled."""
        duration_seconds = perf_counter() - self._started_at
        route = find_route_path(self._scope)
        if metrics_enabled:
            trace_id = current_trace_id() if self.stats.has_span else None
            record_request(self._scope["method"], route, self._status, duration_seconds, trace_id)

        level = logging.INFO
        if self._cut_off_reason is not None:
            level = logging.WARNING
        if self._error is not None:
            level = logging.ERROR
        if logs_requests(level):
            self._write_log_line(level, route, duration_seconds)

    async def _observed_send(self, message: Message) -> None:
        """Send a message of the response. In the first one, read the status and add headers."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            # A mounted application may omit its headers, or send the same list in all responses.
            message["headers"] = [*message.get("headers", ())]
            self._add_headers(message["headers"])
        await self._send(message)

    def _add_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Add the headers that every response has, and `Server-Timing` if it is enabled."""
        add_security_headers(headers)
        if self._cors_policy is not None:
            self._cors_policy.add_headers(self._scope["headers"], headers)
        headers.append((b"x-request-id", self.id.encode()))
        if self._server_timing_enabled:
            server_timing = self.stats.format_server_timing(perf_counter() - self._started_at)
            headers.append((b"server-timing", server_timing.encode()))

    def _write_log_line(self, level: int, route: str, duration_seconds: float) -> None:
        """Log the request and its response, with the traceback if there was an unhandled error."""
        fields: RequestFields = {
            "method": self._scope["method"],
            "route": route,
            "path": _loggable_path(self._scope),
            "status": self._status,
            "duration_ms": round(duration_seconds * 1000, 2),
            "sql": self.stats.statement_count,
            "sql_ms": round(self.stats.statement_seconds * 1000, 2),
        }
        if self._cut_off_reason is not None:
            fields["cut_off"] = self._cut_off_reason
        log_request(level, fields, self._error)


def _choose_request_id(scope: Scope) -> str:
    """Return the value of the `X-Request-ID` header if the client sent a valid one.

    Otherwise, return a new id.
    """
    client_ids: list[bytes] = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(client_ids) == 1 and _VALID_REQUEST_ID.fullmatch(client_ids[0]):
        return client_ids[0].decode()
    return new_request_id()


def _loggable_path(scope: Scope) -> str:
    """Return the path of a request, with "..." in place of segments that may be secrets."""
    path = _LONG_PATH_SEGMENT.sub("...", scope["path"])
    # JSON needs up to 12 bytes for a character. A line of at most 4 KiB is written in one piece.
    return path[: MAX_PATH_LENGTH if path.isascii() else MAX_PATH_LENGTH // 2]
