"""A TCP proxy in front of Postgres that delays each message, like a network between two machines.

Run it as `python -m benchmarks.delay_proxy PORT SOCKET SECONDS`. It delays each direction by that
time and does not limit the throughput: chunks are delayed independently of each other. What a
receiver has not read yet is kept in memory, so it is not suitable for transfers of many megabytes.
"""

import gc
import socket
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from time import monotonic
from typing import Final, Optional

from benchmarks.precise_wait import wait_for_events

_CHUNK_SIZE: Final = 256 * 1024


@dataclass(eq=False)
class _End:
    """The socket on one side of a forwarded connection.

    `unsent` are bytes that the socket did not take yet. `has_ended` is true when it sends no more,
    and `is_closing` when it is closed as soon as the unsent bytes are sent.
    """

    socket: socket.socket
    unsent: bytearray = field(default_factory=bytearray)
    has_ended: bool = False
    is_closing: bool = False
    is_closed: bool = False
    # The socket on the other side, which is set when both are connected.
    other_end: Optional["_End"] = None


@dataclass(frozen=True)
class _Chunk:
    """Bytes that are forwarded to an end of a connection at `due`, or b"" to close it."""

    due: float
    receiver: _End
    data: bytes


class DelayProxy:
    """Forwards connections of a listening socket to a Unix socket, with a delay in seconds."""

    def __init__(self, listener: socket.socket, target: Path, delay: float) -> None:
        self._listener = listener
        self._target = target
        self._delay = delay
        self._selector = DefaultSelector()
        # All chunks have the same delay, so the order in which they arrive is that of their times.
        self._chunks: deque[_Chunk] = deque()

    def run(self) -> None:
        """Forward connections until the process is killed."""
        self._selector.register(self._listener, EVENT_READ, None)
        while True:
            timeout = self._deliver_due_chunks()
            for key, events in wait_for_events(self._selector, timeout):
                end = key.data
                if end is None:
                    self._accept()
                elif not end.is_closed:
                    if events & EVENT_READ:
                        self._receive(end)
                    if events & EVENT_WRITE:
                        self._send_unsent(end)

    def _accept(self) -> None:
        """Accept a connection, and connect it to the target."""
        client_socket, _ = self._listener.accept()
        client_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server_socket = socket.socket(socket.AF_UNIX)
        server_socket.connect(str(self._target))
        client = _End(client_socket)
        server = _End(server_socket, other_end=client)
        client.other_end = server
        for end in (client, server):
            end.socket.settimeout(0)
            self._watch(end)

    def _receive(self, end: _End) -> None:
        """Read what one end has sent, and forward it after the delay."""
        try:
            data = end.socket.recv(_CHUNK_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            end.has_ended = True
            self._watch(end)
        assert end.other_end
        self._chunks.append(_Chunk(monotonic() + self._delay, end.other_end, data))

    def _deliver_due_chunks(self) -> float | None:
        """Forward the chunks whose time has come. Return the seconds until the next one."""
        while self._chunks:
            chunk = self._chunks[0]
            remaining_seconds = chunk.due - monotonic()
            if remaining_seconds > 0:
                return remaining_seconds
            self._chunks.popleft()
            if not chunk.receiver.is_closed:
                self._deliver(chunk)
        return None

    def _deliver(self, chunk: _Chunk) -> None:
        """Send a chunk to its receiver, or close the connection."""
        receiver = chunk.receiver
        if not chunk.data:
            receiver.is_closing = True
        if receiver.unsent:
            receiver.unsent += chunk.data
        else:
            self._send(receiver, chunk.data)

    def _send(self, receiver: _End, data: bytes) -> None:
        """Send as much as the socket takes, and keep the rest until it takes more."""
        try:
            sent_bytes = receiver.socket.send(data)
        except BlockingIOError:
            sent_bytes = 0
        except OSError:
            self._close(receiver)
            return
        if sent_bytes < len(data):
            receiver.unsent += data[sent_bytes:]
            self._watch(receiver)
        elif receiver.is_closing:
            self._close(receiver)

    def _send_unsent(self, end: _End) -> None:
        """Send more of the bytes that the socket did not take before."""
        data = bytes(end.unsent)
        end.unsent.clear()
        self._watch(end)
        self._send(end, data)

    def _watch(self, end: _End) -> None:
        """Tell the selector which events of a socket are needed."""
        if end.socket in self._selector.get_map():
            self._selector.unregister(end.socket)
        events = 0
        if not end.has_ended:
            events |= EVENT_READ
        if end.unsent:
            events |= EVENT_WRITE
        if events:
            self._selector.register(end.socket, events, end)

    def _close(self, end: _End) -> None:
        """Close both ends of a connection."""
        for closing_end in (end, end.other_end):
            if closing_end is None or closing_end.is_closed:
                continue
            closing_end.is_closed = True
            if closing_end.socket in self._selector.get_map():
                self._selector.unregister(closing_end.socket)
            closing_end.socket.close()


def main(port: str, target: str, delay: str) -> None:
    """Listen on a local port until the process is killed."""
    # Garbage collection would delay messages. The process creates no reference cycles while it
    # forwards them.
    gc.disable()
    with socket.create_server(("127.0.0.1", int(port)), backlog=1024) as listener:
        DelayProxy(listener, Path(target), float(delay)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
