"""Refusals of the protocol on a connection on which the application responds, or has responded."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from app.core.server import HttpProtocol
from tests.support.connections import tcp_connection
from tests.support.processes import TIMEOUT_SECONDS

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
GARBAGE = b"\x16\x03\x01 is not HTTP\r\n\r\n"
REFUSED = b"HTTP/1.1 400 "
Respond = Callable[[Receive, Send], Awaitable[None]]


@asynccontextmanager
async def listening(respond: Respond) -> AsyncIterator[str]:
    """The origin of a server with our protocol in front of this application."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # The path on which a test asks whether the server has read all that was sent before.
        if scope["path"] == "/barrier":
            await start(send, 0)
            await body(send, b"")
        else:
            await respond(receive, send)

    server = await serve(app)
    async with server:
        yield "http://127.0.0.1:{1}".format(*server.sockets[0].getsockname())


async def serve(app: ASGIApp) -> asyncio.Server:
    config = uvicorn.Config(app, http=HttpProtocol, log_config=None, access_log=False)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: HttpProtocol(config, state, {}), "127.0.0.1", 0)


async def start(send: Send, length: int) -> None:
    headers = [(b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def body(send: Send, content: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": content, "more_body": more})


async def pass_barrier(origin: str) -> None:
    """Wait until the server has read what was sent on other connections before."""
    async with tcp_connection(origin) as (reader, writer):
        writer.write(b"GET /barrier HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        await reader.read()


@pytest.fixture(autouse=True)
async def in_time() -> AsyncIterator[None]:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        yield


async def test_garbage_behind_a_request_does_not_replace_its_response() -> None:
    async def respond(_: Receive, send: Send) -> None:
        await start(send, 2)
        await body(send, b"ok")

    async with listening(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET + GARBAGE)
        response = await reader.read()
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in response
    assert response.endswith(b"\r\n\r\nok")


async def test_garbage_behind_several_requests_leaves_the_first_response_whole() -> None:
    count = 0

    async def respond(_: Receive, send: Send) -> None:
        nonlocal count
        count += 1
        await start(send, 2)
        await body(send, b"ok")

    async with listening(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET + GET + GARBAGE)
        response = await reader.read()
    assert count == response.count(b"HTTP/1.1 200 ") == 1
    assert response.endswith(b"\r\n\r\nok")


async def test_garbage_during_a_response_does_not_break_into_it() -> None:
    may_end = asyncio.Event()

    async def respond(_: Receive, send: Send) -> None:
        await start(send, 4)
        await body(send, b"ab", more=True)
        await may_end.wait()
        await body(send, b"cd")

    async with listening(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET)
        response = await reader.readuntil(b"ab")
        writer.write(GARBAGE)
        await pass_barrier(origin)
        writer.write(GARBAGE)
        await pass_barrier(origin)
        may_end.set()
        response += await reader.read()
    assert response.endswith(b"\r\n\r\nabcd")


async def test_malformed_body_during_a_response_cuts_it_off() -> None:
    gone = asyncio.Event()

    async def respond(receive: Receive, send: Send) -> None:
        await receive()
        await start(send, 4)
        await body(send, b"ab", more=True)
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async with listening(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(POST)
        response = await reader.readuntil(b"ab")
        writer.write(GARBAGE)
        response += await reader.read()
        await gone.wait()
    assert response.endswith(b"\r\n\r\nab")


async def test_malformed_body_after_its_response_gets_no_second_one() -> None:
    async def respond(receive: Receive, send: Send) -> None:
        await receive()
        await start(send, 2)
        await body(send, b"ok")

    async with listening(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(POST)
        response = await reader.readuntil(b"ok")
        writer.write(GARBAGE)
        assert await reader.read() == b""
    assert response.startswith(b"HTTP/1.1 200 ")


async def test_malformed_body_is_400_and_the_handler_can_send_nothing_more() -> None:
    ended = asyncio.Event()

    async def respond(receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await start(send, 2)
        await body(send, b"ok")
        ended.set()

    async with listening(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(POST + GARBAGE)
        response = await reader.read()
        await ended.wait()
    assert response.startswith(REFUSED)
    assert response.count(b"HTTP/1.1 ") == 1


async def test_garbage_after_a_response_is_400() -> None:
    async def respond(_: Receive, send: Send) -> None:
        await start(send, 2)
        await body(send, b"ok")

    async with listening(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET)
        await reader.readuntil(b"ok")
        writer.write(GARBAGE)
        assert (await reader.read()).startswith(REFUSED)
