"""Ways to close a connection: so that the client can read the last response, or by a reset."""

import asyncio
import socket
import struct
from typing import Final

# The server checks at this interval whether the client still sends: at least this many bytes.
DRAIN_INTERVAL_SECONDS: Final = 2.0
MIN_BYTES_PER_INTERVAL: Final = 16 * 1024
# A client that keeps sending may do so for this long, and may send this many bytes.
DRAIN_TIMEOUT_SECONDS: Final = 30.0
MAX_DRAINED_BYTES: Final = 128 * 1024 * 1024
# The value of SO_LINGER with which a socket sends RST instead of FIN when it is closed.
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)


class Drain:
    """Closes a connection in two steps, so that the client can read the last response.

    If the server closed the connection while the client was still sending, the operating system
    would reset it, and the client might lose the response. Many clients read it only when they have
    sent their whole body, so the server first closes only its own direction, and discards what
    arrives. It closes the connection when one of these happens:

    - The client closes its direction too.
    - The client sends fewer than `MIN_BYTES_PER_INTERVAL` in `DRAIN_INTERVAL_SECONDS`.
    - The client still sends after `DRAIN_TIMEOUT_SECONDS`, or more than `MAX_DRAINED_BYTES`.

    While the client is still reading the response, the connection stays open.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Close the direction from the server to the client, after everything has been sent."""
        self._transport = transport
        self._loop = loop
        self._remaining_bytes = MAX_DRAINED_BYTES
        self._bytes_in_interval = 0
        self._deadline = loop.time() + DRAIN_TIMEOUT_SECONDS
        self._start_timer()
        # Let `ConnectionFlowControl` notice a client that does not read the last bytes.
        transport.set_write_buffer_limits(high=0)
        transport.write_eof()

    def discard(self, data: bytes) -> None:
        """Discard bytes of the client, and close the connection if they are too many."""
        self._bytes_in_interval += len(data)
        self._remaining_bytes -= len(data)
        if self._remaining_bytes < 0:
            self._transport.abort()

    def end_soon(self) -> None:
        """Do not wait until the client stops sending, because the server shuts down."""
        self._deadline = self._loop.time()

    def stop(self) -> None:
        """Stop the timer because the connection is closed."""
        self._timer.cancel()

    def _start_timer(self) -> None:
        self._timer = self._loop.call_later(DRAIN_INTERVAL_SECONDS, self._close_if_finished)

    def _close_if_finished(self) -> None:
        """Close the connection, unless the client is still sending or reading the response."""
        has_unsent_bytes = self._transport.get_write_buffer_size() > 0
        is_sending = self._bytes_in_interval >= MIN_BYTES_PER_INTERVAL
        has_time_left = self._loop.time() < self._deadline
        if has_unsent_bytes or (is_sending and has_time_left):
            self._bytes_in_interval = 0
            self._start_timer()
        else:
            self._transport.abort()


def reset_connection(transport: asyncio.Transport) -> None:
    """Close a connection immediately, and let the client notice that the response is incomplete.

    The operating system discards the bytes that it has not sent. Otherwise, it would keep them for
    minutes if the client does not read.
    """
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    transport.abort()
