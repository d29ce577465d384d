"""Empties the queue of a listening socket, so that closing the socket resets no connection.

The operating system completes the handshake of a TCP connection and puts the connection into a
queue, from which the server accepts it. The client may already have sent its request by then. If
the socket is closed, the operating system resets all connections that are still in the queue.
"""

import socket
import struct
import sys
from array import array
from typing import Final

# A constant of Linux that the module `socket` does not have.
SO_ATTACH_FILTER: Final = 26
# A program for the packet filter of Linux ("classic BPF"). It drops segments that have the flag
# SYN, with which a client begins a handshake, and passes all others. So the handshakes that have
# already begun are completed. Each instruction consists of a code, the number of instructions to
# skip if its condition is true, the same if it is false, and an operand.
DROP_NEW_HANDSHAKES: Final = (
    # Load the byte at offset 13 of the TCP header, which contains the flags.
    (0x30, 0, 0, 13),
    # If the bit of SYN is not set, skip one instruction.
    (0x45, 0, 1, 0x02),
    # Drop the segment, because none of its bytes pass.
    (0x06, 0, 0, 0),
    # Pass the segment.
    (0x06, 0, 0, 0xFFFFFFFF),
)


def refuse_new_handshakes(listener: socket.socket) -> None:
    """Let a listening socket ignore clients that begin to connect from now on.

    The connections in its queue remain, and can be accepted. A client that is ignored tries again
    after a second. The port is then closed, and the client gets an error that says so.

    This works on Linux, without privileges. Elsewhere the function does nothing, so a client that
    connects in the instant before the socket is closed is still reset.
    """
    if sys.platform != "linux":
        return
    instructions = b"".join(struct.pack("HBBI", *each) for each in DROP_NEW_HANDSHAKES)
    memory = array("B", instructions)
    address, _ = memory.buffer_info()
    program = struct.pack("HP", len(DROP_NEW_HANDSHAKES), address)
    try:
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    except OSError:
        # A sandbox such as gVisor may not have packet filters.
        return


def accept_queued_connections(listener: socket.socket) -> list[socket.socket]:
    """Accept all connections that wait in the queue of a listening socket, without blocking."""
    listener.settimeout(0)
    connections: list[socket.socket] = []
    while True:
        try:
            connection, _ = listener.accept()
        except ConnectionAbortedError:
            # The client has disconnected in the meantime.
            continue
        except OSError:
            # The queue is empty, or the process cannot open more files.
            return connections
        connections.append(connection)
