"""TCP connections and servers that are closed when a block ends."""

import asyncio
import socket
import ssl
import struct
from asyncio import StreamReader, StreamWriter, Task
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

# The value of SO_LINGER with which a socket sends RST instead of FIN when it is closed.
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)

ConnectionHandler = Callable[[StreamReader, StreamWriter], Awaitable[None]]


@asynccontextmanager
async def tcp_connection(
    origin: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    """Connect to a server such as `http://127.0.0.1:8000`, and disconnect when the block ends.

    The connection uses TLS if there is a context for it.
    """
    address = urlsplit(origin)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=tls)
    async with closing_writer(writer):
        yield reader, writer


@asynccontextmanager
async def tcp_server(handle_connection: ConnectionHandler) -> AsyncIterator[str]:
    """Run a server on a free port, and yield its address: `127.0.0.1:54321`.

    `handle_connection` is called for each connection. The connections that are still open when the
    block ends are closed.
    """
    tasks = set[Task[None]]()

    async def handle_and_close(reader: StreamReader, writer: StreamWriter) -> None:
        async with closing_writer(writer):
            await handle_connection(reader, writer)

    def accept(reader: StreamReader, writer: StreamWriter) -> None:
        tasks.add(asyncio.create_task(handle_and_close(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def closing_writer(writer: StreamWriter) -> AsyncIterator[None]:
    """Close a connection when the block ends, and wait until it is closed."""
    try:
        yield
    finally:
        writer.close()
        # The other side may have closed the connection first. With TLS, it may also have sent data
        # that the block did not read, such as the rest of a response.
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


def reset_when_closed(writer: StreamWriter) -> None:
    """Let closing a connection reset it. A Unix socket, which cannot be reset, is not changed."""
    connection: socket.socket = writer.get_extra_info("socket")
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)


async def write_until_disconnected(
    writer: asyncio.StreamWriter, chunk: bytes, *, pause: float = 0.0
) -> None:
    """Write a chunk again and again until the server has closed both directions.

    Writing fails only then. A server that has closed only its own direction still reads.
    """
    with suppress(ConnectionError):
        while True:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(pause)
