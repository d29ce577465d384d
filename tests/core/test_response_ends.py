"""Requests that two parties may end: each gets one response, whoever is first."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from fastapi import FastAPI
from starlette.types import Message

from app.main import create_app
from tests.conftest import settings_for
from tests.lines import scope
from tests.processes import PATIENCE
from tests.support.resources import add_public_route

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
    return create_app(settings_for(template_url, request_timeout=TIMEOUT, **database))


def request(app: FastAPI, server: Server, handler: Handler) -> asyncio.Task[None]:
    """The task in which a server runs a request."""
    add_public_route(app, "/slow", handler)
    return asyncio.create_task(app(scope("/slow"), server.receive, server.send))


@pytest.fixture
async def server() -> Server:
    return Server()


async def test_shutdown_sends_no_second_response_after_a_timeout(
    app: FastAPI, server: Server
) -> None:
    handler = Cleaning()
    task = request(app, server, handler)
    async with asyncio.timeout(PATIENCE):
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
    async with asyncio.timeout(PATIENCE):
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
    async with asyncio.timeout(PATIENCE):
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
    async with asyncio.timeout(PATIENCE):
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
    async with asyncio.timeout(PATIENCE):
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

    async with asyncio.timeout(PATIENCE):
        await request(app, server, stubborn)
    assert server.statuses == [503]


async def test_failure_after_a_timeout_sends_no_second_response(
    app: FastAPI, server: Server
) -> None:
    handler = Cleaning(error=RuntimeError("the cleanup failed"))
    handler.may_end.set()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(RuntimeError, match="the cleanup failed"):
            await request(app, server, handler)
    assert server.statuses == [503]
