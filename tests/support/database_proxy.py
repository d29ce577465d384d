"""A TCP proxy between the service and its database that can delay, drop and reset traffic."""

import asyncio
from asyncio import Queue, StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.engine import URL, make_url

from tests.support.connections import closing_writer, reset_when_closed, tcp_server

# The CommandComplete message that Postgres sends after a COMMIT.
COMMIT_COMPLETE_MESSAGE = b"C\x00\x00\x00\x0bCOMMIT\x00"
_CHUNK_SIZE = 64 * 1024
_DEFAULT_PORT = 5432


class DatabaseProxy:
    """Forwards bytes in both directions, each `delay` seconds after they arrived.

    `delay` and `is_blocked` may change at any time and apply to the bytes that arrive afterwards.
    While the proxy is blocked it reads bytes and drops them, as a network does that loses packets:
    neither side receives an error.
    """

    def __init__(self, url: str, delay: float) -> None:
        self.delay = delay
        self.is_blocked = False
        # The URL of the database through the proxy. It is set when the proxy listens.
        self.url = ""
        # Set when the proxy has received the response that `block_at_response` waits for.
        self.response_intercepted = asyncio.Event()
        self._response_to_intercept: bytes | None = None
        self._server_url = make_url(url)
        self._writers = set[StreamWriter]()

    def set_port(self, port: int) -> None:
        """Set the port on which the proxy listens."""
        proxy_url = self._server_url.set(host="127.0.0.1", port=port, query={})
        self.url = proxy_url.render_as_string(hide_password=False)

    def lead_to(self, url: str) -> None:
        """Forward new connections to another server, as after a change of DNS.

        Open connections stay with the former one.
        """
        self._server_url = make_url(url)

    def block_at_response(self, content: bytes) -> None:
        """Block the proxy as soon as the server sends a response that contains these bytes.

        The response itself is dropped too.
        """
        self._response_to_intercept = content

    def unblock(self) -> None:
        """Reset all connections, some bytes of which are lost, and forward bytes again."""
        self.is_blocked = False
        self._response_to_intercept = None
        self.response_intercepted.clear()
        self.reset_connections()

    def reset_connections(self) -> None:
        """Reset every connection, as a router does that restarts."""
        for writer in self._writers:
            if writer.transport.is_closing():
                continue
            reset_when_closed(writer)
            writer.transport.abort()

    async def handle_connection(
        self, client_reader: StreamReader, client_writer: StreamWriter
    ) -> None:
        """Connect to the server for a client, and forward bytes until either side disconnects."""
        server_reader, server_writer = await _connect(self._server_url)
        writers = {client_writer, server_writer}
        self._writers |= writers
        async with closing_writer(server_writer), closing_writer(client_writer):
            tasks = [
                asyncio.create_task(self._forward(client_reader, server_writer)),
                asyncio.create_task(self._forward(server_reader, client_writer, is_response=True)),
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._writers -= writers

    async def _forward(
        self, reader: StreamReader, writer: StreamWriter, *, is_response: bool = False
    ) -> None:
        """Forward bytes in one direction until the sender disconnects.

        Reading continues while chunks are delayed, so that a delay does not limit the throughput.
        """
        loop = asyncio.get_running_loop()
        chunks: Queue[tuple[float, bytes]] = Queue()
        reading = asyncio.create_task(self._read_chunks(reader, chunks))
        try:
            while True:
                due_time, chunk = await chunks.get()
                remaining_seconds = due_time - loop.time()
                if remaining_seconds > 0:
                    await asyncio.sleep(remaining_seconds)
                if not chunk:
                    return
                if is_response:
                    self._intercept(chunk)
                if not self.is_blocked:
                    writer.write(chunk)
                    await writer.drain()
        except ConnectionError:
            # The connection was reset.
            return
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read_chunks(self, reader: StreamReader, chunks: Queue[tuple[float, bytes]]) -> None:
        """Put each chunk into a queue with the time at which it is due. The last one is empty."""
        loop = asyncio.get_running_loop()
        while True:
            chunk = await reader.read(_CHUNK_SIZE)
            chunks.put_nowait((loop.time() + self.delay, chunk))
            if not chunk:
                return

    def _intercept(self, response: bytes) -> None:
        """Block the proxy if the response contains the bytes that `block_at_response` waits for."""
        if self._response_to_intercept is not None and self._response_to_intercept in response:
            self.is_blocked = True
            self.response_intercepted.set()


async def _connect(url: URL) -> tuple[StreamReader, StreamWriter]:
    """Connect to the TCP address of a database, or to its Unix socket if the URL has one."""
    socket_directory = url.query.get("host")
    port = url.port or _DEFAULT_PORT
    if isinstance(socket_directory, str):
        return await asyncio.open_unix_connection(f"{socket_directory}/.s.PGSQL.{port}")
    return await asyncio.open_connection(url.host or "127.0.0.1", port)


@asynccontextmanager
async def running_database_proxy(url: str, delay: float = 0.0) -> AsyncIterator[DatabaseProxy]:
    """Run a proxy in front of the server of a database, until the block ends.

    `delay` is the number of seconds by which bytes are delayed in each direction.
    """
    proxy = DatabaseProxy(url, delay)
    async with tcp_server(proxy.handle_connection) as address:
        _host, port = address.split(":")
        proxy.set_port(int(port))
        yield proxy
