"""A server that sends the same bytes for every request. Its argument is the port.

The rate that the load generator reaches with this server is the highest that it can measure.
"""

import asyncio
import sys
from typing import Final, cast

import uvloop

# As long as a page of 20 authors, the largest response that is measured.
_BODY: Final = b" " * 3_500
_HEAD: Final = f"HTTP/1.1 200 OK\r\ncontent-length: {len(_BODY)}\r\n\r\n".encode()


class Responder(asyncio.Protocol):
    """Sends a response for each read, because a request of the load generator fits into one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002
        self._transport.write(_HEAD + _BODY)


async def serve(port: int) -> None:
    """Listen on a port until the process is killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Responder, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
