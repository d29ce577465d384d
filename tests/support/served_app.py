"""An application that the production HTTP server serves on a socket, within the test process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from app.core.server import HttpProtocol
from tests.support.connections import tcp_connection
from tests.support.processes import TIMEOUT_SECONDS


@dataclass
class RawResponse:
    """The first response to a request that was sent byte by byte."""

    status: int
    # The headers by name in lower case.
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def served_app(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an application on a free port until the block ends. Yield the origin."""
    config = uvicorn.Config(app, http=HttpProtocol, log_config=None, access_log=False)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpProtocol(config, state, {}), "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


async def send_raw_request(origin: str, request: bytes, *, has_body: bool = True) -> RawResponse:
    """Send the bytes of a request to a server, and return the first response.

    The response is read up to its Content-Length, so the connection need not be closed. Its status
    is 100 if the server asks for the body first. `has_body` is False for a HEAD request.
    """
    async with asyncio.timeout(TIMEOUT_SECONDS), tcp_connection(origin) as (reader, writer):
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *header_lines = head.rstrip("\r\n").split("\r\n")
        headers = {}
        for line in header_lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body_length = int(headers.get("content-length", "0")) if has_body else 0
        body = await reader.readexactly(body_length)
    return RawResponse(int(status_line.split()[1]), headers, body)
