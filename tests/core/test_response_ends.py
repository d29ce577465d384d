"""Requests that two parties may end: each gets one response, whoever is first."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from app.core.server import InactivityTimeout, Shutdown
from app.main import create_app
from tests.conftest import make_settings
from tests.support.processes import TIMEOUT_SECONDS
from tests.support.resources import add_public_route
from tests.support.streamed_lists import asgi_scope

TIMEOUT = 0.2  # seconds until a request without progress is ended
Handler = Callable[[], Awaitable[None]]


class Server:
    """The server at the other end of ASGI, whose client reads only while `reads` is set."""

    def __init__(self) -> None:
        self.reads, self.complete, self.asked = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.reads.set()
        self.statuses = list[int]()  # of responses that anybody has begun to send

    async def receive(self) -> Message:
        await asyncio.Event().wait()
        raise AssertionError("nobody disconnects here")

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])
        self.asked.set()
        await self.reads.wait()
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete.set()


class Cleaning:
    """A handler that never responds, and that needs a while to clean up once it is cancelled."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs, self.cleans, self.may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._error = error

    async def __call__(self) -> None:
        self.runs.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cleans.set()
            await self.may_end.wait()
            if self._error is not None:
                raise self._error


@pytest.fixture
def app(template_url: str) -> FastAPI:
    # The database's timeouts must be shorter; no test here uses it.
    database = {"db_pool_timeout": 0.05, "db_statement_timeout": 0.05}
    return create_app(make_settings(template_url, request_timeout=TIMEOUT, **database))


def request(app: FastAPI, server: Server, handler: Handler) -> asyncio.Task[None]:
    """The task in which a server runs a request."""
    add_public_route(app, "/slow", handler)
    return asyncio.create_task(app(asgi_scope("/slow"), server.receive, server.send))


@pytest.fixture
async def server() -> Server:
    return Server()


async def test_shutdown_sends_no_second_response_after_a_timeout(
    app: FastAPI, server: Server
) -> None:
    handler = Cleaning()
    task = request(app, server, handler)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await server.complete.wait()
        await handler.cleans.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert server.statuses == [503]


async def test_timeout_during_cleanup_after_shutdown_sends_one_response(
    app: FastAPI, server: Server
) -> None:
    handler = Cleaning()
    task = request(app, server, handler)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await handler.runs.wait()
        task.cancel()
        await handler.cleans.wait()
        await server.complete.wait()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert server.statuses == [503]


async def test_request_that_timed_out_ends_after_its_error_response(
    app: FastAPI, server: Server
) -> None:
    server.reads.clear()
    handler = Cleaning(error=RuntimeError("the cleanup failed"))
    task = request(app, server, handler)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await server.asked.wait()
        handler.may_end.set()
        await asyncio.wait({task}, timeout=TIMEOUT / 2)
        server.reads.set()
        with pytest.raises(RuntimeError, match="the cleanup failed"):
            await task
    assert server.complete.is_set()
    assert server.statuses == [503]


async def test_slow_client_gets_the_whole_error_response_of_a_timeout(
    app: FastAPI, server: Server
) -> None:
    server.reads.clear()
    handler = Cleaning()
    handler.may_end.set()
    task = request(app, server, handler)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await server.asked.wait()
        await asyncio.wait({task}, timeout=3 * TIMEOUT)  # the client is slower than the timeout
        server.reads.set()
        await task
    assert server.complete.is_set()
    assert server.statuses == [503]


async def test_slow_client_gets_one_response_when_the_server_shuts_down(
    app: FastAPI, server: Server
) -> None:
    server.reads.clear()
    handler = Cleaning()
    handler.may_end.set()
    task = request(app, server, handler)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await handler.runs.wait()
        task.cancel()
        await server.asked.wait()
        await asyncio.wait({task}, timeout=3 * TIMEOUT)  # the client is slower than the timeout
        server.reads.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert server.complete.is_set()
    assert server.statuses == [503]


async def test_response_of_a_handler_that_ignores_its_timeout_is_dropped(
    app: FastAPI, server: Server
) -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    async with asyncio.timeout(TIMEOUT_SECONDS):
        await request(app, server, stubborn)
    assert server.statuses == [503]


async def test_failure_after_a_timeout_sends_no_second_response(
    app: FastAPI, server: Server
) -> None:
    handler = Cleaning(error=RuntimeError("the cleanup failed"))
    handler.may_end.set()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(RuntimeError, match="the cleanup failed"):
            await request(app, server, handler)
    assert server.statuses == [503]


async def test_request_times_out_after_a_send_that_has_failed() -> None:
    cancelled = asyncio.Event()

    async def respond_and_hang(_scope: Scope, _receive: Receive, send: Send) -> None:
        with suppress(OSError):
            await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def fail(_message: Message) -> None:
        raise OSError("the connection is lost")

    timed = InactivityTimeout(respond_and_hang, TIMEOUT, Shutdown())
    task = asyncio.create_task(timed(asgi_scope("/"), Server().receive, fail))
    await asyncio.wait({task}, timeout=TIMEOUT_SECONDS)
    assert task.done()
    with pytest.raises(TimeoutError, match="no progress"):
        task.result()
    assert cancelled.is_set()


async def test_request_whose_receive_was_cancelled_times_out_as_the_handler_does() -> None:
    async def look_for_a_disconnect_and_hang(_scope: Scope, receive: Receive, _send: Send) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await receive()
        await asyncio.Event().wait()

    server = Server()
    timed = InactivityTimeout(look_for_a_disconnect_and_hang, TIMEOUT, Shutdown())
    await timed(asgi_scope("/"), server.receive, server.send)
    assert server.statuses == [503]


async def test_end_of_a_small_body_is_progress() -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def read_and_hang(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        times.append(loop.time())
        await asyncio.Event().wait()

    async def receive_late() -> Message:
        """The body takes most of the time that a request without progress has."""
        received = loop.create_future()
        loop.call_later(0.8 * TIMEOUT, received.set_result, None)
        await received
        return {"type": "http.request", "body": b"small", "more_body": False}

    server = Server()
    timed = InactivityTimeout(read_and_hang, TIMEOUT, Shutdown())
    await timed(asgi_scope("/"), receive_late, server.send)
    assert server.statuses == [503]
    assert loop.time() - times[0] >= 0.9 * TIMEOUT
