"""Malformed bytes that follow a request: each request gets exactly one response.

`HttpProtocol` documents the outcome for each state of the response.
"""

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

GET_REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
# A request whose body has only its first chunk.
INCOMPLETE_POST_REQUEST = (
    b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
)
MALFORMED = b"\x16\x03\x01 is not HTTP\r\n\r\n"
BAD_REQUEST = b"HTTP/1.1 400 "
# A request on another connection to this path is handled after all bytes that were sent before.
BARRIER_PATH = "/barrier"
# Handles the requests of a test.
Respond = Callable[[Receive, Send], Awaitable[None]]


@asynccontextmanager
async def running_server(respond: Respond) -> AsyncIterator[str]:
    """Serve an application that calls `respond` for each request. Yield the origin."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == BARRIER_PATH:
            await start_response(send, content_length=0)
            await send_body(send, b"")
        else:
            await respond(receive, send)

    server = await start_server(app)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


async def start_server(app: ASGIApp) -> asyncio.Server:
    config = uvicorn.Config(app, http=HttpProtocol, log_config=None, access_log=False)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: HttpProtocol(config, state, {}), "127.0.0.1", 0)


async def start_response(send: Send, content_length: int) -> None:
    headers = [(b"content-length", str(content_length).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def send_body(send: Send, chunk: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def respond_ok(_: Receive, send: Send) -> None:
    await start_response(send, content_length=2)
    await send_body(send, b"ok")


async def wait_for_disconnect(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return


async def wait_until_server_has_read(origin: str) -> None:
    """Wait until the server has read the bytes that were sent on other connections before."""
    async with tcp_connection(origin) as (reader, writer):
        request = f"GET {BARRIER_PATH} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        await reader.read()


@pytest.fixture(autouse=True)
async def _test_timeout() -> AsyncIterator[None]:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        yield


async def test_malformed_bytes_behind_a_request_do_not_replace_its_response() -> None:
    async with running_server(respond_ok) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET_REQUEST + MALFORMED)
        response = await reader.read()
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in response
    assert response.endswith(b"\r\n\r\nok")


async def test_malformed_bytes_behind_two_requests_do_not_replace_the_first_response() -> None:
    request_count = 0

    async def respond(receive: Receive, send: Send) -> None:
        nonlocal request_count
        request_count += 1
        await respond_ok(receive, send)

    async with running_server(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET_REQUEST + GET_REQUEST + MALFORMED)
        response = await reader.read()
    assert request_count == response.count(b"HTTP/1.1 200 ") == 1
    assert response.endswith(b"\r\n\r\nok")


async def test_malformed_bytes_during_a_response_do_not_interrupt_it() -> None:
    may_complete = asyncio.Event()

    async def respond(_: Receive, send: Send) -> None:
        await start_response(send, content_length=4)
        await send_body(send, b"ab", more=True)
        await may_complete.wait()
        await send_body(send, b"cd")

    async with running_server(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET_REQUEST)
        response = await reader.readuntil(b"ab")
        for _ in range(2):
            writer.write(MALFORMED)
            await wait_until_server_has_read(origin)
        may_complete.set()
        response += await reader.read()
    assert response.endswith(b"\r\n\r\nabcd")


async def test_malformed_body_cuts_off_a_response_that_has_started() -> None:
    is_disconnected = asyncio.Event()

    async def respond(receive: Receive, send: Send) -> None:
        await receive()
        await start_response(send, content_length=4)
        await send_body(send, b"ab", more=True)
        await wait_for_disconnect(receive)
        is_disconnected.set()

    async with running_server(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(INCOMPLETE_POST_REQUEST)
        response = await reader.readuntil(b"ab")
        writer.write(MALFORMED)
        response += await reader.read()
        await is_disconnected.wait()
    assert response.endswith(b"\r\n\r\nab")


async def test_malformed_body_after_a_complete_response_closes_the_connection() -> None:
    async def respond(receive: Receive, send: Send) -> None:
        await receive()
        await respond_ok(receive, send)

    async with running_server(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(INCOMPLETE_POST_REQUEST)
        response = await reader.readuntil(b"ok")
        writer.write(MALFORMED)
        assert await reader.read() == b""
    assert response.startswith(b"HTTP/1.1 200 ")


async def test_malformed_body_before_the_response_is_400_and_the_only_response() -> None:
    has_responded = asyncio.Event()

    async def respond(receive: Receive, send: Send) -> None:
        await wait_for_disconnect(receive)
        await respond_ok(receive, send)
        has_responded.set()

    async with running_server(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(INCOMPLETE_POST_REQUEST + MALFORMED)
        response = await reader.read()
        await has_responded.wait()
    assert response.startswith(BAD_REQUEST)
    assert response.count(b"HTTP/1.1 ") == 1


async def test_malformed_bytes_after_a_complete_response_are_400() -> None:
    async with running_server(respond_ok) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET_REQUEST)
        await reader.readuntil(b"ok")
        writer.write(MALFORMED)
        assert (await reader.read()).startswith(BAD_REQUEST)
