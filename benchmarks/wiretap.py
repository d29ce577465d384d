"""A Unix socket that forwards connections to Postgres, and records statements and round trips.

The log of the server would not contain empty statements, with which connection pools check their
connections, and other round trips without a statement.
Messages: https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

SOCKET_NAME: Final = ".s.PGSQL.5432"
# The first byte of a message is its type.
_PARSE: Final = b"P"
_BIND: Final = b"B"
_QUERY: Final = b"Q"
_READY_FOR_QUERY: Final = b"Z"


class Wiretap:
    """Records the messages of all connections since `clear` was called.

    `statements` are in the order in which they were executed. `round_trips` is how often a client
    had to wait until the server was ready.
    """

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.round_trips = 0

    def clear(self) -> None:
        """Forget what was recorded."""
        self.statements = []
        self.round_trips = 0

    async def forward(
        self, client_reader: StreamReader, client_writer: StreamWriter, server_socket: Path
    ) -> None:
        """Forward the messages of one connection until either side closes it."""
        server_reader, server_writer = await asyncio.open_unix_connection(server_socket)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            # The startup message has no type.
            server_writer.write(await _read_message(client_reader, type_size=0))
            await asyncio.gather(
                self._forward_requests(client_reader, server_writer),
                self._forward_responses(server_reader, client_writer),
            )
        server_writer.close()
        client_writer.close()

    async def _forward_requests(self, client: StreamReader, server: StreamWriter) -> None:
        """Forward messages of the client, and record the statements that they execute."""
        prepared_statements: dict[bytes, str] = {}
        while True:
            message = await _read_message(client)
            message_type = message[:1]
            content = message[5:]
            if message_type == _PARSE:
                name, statement, _ = content.split(b"\0", 2)
                prepared_statements[name] = statement.decode()
            elif message_type == _BIND:
                _, name, _ = content.split(b"\0", 2)
                self.statements.append(prepared_statements[name])
            elif message_type == _QUERY:
                self.statements.append(content.rstrip(b"\0").decode())
            server.write(message)

    async def _forward_responses(self, server: StreamReader, client: StreamWriter) -> None:
        """Forward messages of the server, and count the ends of round trips."""
        while True:
            message = await _read_message(server)
            if message[:1] == _READY_FOR_QUERY:
                self.round_trips += 1
            client.write(message)


@asynccontextmanager
async def running_wiretap(server_directory: Path, directory: Path) -> AsyncIterator[Wiretap]:
    """Listen on a socket in `directory`, and forward its connections, until the block ends.

    `server_directory` is the directory of the socket of Postgres.
    """
    wiretap = Wiretap()

    async def handle_connection(reader: StreamReader, writer: StreamWriter) -> None:
        await wiretap.forward(reader, writer, server_directory / SOCKET_NAME)

    async with await asyncio.start_unix_server(handle_connection, directory / SOCKET_NAME):
        yield wiretap


async def _read_message(reader: StreamReader, type_size: int = 1) -> bytes:
    """Read a complete message: its type, its length in four bytes, and its content.

    The length includes the four bytes, but not the type.
    """
    head = await reader.readexactly(type_size + 4)
    length = int.from_bytes(head[type_size:])
    return head + await reader.readexactly(length - 4)
