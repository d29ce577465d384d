"""What one request of each operation says to Postgres, in statements and round trips."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Final
from uuid import UUID

from sqlalchemy.engine import make_url

from benchmarks.cores import Layout
from benchmarks.operations import Operation
from benchmarks.servers import Server
from benchmarks.trials import both
from benchmarks.wiretap import Wiretap, tapped

_WARM_UP: Final = 3  # requests, until connected and all is prepared
_SILENCE: Final = 0.1  # seconds; a dependency may go on after the answer
_WIDTH: Final = 100  # characters of a statement that are shown


@dataclass(frozen=True)
class Count:
    """What one request of a warm server cost."""

    operation: Operation
    server: str
    statements: Sequence[str]
    round_trips: int


async def count(
    url: str, books: Sequence[UUID], operations: Sequence[Operation], cores: Layout, directory: Path
) -> list[Count]:
    """Listen to both services, a request at a time. `url` is Postgres's, over a Unix socket."""
    there = Path(str(make_url(url).query["host"]))
    through = make_url(url).update_query_dict({"host": str(directory)})

    def listen(tap: Wiretap) -> list[Count]:
        with both(through.render_as_string(), cores, directory) as servers:
            return [
                _count(tap, server, operation, operation.requests(books)[0])
                for operation in operations
                for server in servers
            ]

    async with tapped(there, directory) as tap:
        return await asyncio.to_thread(listen, tap)  # for the event loop has a line to carry


def _count(tap: Wiretap, server: Server, operation: Operation, request: bytes) -> Count:
    for _ in range(_WARM_UP + 1):
        tap.clear()
        server.ask(request)
        sleep(_SILENCE)
    return Count(operation, server.name, tap.statements, tap.round_trips)


def table(counts: Sequence[Count]) -> str:
    """The counts as a Markdown table, and below it the statements."""
    rows = [
        f"| `{found.operation.title}` | {found.server} "
        f"| {len(found.statements)} | {found.round_trips} |"
        for found in counts
    ]
    header = ["| operation | server | statements | round trips |", "| --- | --- | ---: | ---: |"]
    return "\n".join([*header, *rows, *(line for found in counts for line in _listed(found))])


def _listed(found: Count) -> list[str]:
    statements = (" ".join(statement.split()) for statement in found.statements)
    shown = (line if len(line) <= _WIDTH else line[:_WIDTH] + " ..." for line in statements)
    return ["", f"{found.operation.title}, {found.server}:", "", *(f"- `{line}`" for line in shown)]
