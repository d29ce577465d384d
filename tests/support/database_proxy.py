"""A wire between the service and its database that a test can lengthen, cut and block."""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.engine import URL, make_url

from tests.support.connections import closing_writer, tcp_server

_CHUNK = 64 * 1024  # bytes
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
_PORT = 5432


class DatabaseProxy:
    """Passes bytes on unchanged, each `delay` seconds later than it came, in either direction.

    `delay` and `blocked` may change at any time and hold for what comes from then on. While it is
    blocked it takes what comes and passes nothing on: nobody is told, as by a network that drops.
    """

    def __init__(self, url: str, delay: float) -> None:
        self.delay = delay
        self.is_blocked = False
        self.response_intercepted = asyncio.Event()
        self._wanted: bytes | None = None
        self._server = make_url(url)
        self._writers = set[StreamWriter]()
        self.url = ""

    def at(self, port: int) -> None:
        here = self._server.set(host="127.0.0.1", port=port, query={})
        self.url = here.render_as_string(hide_password=False)

    def block_at_response(self, answer: bytes) -> None:
        """Keep an answer of the server with these bytes in it, and all after it from either end."""
        self._wanted = answer

    def unblock(self) -> None:
        """Pass on what comes from now on. What was kept is lost, and with it the connections."""
        self.is_blocked, self._wanted = False, None
        self.response_intercepted.clear()
        self.reset_connections()

    def reset_connections(self) -> None:
        """Break every connection at once, as a router that was restarted does."""
        for writer in [each for each in self._writers if not each.transport.is_closing()]:
            end: socket.socket = writer.get_extra_info("socket")
            if end.family != socket.AF_UNIX:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            writer.transport.abort()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection of the service, to its end on either side."""
        answers, server = await _connect(self._server)
        self._writers |= {writer, server}
        ways = [self._pass(reader, server), self._pass(answers, writer, answers=True)]
        async with closing_writer(server), closing_writer(writer):
            tasks = [asyncio.create_task(way) for way in ways]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._writers -= {writer, server}

    async def _pass(
        self, reader: StreamReader, writer: StreamWriter, *, answers: bool = False
    ) -> None:
        """What comes does not wait for what came before it: a delay is no limit of the rate."""
        loop, due = asyncio.get_running_loop(), 0.0
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def take() -> None:
            while data := await reader.read(_CHUNK):
                waiting.put_nowait((loop.time() + self.delay, data))
            waiting.put_nowait((loop.time() + self.delay, b""))

        taking = asyncio.create_task(take())
        try:
            while True:
                due, data = await waiting.get()
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                if not data:
                    return
                if answers and self._wanted is not None and self._wanted in data:
                    self.is_blocked = True
                    self.response_intercepted.set()
                if not self.is_blocked:
                    writer.write(data)
                    await writer.drain()
        except ConnectionError:
            return  # it was cut
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)


async def _connect(url: URL) -> tuple[StreamReader, StreamWriter]:
    host = url.query.get("host")
    if isinstance(host, str):
        return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{url.port or _PORT}")
    return await asyncio.open_connection(url.host or "127.0.0.1", url.port or _PORT)


@asynccontextmanager
async def running_database_proxy(url: str, delay: float = 0.0) -> AsyncIterator[DatabaseProxy]:
    """A wire to the server of this URL; its own `url` leads through it."""
    wire = DatabaseProxy(url, delay)
    async with tcp_server(wire.serve) as place:
        wire.at(int(place.rpartition(":")[2]))
        yield wire
