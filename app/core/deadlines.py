"""Every request ends: so long after its last progress, whatever it waits for."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from math import inf
from time import monotonic
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
        self._looking = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        timed = _Timed(scope, receive, send, self._seconds)
        _under_way.add(timed)
        if not self._looking:  # one timer for all: one of each would double what this costs
            self._look()
        try:
            await timed.run(self._app)
        finally:
            _under_way.discard(timed)

    def _look(self) -> None:
        now = monotonic()
        for timed in _under_way:
            if now >= timed.due:
                timed.strike()
        self._looking = bool(_under_way)
        if self._looking:
            soonest = min(timed.due for timed in _under_way)
            delay = min(soonest - now, self._seconds)
            asyncio.get_running_loop().call_later(delay, self._look)


class _Timed:
    """A request under way, and when it is due."""

    _received = _strikes = 0
    _waiting = _begun = _over = False
    _answering: asyncio.Task[None] | None = None

    def __init__(self, scope: Scope, receive: Receive, send: Send, seconds: float) -> None:
        self._scope, self._receive, self._send, self._seconds = scope, receive, send, seconds
        self.task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]
        self._context = copy_context()
        self.due = monotonic() + seconds

    async def run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self._receiving, self._sending)
        except asyncio.CancelledError:
            if self._cancelled_by_others():
                if not self._begun:
                    await self._answer(ShuttingDown())
                raise
        if self._answering is not None:
            await self._answering
        elif self._strikes and not self._over:
            raise TimeoutError(f"no progress for {self._seconds:g} seconds")

    def restart(self) -> None:
        self.due = monotonic() + self._seconds

    def strike(self) -> None:
        """Answer and cancel; later again, should what is cancelled not come to its end."""
        if not (self._begun or self._strikes):
            answer = self._answer(RequestTimeout() if self._waiting else Unavailable())
            self._answering = asyncio.get_running_loop().create_task(answer, context=self._context)
        self._strikes += 1
        self.task.cancel()
        self.restart()

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
        self.due = inf
        await self._send(message)
        self.restart()

    async def _answer(self, error: ServiceError) -> None:
        """Not when the work has been undone: that takes time of its own where a server is stuck."""
        response = render(Request(self._scope), error)
        response.headers["Connection"] = "close"
        await response(self._scope, self._receive, self._send)

    def _cancelled_by_others(self) -> bool:
        for _ in range(self._strikes):
            self.task.uncancel()
        return not self._strikes or self.task.cancelling() > 0

    def _stopping(self) -> bool:
        stopping: bool = self._scope["app"].state.readiness.stopping
        return stopping


_under_way: Final = set[_Timed]()


def progress() -> Callable[[], object]:
    """What work in a thread calls now and then for its request; elsewhere it does nothing."""
    task = asyncio.current_task()
    return next((t.restart for t in _under_way if t.task is task), lambda: None)
