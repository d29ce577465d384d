"""What one request of each operation says to Postgres, in statements and round trips."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from time import sleep
from typing import Final

from sqlalchemy.engine import make_url

from benchmarks import dataset
from benchmarks.cores import Layout
from benchmarks.dataset import Data
from benchmarks.operations import Operation
from benchmarks.servers import Server
from benchmarks.trials import all_present
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
    url: str, data: Data, operations: Sequence[Operation], cores: Layout, directory: Path
) -> list[Count]:
    """Listen to all services, a request at a time. `url` is Postgres's, over a Unix socket."""
    there = Path(str(make_url(url).query["host"]))
    through = make_url(url).update_query_dict({"host": str(directory)})

    def listen(tap: Wiretap) -> Iterator[Count]:
        with all_present(through.render_as_string(), cores, directory) as servers:
            for operation in operations:
                for who, server in servers:
                    if operation.writes:
                        asyncio.run(dataset.restore(url, operation.spares))
                    requests = operation.requests(who, server, data)
                    yield _count(tap, server, operation, requests)

    async with tapped(there, directory) as tap:
        # In a thread, for the event loop has a line to carry.
        return await asyncio.to_thread(lambda: list(listen(tap)))


def _count(tap: Wiretap, server: Server, operation: Operation, requests: list[bytes]) -> Count:
    for request in islice(cycle(requests), _WARM_UP + 1):
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
