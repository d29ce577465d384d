"""A server in the test's process that serves a small application with the protocol of the service.

It uses real sockets. The tests control the application, and can lower the limits of the protocol.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import uvicorn
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.server import ServerState

from app.core.server import HttpProtocol
from tests.support.connections import tcp_connection

GET_REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
# A request whose body has only its first chunk.
INCOMPLETE_POST_REQUEST = (
    b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
)
MALFORMED = b"\x16\x03\x01 is not HTTP\r\n\r\n"
# A request on another connection to this path is handled after all bytes that were sent before.
BARRIER_PATH = "/barrier"
# Handles the requests of a test.
Respond = Callable[[Receive, Send], Awaitable[None]]
# Returns the bytes of a request with additional headers.
BuildRequest = Callable[[bytes], bytes]


@asynccontextmanager
async def serving_responses(
    respond: Respond, state: ServerState | None = None
) -> AsyncIterator[str]:
    """Serve an application that calls `respond` for each request. See `serving_app`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == BARRIER_PATH:
            await start_response(send, content_length=0)
            await send_body(send, b"")
        else:
            await respond(receive, send)

    async with serving_app(app, state) as origin:
        yield origin


@asynccontextmanager
async def serving_app(
    app: ASGIApp, state: ServerState | None = None, *, http_fast_path: bool = True
) -> AsyncIterator[str]:
    """Serve an application. Yield the origin.

    `state` gets the open connections and the tasks that respond to requests. `http_fast_path` is
    the setting HTTP_FAST_PATH.
    """
    config = uvicorn.Config(app, http=HttpProtocol, log_config=None, access_log=False)
    config.load()
    state = state or ServerState()
    loop = asyncio.get_running_loop()
    protocol_factory = partial(HttpProtocol, config, state, {}, http_fast_path=http_fast_path)
    server = await loop.create_server(protocol_factory, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


class RecordingApp:
    """An application that reads each request to its end, records it, and responds with `ok`.

    It neither records nor responds to a request whose body is incomplete.
    """

    def __init__(self) -> None:
        # The method and the body of each request.
        self.requests: list[tuple[str, bytes]] = []
        # The headers of the last request.
        self.headers: dict[bytes, bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(receive)
        except ClientDisconnect:
            return
        if scope["path"] != BARRIER_PATH:
            self.requests.append((scope["method"], body))
            self.headers = dict(scope["headers"])
        await respond_ok(receive, send)


async def read_body(receive: Receive) -> bytes:
    """Read the body of a request to its end. Raises `ClientDisconnect` if the end is missing."""
    body = bytearray()
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)


async def start_response(send: Send, content_length: int, status: int = 200) -> None:
    headers = [(b"content-length", str(content_length).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def start_response_of_unknown_length(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


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


async def send_until_disconnected(receive: Receive, send: Send, chunk: bytes) -> None:
    """Send a response without an end, until the client disconnects."""
    disconnect = asyncio.create_task(wait_for_disconnect(receive))
    await start_response_of_unknown_length(send)
    while not disconnect.done():
        await send_body(send, chunk, more=True)
        # Let the event loop send the chunk, and notice the disconnect.
        await asyncio.sleep(0)


async def wait_until_server_has_read(origin: str) -> None:
    """Wait until the server has read the bytes that were sent on other connections before."""
    async with tcp_connection(origin) as (reader, writer):
        request = f"GET {BARRIER_PATH} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        await reader.read()
