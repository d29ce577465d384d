"""Plain ASGI around every request: its id and log line, and what holds for any path."""

import logging
import re
from secrets import token_hex
from time import perf_counter
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import InternalError
from app.core.http import MAX_PATH, render, request_state
from app.core.observability import (
    REQUESTS_IN_FLIGHT,
    Spent,
    record_request,
    request_id,
    spending,
    told,
)
from app.core.server._request_limits import secure
from app.core.server._telemetry import label_span

_ACCEPTABLE_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
CLIENT_GONE: Final = 499  # nobody gets it: it is nginx's word for the log line
# Longer than any id: it may be a token, sent where its id belongs.
_NO_ID: Final = re.compile(r"[^/]{37,}")
UNKNOWN: Final = "unknown"  # the route of every path that nobody knows
log = logging.getLogger("app.access")


class RequestContext:
    """Gives the request its id, logs one line when it is over, and answers what nobody caught."""

    def __init__(self, app: ASGIApp, *, timing: bool = False, metered: bool = False) -> None:
        self.app, self.timing, self.metered = app, timing, metered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identifier, path = _identifier(scope), _path(scope)
        spent = Spent(traced=label_span(scope, identifier, path))
        names = request_id.set(identifier), spending.set(spent)
        start, status, failure = perf_counter(), 0, None

        async def identified(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                secure(message)
                message["headers"].append((b"x-request-id", identifier.encode()))
                if self.timing:
                    timing = spent.server_timing(perf_counter() - start)
                    message["headers"].append((b"server-timing", timing.encode()))
            await send(message)

        if self.metered:
            REQUESTS_IN_FLIGHT.inc()
        try:
            await self.app(scope, receive, identified)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception as error:
            failure = error
            if status:
                raise  # too late for an answer: the server has to cut the connection
            await render(Request(scope), InternalError())(scope, receive, identified)
        finally:
            seconds = perf_counter() - start
            if self.metered:
                REQUESTS_IN_FLIGHT.dec()
                record_request(scope["method"], _route(scope), status, seconds)
            _note(scope, path, status, seconds, spent, failure)
            request_id.reset(names[0])
            spending.reset(names[1])


def _identifier(scope: Scope) -> str:
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    acceptable = len(given) == 1 and _ACCEPTABLE_ID.fullmatch(given[0])
    return given[0].decode() if acceptable else token_hex(16)


def _path(scope: Scope) -> str:
    return _NO_ID.sub("...", scope["path"][:MAX_PATH])


def _route(scope: Scope) -> str:
    """The template of the path. The router names those of FastAPI's own kind only."""
    if (route := scope.get("route")) is None and (endpoint := scope.get("endpoint")) is not None:
        routes = scope["app"].routes
        route = next((r for r in routes if endpoint in (getattr(r, "endpoint", None), r.app)), None)
    return getattr(route, "path", UNKNOWN)


def _note(
    scope: Scope, path: str, status: int, seconds: float, spent: Spent, failure: Exception | None
) -> None:
    level = logging.ERROR if failure else logging.INFO
    if not log.isEnabledFor(level):
        return
    about = {
        "method": scope["method"],
        "route": _route(scope),
        "path": path,
        "status": status,
        "duration_ms": round(seconds * 1000, 2),
        "sql": spent.statements,
        "sql_ms": round(spent.seconds * 1000, 2),
    }
    log.log(level, "request", exc_info=failure, extra=about)
    if failure is not None:
        told(failure)


class Semantics:
    """HEAD is GET without its content, and a path with a trailing slash is the path without."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_head(message: Message) -> None:
            await client({**message, "body": b""} if "body" in message else message)

        inner, client = scope, send
        if scope["type"] == "http" and len(scope["path"]) > 1 and scope["path"].endswith("/"):
            inner = {**scope, "path": scope["path"][:-1]}
        if scope["type"] == "http" and scope["method"] == "HEAD":
            inner, send = {**inner, "method": "GET"}, send_head
            request_state(inner).is_head = True
        try:
            await self.app(inner, receive, send)
        finally:
            scope.update(route=inner.get("route"), endpoint=inner.get("endpoint"))  # for the log
