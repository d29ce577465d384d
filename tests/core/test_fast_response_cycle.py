"""The HTTP fast path of the server sends the bytes that uvicorn sends."""

import asyncio

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.connections import tcp_connection
from tests.support.protocol_server import (
    GET_REQUEST,
    read_body,
    send_body,
    serving_app,
    start_response,
)
from tests.support.raw_requests import exchange_bytes

pytestmark = pytest.mark.usefixtures("time_limit")
Headers = list[tuple[bytes, bytes]]
LENGTH = (b"content-length", b"2")
CLOSING_GET = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
HEAD_REQUEST = b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\n"
POST_REQUEST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc"
# The client waits for the head of the response before it sends the body.
WAITING_POST_REQUEST = POST_REQUEST.removesuffix(b"abc")
# The headers of responses with the body `ok`. uvicorn refuses some of them.
HEADERS: list[Headers] = [
    [LENGTH],
    [],
    [LENGTH, (b"x-name", b"value\twith tab"), (b"x-name", b"\xe9")],
    [(b"x-empty", b""), LENGTH],
    [LENGTH, (b"Etag", b'"1"')],
    [LENGTH, (b"connection", b"close")],
    [LENGTH, (b"connection", b"keep-alive")],
    [(b"transfer-encoding", b"chunked")],
    [(b"Content-Length", b"2")],
    [LENGTH, LENGTH],
    [LENGTH, (b"x-wrong", b"a\r\nb: c")],
    [LENGTH, (b"x-wrong", b"a\nb")],
    [LENGTH, (b"x-wrong", b"\x00")],
    [LENGTH, (b"x-wrong", b"\x7f")],
    [LENGTH, (b"x wrong", b"a")],
    [(b"content-length", b"x")],
    [(b"content-length", b"3")],
    [(b"content-length", b"1")],
]


def create_app(status: int, headers: Headers) -> ASGIApp:
    """Return an application that responds with `ok`."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await send({"type": "http.response.start", "status": status, "headers": [*headers]})
        await send_body(send, b"ok")

    return app


async def receive_responses(app: ASGIApp, request: bytes, *, http_fast_path: bool) -> bytes:
    """Send a request and then one more. Return all bytes that the server sends."""
    async with serving_app(app, http_fast_path=http_fast_path) as origin:
        return await exchange_bytes(origin, request + CLOSING_GET)


@pytest.mark.parametrize("request_bytes", [GET_REQUEST, CLOSING_GET, HEAD_REQUEST, POST_REQUEST])
@pytest.mark.parametrize("status", [200, 201, 204, 304, 404])
async def test_fast_path_sends_the_bytes_of_uvicorn(request_bytes: bytes, status: int) -> None:
    for headers in HEADERS:
        app = create_app(status, headers)
        expected = await receive_responses(app, request_bytes, http_fast_path=False)
        response = await receive_responses(app, request_bytes, http_fast_path=True)
        assert response == expected, headers


@pytest.mark.parametrize("http_fast_path", [True, False])
async def test_head_and_body_are_one_write(http_fast_path: bool) -> None:
    async with (
        serving_app(create_app(200, [LENGTH]), http_fast_path=http_fast_path) as origin,
        tcp_connection(origin) as (reader, writer),
    ):
        writer.write(GET_REQUEST)
        first_bytes = await reader.read(1024)
    assert first_bytes.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("http_fast_path", [True, False])
@pytest.mark.parametrize("request_bytes", [GET_REQUEST, WAITING_POST_REQUEST])
async def test_head_is_sent_while_the_application_waits_before_the_body(
    request_bytes: bytes, http_fast_path: bool
) -> None:
    client_has_head = asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await start_response(send, content_length=2)
        await client_has_head.wait()
        await send_body(send, b"ok")

    async with (
        serving_app(app, http_fast_path=http_fast_path) as origin,
        tcp_connection(origin) as (reader, writer),
    ):
        writer.write(request_bytes)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        client_has_head.set()
        assert await reader.readexactly(2) == b"ok"


@pytest.mark.parametrize("http_fast_path", [True, False])
async def test_head_is_sent_although_the_application_fails_before_the_body(
    http_fast_path: bool,
) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await start_response(send, content_length=4)
        raise RuntimeError("no body")

    async with serving_app(app, http_fast_path=http_fast_path) as origin:
        response = await exchange_bytes(origin, GET_REQUEST)
    assert response == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"
