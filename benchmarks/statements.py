"""Counts the SQL statements and round trips to Postgres of one request of each operation."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from time import sleep
from typing import Final

from sqlalchemy.engine import make_url

from benchmarks import dataset
from benchmarks.contestants import installed_contestants
from benchmarks.cores import CoreLayout
from benchmarks.dataset import Dataset
from benchmarks.fleet import Site, running_fleet
from benchmarks.forms import PLAIN
from benchmarks.operations import Operation
from benchmarks.servers import Server
from benchmarks.wiretap import Wiretap, running_wiretap

# The number of requests after which a server is connected and has prepared its statements.
_WARM_UP_REQUESTS: Final = 3
# The time after a response in which the server may send more statements, for example COMMIT.
_IDLE_SECONDS: Final = 0.1
# The number of characters of a statement that are printed.
_MAX_STATEMENT_LENGTH: Final = 100


@dataclass(frozen=True)
class StatementCount:
    """The statements and the number of round trips of one request to a warm server."""

    operation: Operation
    server: str
    statements: Sequence[str]
    round_trips: int


async def count_statements(
    url: str, data: Dataset, operations: Sequence[Operation], cores: CoreLayout, directory: Path
) -> list[StatementCount]:
    """Run all servers, and count the statements of one request of each operation.

    `url` is the database, with a Unix socket. The servers connect to a socket in `directory`
    instead, which forwards their messages and records them.
    """
    socket_directory = Path(str(make_url(url).query["host"]))
    tapped_url = make_url(url).update_query_dict({"host": str(directory)}).render_as_string()

    def measure_all(wiretap: Wiretap) -> list[StatementCount]:
        counts = []
        site = Site(tapped_url, cores, directory)
        with running_fleet(site, PLAIN, installed_contestants()) as fleet:
            for operation in operations:
                for contestant, server in fleet.entries:
                    if operation.writes:
                        asyncio.run(dataset.restore_authors(url, operation.spare_authors))
                    requests = operation.requests(contestant, server, data)
                    counts.append(_measure_request(wiretap, server, operation, requests))
        return counts

    async with running_wiretap(socket_directory, directory) as wiretap:
        # In a thread, because the event loop has to forward messages.
        return await asyncio.to_thread(measure_all, wiretap)


def _measure_request(
    wiretap: Wiretap, server: Server, operation: Operation, requests: list[bytes]
) -> StatementCount:
    """Warm up a server, and count the statements of the request after that."""
    for request in islice(cycle(requests), _WARM_UP_REQUESTS + 1):
        wiretap.clear()
        server.send(request)
        sleep(_IDLE_SECONDS)
    return StatementCount(operation, server.name, wiretap.statements, wiretap.round_trips)


def counts_table(counts: Sequence[StatementCount]) -> str:
    """Return the counts as a Markdown table, followed by the statements."""
    lines = ["| operation | server | statements | round trips |", "| --- | --- | ---: | ---: |"]
    for count in counts:
        title = f"`{count.operation.title}`"
        lines.append(
            f"| {title} | {count.server} | {len(count.statements)} | {count.round_trips} |"
        )
    for count in counts:
        lines += ["", f"{count.operation.title}, {count.server}:", ""]
        lines += [f"- `{_shorten(statement)}`" for statement in count.statements]
    return "\n".join(lines)


def _shorten(statement: str) -> str:
    """Return the beginning of a statement as one line."""
    line = " ".join(statement.split())
    if len(line) <= _MAX_STATEMENT_LENGTH:
        return line
    return line[:_MAX_STATEMENT_LENGTH] + " ..."
