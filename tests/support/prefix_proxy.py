"""A reverse proxy that publishes a server under a path prefix, as nginx does.

location /api/ { proxy_pass http://server/; }   removes the prefix
location /api/ { proxy_pass http://server; }    keeps the prefix
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.connections import tcp_connection, tcp_server

PREFIX = "/api"
_CHUNK_SIZE = 64 * 1024
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def prefix_proxy(server_origin: str, *, removes_prefix: bool) -> AsyncIterator[str]:
    """Run a proxy in front of a server, and yield the URL under which it publishes the server.

    This is, for example, `http://127.0.0.1:54321/api`. Every other path is 404. A connection
    carries one request.
    """

    async def handle_connection(client_reader: StreamReader, client_writer: StreamWriter) -> None:
        head = await client_reader.readuntil(b"\r\n\r\n")
        method, target, remaining_head = head.split(b" ", 2)
        if not target.startswith(f"{PREFIX}/".encode()):
            client_writer.write(_NOT_FOUND)
            return
        if removes_prefix:
            target = target.removeprefix(PREFIX.encode())
        async with tcp_connection(server_origin) as (server_reader, server_writer):
            server_writer.write(b" ".join([method, target, _close_connection(remaining_head)]))
            body_task = asyncio.create_task(_copy(client_reader, server_writer))
            await _copy(server_reader, client_writer)
            body_task.cancel()
            await asyncio.gather(body_task, return_exceptions=True)

    async with tcp_server(handle_connection) as address:
        yield f"http://{address}{PREFIX}"


def _close_connection(head: bytes) -> bytes:
    """Change the headers of a request so that the server closes the connection after it.

    The head begins with the protocol version, for example `HTTP/1.1`.
    """
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    other_lines = [line for line in lines if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*other_lines, b"Connection: close", b"", b""])


async def _copy(reader: StreamReader, writer: StreamWriter) -> None:
    """Copy bytes from one connection to another, until the first one is closed."""
    while chunk := await reader.read(_CHUNK_SIZE):
        writer.write(chunk)
        await writer.drain()
