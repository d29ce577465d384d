"""Plain ASGI around every request: its id, its log line, and what holds for any path."""

import logging
import re
from time import perf_counter
from typing import Final
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core import problems
from app.core.errors import InternalError
from app.core.logging import request_id

_ACCEPTABLE_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
log = logging.getLogger("app.access")


class RequestContext:
    """Gives the request its id, logs one line when it is over, and answers what nobody caught."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identifier = _identifier(scope)
        token = request_id.set(identifier)
        started, status = perf_counter(), 0

        async def identified(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = identifier
            await send(message)

        try:
            await self.app(scope, receive, identified)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if status:
                raise  # too late for an answer: the server has to cut the connection
            await problems.render(Request(scope), InternalError())(scope, receive, identified)
        finally:
            took = (perf_counter() - started) * 1000
            log.info("%s %s %d %.1f ms", scope["method"], scope["path"], status, took)
            request_id.reset(token)


def _identifier(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _ACCEPTABLE_ID.fullmatch(given) else uuid4().hex


class Semantics:
    """HEAD is GET without its content, and a path with a trailing slash is the path without."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if len(scope["path"]) > 1 and scope["path"].endswith("/"):
                scope = {**scope, "path": scope["path"][:-1]}
            if scope["method"] == "HEAD":
                scope, send = {**scope, "method": "GET"}, _without_content(send)
        await self.app(scope, receive, send)


def _without_content(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return sent
