"""Plain connections, on either side, that are closed when a test has done with them."""

import asyncio
from asyncio import StreamReader, StreamWriter, Task
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


@asynccontextmanager
async def tcp_connection(origin: str) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    """A connection to a server, until the block ends."""
    where = urlsplit(origin)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    async with closing_writer(writer):
        yield reader, writer


@asynccontextmanager
async def tcp_server(
    serve: Callable[[StreamReader, StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server that does this with each connection, at `host:port`, until the block ends."""
    connections = set[Task[None]]()

    async def closed(reader: StreamReader, writer: StreamWriter) -> None:
        async with closing_writer(writer):
            await serve(reader, writer)

    def accept(reader: StreamReader, writer: StreamWriter) -> None:
        connections.add(asyncio.create_task(closed(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield "127.0.0.1:{1}".format(*server.sockets[0].getsockname())
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def closing_writer(writer: StreamWriter) -> AsyncIterator[None]:
    """Close a connection after the block, and wait until it is."""
    try:
        yield
    finally:
        writer.close()
        with suppress(ConnectionError):  # the other side was faster
            await writer.wait_closed()
