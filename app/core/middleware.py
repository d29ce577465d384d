"""Plain ASGI around every request: its id and log line, and what holds for any path."""

import logging
import re
from secrets import token_hex
from time import perf_counter
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import InternalError
from app.core.logging import request_id
from app.core.problems import render

_ACCEPTABLE_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
HEAD: Final = "bookshelf.head"  # in the scope of a GET of which nobody wants the content
CLIENT_GONE: Final = 499  # nobody gets it: it is nginx's word for the log line
log = logging.getLogger("app.access")


class RequestContext:
    """Gives the request its id, logs one line when it is over, and answers what nobody caught."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"x-request-id"]
        acceptable = len(given) == 1 and _ACCEPTABLE_ID.fullmatch(given[0])
        identifier = given[0].decode() if acceptable else token_hex(16)
        token = request_id.set(identifier)
        start, status = perf_counter(), 0

        async def identified(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", identifier.encode()))
            await send(message)

        try:
            await self.app(scope, receive, identified)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if status:
                raise  # too late for an answer: the server has to cut the connection
            await render(Request(scope), InternalError())(scope, receive, identified)
        finally:
            milliseconds = (perf_counter() - start) * 1000
            log.info("%s %s %d %.1f ms", scope["method"], scope["path"], status, milliseconds)
            request_id.reset(token)


class Semantics:
    """HEAD is GET without its content, and a path with a trailing slash is the path without."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if "body" in message else message)

        if scope["type"] == "http" and len(scope["path"]) > 1 and scope["path"].endswith("/"):
            scope = {**scope, "path": scope["path"][:-1]}
        if scope["type"] == "http" and scope["method"] == "HEAD":
            await self.app({**scope, "method": "GET", HEAD: True}, receive, send_head)
        else:
            await self.app(scope, receive, send)
