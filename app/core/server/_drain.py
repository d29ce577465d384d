"""Ways to close a connection: so that the client can read the last response, or by a reset."""

import asyncio
import socket
import struct
from typing import Final

# A client that still sends has this much time, and may send this many bytes, to read the response.
DRAIN_TIMEOUT_SECONDS: Final = 2.0
MAX_DRAINED_BYTES: Final = 8 * 1024 * 1024
# The value of SO_LINGER with which a socket sends RST instead of FIN when it is closed.
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)


class Drain:
    """Closes a connection in two steps, so that the client can read the last response.

    If the server closed the connection while the client was still sending, the operating system
    would reset it, and the client might lose the response. Therefore the server first closes only
    its own direction and discards what arrives. It closes the connection when the client has closed
    its direction too, after `DRAIN_TIMEOUT_SECONDS`, or after `MAX_DRAINED_BYTES`. While the client
    is still reading the response, the time begins again.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Close the direction from the server to the client, after everything has been sent."""
        self._transport = transport
        self._loop = loop
        self._remaining_bytes = MAX_DRAINED_BYTES
        self._start_timer()
        # Let `ConnectionFlowControl` notice a client that does not read the last bytes.
        transport.set_write_buffer_limits(high=0)
        transport.write_eof()

    def discard(self, data: bytes) -> None:
        """Discard bytes of the client, and close the connection if they are too many."""
        self._remaining_bytes -= len(data)
        if self._remaining_bytes < 0:
            self._transport.abort()

    def _start_timer(self) -> None:
        self._timer = self._loop.call_later(DRAIN_TIMEOUT_SECONDS, self._time_out)

    def _time_out(self) -> None:
        """Close the connection, unless a part of the response is still waiting to be sent."""
        if self._transport.get_write_buffer_size() > 0:
            self._start_timer()
        else:
            self._transport.abort()

    def stop(self) -> None:
        """Stop the timer because the connection is closed."""
        self._timer.cancel()


def reset_connection(transport: asyncio.Transport) -> None:
    """Close a connection immediately, and let the client notice that the response is incomplete.

    The operating system discards the bytes that it has not sent. Otherwise, it would keep them for
    minutes if the client does not read.
    """
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    transport.abort()
