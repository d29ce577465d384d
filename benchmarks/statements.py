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
from benchmarks.cores import CoreLayout
from benchmarks.dataset import Dataset
from benchmarks.operations import Operation
from benchmarks.servers import Server
from benchmarks.trials import running_contestants
from benchmarks.wiretap import Wiretap, running_wiretap

_WARM_UP: Final = 3  # requests, until connected and all is prepared
_SILENCE: Final = 0.1  # seconds; a dependency may go on after the answer
_WIDTH: Final = 100  # characters of a statement that are shown


@dataclass(frozen=True)
class StatementCount:
    """What one request of a warm server cost."""

    operation: Operation
    server: str
    statements: Sequence[str]
    round_trips: int


async def count_statements(
    url: str, data: Dataset, operations: Sequence[Operation], cores: CoreLayout, directory: Path
) -> list[StatementCount]:
    """Listen to all services, a request at a time. `url` is Postgres's, over a Unix socket."""
    there = Path(str(make_url(url).query["host"]))
    through = make_url(url).update_query_dict({"host": str(directory)})

    def listen(tap: Wiretap) -> Iterator[StatementCount]:
        with running_contestants(through.render_as_string(), cores, directory) as servers:
            for operation in operations:
                for who, server in servers:
                    if operation.writes:
                        asyncio.run(dataset.restore_authors(url, operation.spare_authors))
                    requests = operation.requests(who, server, data)
                    yield _count(tap, server, operation, requests)

    async with running_wiretap(there, directory) as tap:
        # In a thread, for the event loop has a line to carry.
        return await asyncio.to_thread(lambda: list(listen(tap)))


def _count(
    tap: Wiretap, server: Server, operation: Operation, requests: list[bytes]
) -> StatementCount:
    for request in islice(cycle(requests), _WARM_UP + 1):
        tap.clear()
        server.send(request)
        sleep(_SILENCE)
    return StatementCount(operation, server.name, tap.statements, tap.round_trips)


def counts_table(counts: Sequence[StatementCount]) -> str:
    """The counts as a Markdown table, and below it the statements."""
    rows = [
        f"| `{found.operation.title}` | {found.server} "
        f"| {len(found.statements)} | {found.round_trips} |"
        for found in counts
    ]
    header = ["| operation | server | statements | round trips |", "| --- | --- | ---: | ---: |"]
    return "\n".join([*header, *rows, *(line for found in counts for line in _listed(found))])


def _listed(found: StatementCount) -> list[str]:
    statements = (" ".join(statement.split()) for statement in found.statements)
    shown = (line if len(line) <= _WIDTH else line[:_WIDTH] + " ..." for line in statements)
    return ["", f"{found.operation.title}, {found.server}:", "", *(f"- `{line}`" for line in shown)]
