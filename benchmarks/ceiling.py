"""The least that a server can do: the same bytes for whatever arrives. `... -m` takes a port.

What the load generator reaches against it is the most that it could ever measure.
"""

import asyncio
import sys
from typing import Final, cast

import uvloop

_BODY: Final = b" " * 3_500  # bytes; about a page of 20 authors, the largest answer we measure
_HEAD: Final = f"HTTP/1.1 200 OK\r\ncontent-length: {len(_BODY)}\r\n\r\n".encode()


class Responder(asyncio.Protocol):
    """Takes each read for one whole request, which holds for our own small ones."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002
        self._transport.write(_HEAD + _BODY)


async def serve(port: int) -> None:
    """Answer until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Responder, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
