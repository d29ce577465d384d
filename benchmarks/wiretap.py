"""Postgres with a listener on the line: what a service says to it, and how often it waits.

The server's own log would miss a pool's pings, which are empty statements, and whatever else
costs a round trip without executing anything.
Messages: https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

SOCKET: Final = ".s.PGSQL.5432"
_PARSE, _BIND, _QUERY, _READY_FOR_QUERY = b"P", b"B", b"Q", b"Z"


class Wiretap:
    """What went over all connections since `clear`."""

    def __init__(self) -> None:
        self.statements: list[str] = []  # in the order in which they were run
        self.round_trips = 0  # the times that the client had to wait until the server was ready

    def clear(self) -> None:
        self.statements, self.round_trips = [], 0

    async def relay(self, client: StreamReader, answer: StreamWriter, server: Path) -> None:
        """Carry one connection until either end closes it."""
        database, question = await asyncio.open_unix_connection(server)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            question.write(await _read_message(client, kind=0))  # the start-up message has no kind
            await asyncio.gather(self._up(client, question), self._down(database, answer))
        question.close()
        answer.close()

    async def _up(self, client: StreamReader, question: StreamWriter) -> None:
        prepared: dict[bytes, str] = {}
        while True:
            message = await _read_message(client)
            kind, content = message[:1], message[5:]
            if kind == _PARSE:
                name, statement, _ = content.split(b"\0", 2)
                prepared[name] = statement.decode()
            elif kind == _BIND:
                _, name, _ = content.split(b"\0", 2)
                self.statements.append(prepared[name])
            elif kind == _QUERY:
                self.statements.append(content.rstrip(b"\0").decode())
            question.write(message)

    async def _down(self, database: StreamReader, answer: StreamWriter) -> None:
        while True:
            message = await _read_message(database)
            self.round_trips += message[:1] == _READY_FOR_QUERY
            answer.write(message)


@asynccontextmanager
async def running_wiretap(server: Path, directory: Path) -> AsyncIterator[Wiretap]:
    """A socket in `directory` that leads to the one in `server`, for as long as the block lasts."""
    tap = Wiretap()

    async def connected(client: StreamReader, answer: StreamWriter) -> None:
        await tap.relay(client, answer, server / SOCKET)

    async with await asyncio.start_unix_server(connected, directory / SOCKET):
        yield tap


async def _read_message(reader: StreamReader, kind: int = 1) -> bytes:
    """A whole message: a byte of kind or none, four of length (counting themselves), content."""
    head = await reader.readexactly(kind + 4)
    return head + await reader.readexactly(int.from_bytes(head[kind:]) - 4)
