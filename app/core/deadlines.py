"""Every request ends: so long after its last progress, whatever it waits for."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from math import inf
from typing import Any, Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import RequestTimeout, ServiceError, ShuttingDown, Unavailable
from app.core.problems import render

STEP: Final = 64 * 1024  # bytes of a body that are progress: what only drips in is none


class Deadline:
    """Answers a request that makes no progress for `seconds`, and then cancels its work.

    Progress is a `STEP` of the body that was received, or a part of the answer that was taken.
    While a client takes it nothing is counted: how long it may, streams decide. The answer is 408
    when it is the body that was waited for, else 503; one that has begun is cut off.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app, self._seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _Timed(scope, receive, send, self._seconds).run(self._app)
        else:
            await self._app(scope, receive, send)


class _Timed:
    """A request under way."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, seconds: float) -> None:
        self._scope, self._receive, self._send, self._seconds = scope, receive, send, seconds
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]
        self._received = self._strikes = 0
        self._waiting = self._begun = self._over = False
        self._answering: asyncio.Task[None] | None = None

    async def run(self, app: ASGIApp) -> None:
        _timed.set(self)
        self.restart()
        self._timer = self._loop.call_at(self._due, self._look)
        try:
            await app(self._scope, self._receiving, self._sending)
        except asyncio.CancelledError:
            if self._cancelled_by_others():
                if not self._begun:
                    await self._answer(ShuttingDown())
                raise
        finally:
            self._timer.cancel()
        if self._answering is not None:
            await self._answering
        elif self._strikes and not self._over:
            raise TimeoutError(f"no progress for {self._seconds:g} seconds")

    def restart(self) -> None:
        self._due = self._loop.time() + self._seconds

    async def _receiving(self) -> Message:
        self._waiting = True
        message = await self._receive()
        self._waiting = False
        self._received += len(message.get("body", b""))
        if self._received >= STEP:
            self._received = 0
            self.restart()
        return message

    async def _sending(self, message: Message) -> None:
        if self._answering is not None:
            return
        if message["type"] == "http.response.start":
            self._begun = True
            if self._stopping():
                message["headers"].append((b"connection", b"close"))
        else:
            self._over = not message.get("more_body", False)
        self._due = inf
        await self._send(message)
        self.restart()

    def _look(self) -> None:
        """Strike when it is time; and again, should what is cancelled not come to its end."""
        now = self._loop.time()
        if now >= self._due:
            if not (self._begun or self._strikes):
                error = RequestTimeout() if self._waiting else Unavailable()
                self._answering = self._loop.create_task(self._answer(error))
            self._strikes += 1
            self._task.cancel()
            self.restart()
        self._timer = self._loop.call_at(min(self._due, now + self._seconds), self._look)

    async def _answer(self, error: ServiceError) -> None:
        """Not when the work has been undone: that takes time of its own where a server is stuck."""
        response = render(Request(self._scope), error)
        response.headers["Connection"] = "close"
        await response(self._scope, self._receive, self._send)

    def _cancelled_by_others(self) -> bool:
        for _ in range(self._strikes):
            self._task.uncancel()
        return not self._strikes or self._task.cancelling() > 0

    def _stopping(self) -> bool:
        stopping: bool = self._scope["app"].state.readiness.stopping
        return stopping


_timed: ContextVar[_Timed | None] = ContextVar("timed", default=None)


def progress() -> Callable[[], object]:
    """What work in a thread calls now and then for its request; elsewhere it does nothing."""
    if (timed := _timed.get()) is None:
        return lambda: None
    return partial(asyncio.get_running_loop().call_soon_threadsafe, timed.restart)
