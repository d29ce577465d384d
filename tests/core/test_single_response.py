"""Each request gets one response, although its handler, a timeout or a shutdown may send it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.server import InactivityTimeoutMiddleware, Shutdown
from app.main import create_app
from tests.support.processes import TIMEOUT_SECONDS
from tests.support.resources import add_public_route
from tests.support.settings import make_settings
from tests.support.streamed_lists import asgi_scope

INACTIVITY_TIMEOUT = 0.2  # seconds
Handler = Callable[[], Awaitable[None]]


class SimulatedServer:
    """The server's side of ASGI: counts responses, and simulates a client that reads slowly.

    `send` blocks while `client_reads` is not set.
    """

    def __init__(self) -> None:
        self.client_reads = asyncio.Event()
        self.client_reads.set()
        self.send_was_called = asyncio.Event()
        self.response_is_complete = asyncio.Event()
        # The statuses of all responses that have been started.
        self.statuses = list[int]()

    async def receive(self) -> Message:
        """Block, because the client neither sends a body nor disconnects."""
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])
        self.send_was_called.set()
        await self.client_reads.wait()
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.response_is_complete.set()


class HangingHandler:
    """A handler that never responds. When it is cancelled, it cleans up until `may_end` is set.

    It raises `cleanup_error`, if there is one, at the end of its cleanup.
    """

    def __init__(self, cleanup_error: Exception | None = None) -> None:
        self.has_started = asyncio.Event()
        self.is_cleaning_up = asyncio.Event()
        self.may_end = asyncio.Event()
        self._cleanup_error = cleanup_error

    async def __call__(self) -> None:
        self.has_started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.is_cleaning_up.set()
            await self.may_end.wait()
            if self._cleanup_error is not None:
                raise self._cleanup_error


def create_middleware(app: ASGIApp) -> InactivityTimeoutMiddleware:
    """Return the middleware with a short timeout. A slow client has as much time in total."""
    return InactivityTimeoutMiddleware(app, INACTIVITY_TIMEOUT, 8 * 1024, Shutdown())


@pytest.fixture
def app(template_url: str) -> FastAPI:
    """An application with a short inactivity timeout."""
    settings = make_settings(
        template_url,
        request_timeout=INACTIVITY_TIMEOUT,
        # The settings require that these are shorter.
        db_pool_timeout=0.05,
        db_statement_timeout=0.05,
    )
    return create_app(settings)


def start_request(app: FastAPI, server: SimulatedServer, handler: Handler) -> asyncio.Task[None]:
    """Start a request to a new route with this handler. Return the task in which it runs."""
    add_public_route(app, "/slow", handler)
    return asyncio.create_task(app(asgi_scope("/slow"), server.receive, server.send))


async def read_response_late(server: SimulatedServer, task: asyncio.Task[None]) -> None:
    """Let the client wait for longer than the inactivity timeout, and then read the response."""
    await server.send_was_called.wait()
    await asyncio.wait({task}, timeout=3 * INACTIVITY_TIMEOUT)
    server.client_reads.set()


@pytest.fixture
async def server() -> SimulatedServer:
    return SimulatedServer()


async def test_shutdown_sends_no_second_response_after_a_timeout(
    app: FastAPI, server: SimulatedServer
) -> None:
    handler = HangingHandler()
    task = start_request(app, server, handler)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await server.response_is_complete.wait()
        await handler.is_cleaning_up.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert server.statuses == [503]


async def test_timeout_during_cleanup_after_shutdown_sends_one_response(
    app: FastAPI, server: SimulatedServer
) -> None:
    handler = HangingHandler()
    task = start_request(app, server, handler)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await handler.has_started.wait()
        task.cancel()
        await handler.is_cleaning_up.wait()
        await server.response_is_complete.wait()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert server.statuses == [503]


async def test_request_that_timed_out_ends_after_its_error_response(
    app: FastAPI, server: SimulatedServer
) -> None:
    server.client_reads.clear()
    handler = HangingHandler(cleanup_error=RuntimeError("the cleanup failed"))
    task = start_request(app, server, handler)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await server.send_was_called.wait()
        handler.may_end.set()
        await asyncio.wait({task}, timeout=INACTIVITY_TIMEOUT / 2)
        server.client_reads.set()
        with pytest.raises(RuntimeError, match="the cleanup failed"):
            await task
    assert server.response_is_complete.is_set()
    assert server.statuses == [503]


async def test_slow_client_gets_the_whole_error_response_of_a_timeout(
    app: FastAPI, server: SimulatedServer
) -> None:
    server.client_reads.clear()
    handler = HangingHandler()
    handler.may_end.set()
    task = start_request(app, server, handler)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await read_response_late(server, task)
        await task
    assert server.response_is_complete.is_set()
    assert server.statuses == [503]


async def test_slow_client_gets_one_response_when_the_server_shuts_down(
    app: FastAPI, server: SimulatedServer
) -> None:
    server.client_reads.clear()
    handler = HangingHandler()
    handler.may_end.set()
    task = start_request(app, server, handler)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await handler.has_started.wait()
        task.cancel()
        await read_response_late(server, task)
        with pytest.raises(asyncio.CancelledError):
            await task
    assert server.response_is_complete.is_set()
    assert server.statuses == [503]


async def test_response_of_a_handler_that_ignores_its_timeout_is_dropped(
    app: FastAPI, server: SimulatedServer
) -> None:
    async def ignore_cancellation() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    async with asyncio.timeout(TIMEOUT_SECONDS):
        await start_request(app, server, ignore_cancellation)
    assert server.statuses == [503]


async def test_failure_after_a_timeout_sends_no_second_response(
    app: FastAPI, server: SimulatedServer
) -> None:
    handler = HangingHandler(cleanup_error=RuntimeError("the cleanup failed"))
    handler.may_end.set()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(RuntimeError, match="the cleanup failed"):
            await start_request(app, server, handler)
    assert server.statuses == [503]


async def test_request_times_out_after_a_send_that_has_failed() -> None:
    is_cancelled = asyncio.Event()

    async def respond_and_hang(_scope: Scope, _receive: Receive, send: Send) -> None:
        with suppress(OSError):
            await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await asyncio.Event().wait()
        finally:
            is_cancelled.set()

    async def fail_to_send(_message: Message) -> None:
        raise OSError("the connection is lost")

    middleware = create_middleware(respond_and_hang)
    task = asyncio.create_task(middleware(asgi_scope("/"), SimulatedServer().receive, fail_to_send))
    await asyncio.wait({task}, timeout=TIMEOUT_SECONDS)
    assert task.done()
    with pytest.raises(TimeoutError, match="no progress"):
        task.result()
    assert is_cancelled.is_set()


async def test_request_whose_receive_was_cancelled_times_out_as_the_handler_does() -> None:
    async def check_for_disconnect_and_hang(_scope: Scope, receive: Receive, _send: Send) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await receive()
        await asyncio.Event().wait()

    server = SimulatedServer()
    middleware = create_middleware(check_for_disconnect_and_hang)
    await middleware(asgi_scope("/"), server.receive, server.send)
    assert server.statuses == [503]


async def test_end_of_a_small_body_is_progress() -> None:
    loop = asyncio.get_running_loop()
    body_ended_at = 0.0

    async def read_and_hang(_scope: Scope, receive: Receive, _send: Send) -> None:
        nonlocal body_ended_at
        await receive()
        body_ended_at = loop.time()
        await asyncio.Event().wait()

    async def receive_late() -> Message:
        """Return the whole body after most of the timeout has passed."""
        body_has_arrived = loop.create_future()
        loop.call_later(0.8 * INACTIVITY_TIMEOUT, body_has_arrived.set_result, None)
        await body_has_arrived
        return {"type": "http.request", "body": b"small", "more_body": False}

    server = SimulatedServer()
    middleware = create_middleware(read_and_hang)
    await middleware(asgi_scope("/"), receive_late, server.send)
    assert server.statuses == [503]
    assert loop.time() - body_ended_at >= 0.9 * INACTIVITY_TIMEOUT
