"""A proxy before the real store: requests that it is told of meet a fate on their way."""

import asyncio
import os
import re
import socket
import struct
from asyncio import Event, StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum

from tests.support.connections import tcp_connection, tcp_server

_LINE = re.compile(rb"([A-Z]+ \S+) HTTP/1\.1\r\n")
_CHUNK = 64 * 1024  # bytes
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class ProxyAction(Enum):
    """What becomes of a request. What is held goes on with `StoreProxy.release`, or never."""

    PASS = "as if there were no proxy"
    HOLD = "before the store hears of it"
    HOLD_RESPONSE = "when the store has done it"
    RESET = "in place of an answer"
    INTERNAL_ERROR = "200 InternalError"
    SLOW_DOWN = "503 SlowDown"
    ACCESS_DENIED = "403 AccessDenied"


class StoreProxy:
    """Passes bytes on unchanged, the `Host` that was signed among them."""

    def __init__(self) -> None:
        self.origin = ""
        self.set_action(ProxyAction.PASS)

    def set_action(self, fate: ProxyAction, line: str = "") -> None:
        """From now on, for requests in whose method and target this regular expression is."""
        self.action_reached, self.release, self.request_lines = Event(), Event(), list[str]()
        self._fate, self._line = fate, re.compile(line)

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Pass on one connection of a client."""
        async with tcp_connection(os.environ["TEST_S3_ENDPOINT_URL"]) as (answers, store):
            fate = ProxyAction.PASS

            async def answer() -> None:
                while data := await answers.read(_CHUNK):
                    if fate is ProxyAction.HOLD_RESPONSE and not data.startswith(b"HTTP/1.1 100 "):
                        self.action_reached.set()
                        await self.release.wait()
                    writer.write(data)
                writer.close()

            answering = asyncio.create_task(answer())
            try:
                while data := await reader.read(_CHUNK):
                    if found := _LINE.match(data):
                        fate = await self._met(found[1].decode(), reader, writer)
                    store.write(data)
                    await store.drain()
            finally:
                answering.cancel()

    async def _met(self, line: str, reader: StreamReader, writer: StreamWriter) -> ProxyAction:
        self.request_lines.append(line)
        fate = self._fate if self._line.search(line) else None
        if fate is None or fate is ProxyAction.HOLD_RESPONSE:
            return fate or ProxyAction.PASS
        self.action_reached.set()
        if fate is ProxyAction.HOLD:
            await self.release.wait()
        elif fate is ProxyAction.RESET:
            end: socket.socket = writer.get_extra_info("socket")
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            raise ConnectionResetError
        elif fate is not ProxyAction.PASS:
            status, code = fate.value.split()
            body = f"<Error><Code>{code}</Code></Error>"
            head = f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\nConnection: close"
            writer.write(f"{head}\r\n\r\n{body}".encode())
            while await reader.read(_CHUNK):
                pass
            raise ConnectionResetError
        return ProxyAction.PASS


@asynccontextmanager
async def running_store_proxy() -> AsyncIterator[StoreProxy]:
    """A proxy before the suite's store, until the block ends."""
    made = StoreProxy()
    async with tcp_server(made.serve) as where:
        made.origin = f"http://{where}"
        yield made
