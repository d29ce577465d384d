"""Measure what the triggers of the change feed add to the cost of a write.

    python -m benchmarks.change_feed

Sends each kind of write with the triggers enabled and disabled in turns, and prints the medians of
the CPU time that the service and Postgres together take for it, and of the duration. The CPU time
depends less on what else the machine does.
"""

import argparse
import asyncio
import http.client
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import asyncpg
import psutil

from benchmarks import bench
from benchmarks.commands import run_command
from benchmarks.imports import write_csv_file
from benchmarks.servers import SERVICE_MODULE, Server

TABLES: Final = ("authors", "books", "documents", "users")
REQUESTS: Final = 400
BATCHES: Final = 4
BATCH_SIZE: Final = 1000
IMPORTED_LINES: Final = 100_000
DELETE_ROWS: Final = "TRUNCATE books, authors, changes"
# The CPU time and the duration of one write, in seconds.
Cost = tuple[float, float]


class Writer:
    """Writes through the HTTP interface of a server, and measures the cost."""

    def __init__(self, server: Server, postgres: psutil.Process) -> None:
        self._server = server
        self._postgres = postgres
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port)

    def reconnect(self) -> None:
        """Let the next request open a connection, because the server closes idle ones."""
        self._connection.close()

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request, and return the JSON of the response."""
        content = json.dumps(body) if body is not None else None
        headers = {"Content-Type": "application/json"} if body is not None else {}
        self._connection.request(method, path, content, headers)
        response = self._connection.getresponse()
        text = response.read()
        assert response.status < 300, text
        return json.loads(text or "null")

    def measure(self, count: int, write: Callable[[], object]) -> Cost:
        """Return the cost of one of the `count` writes that a function makes."""
        started_at = perf_counter()
        cpu_before = self._cpu_seconds()
        write()
        cpu_seconds = self._cpu_seconds() - cpu_before
        return cpu_seconds / count, (perf_counter() - started_at) / count

    def _cpu_seconds(self) -> float:
        """Return the CPU time of the server and of all processes of Postgres."""
        postgres = [self._postgres, *self._postgres.children(recursive=True)]
        times = [process.cpu_times() for process in postgres]
        # The second pair is that of processes that have ended, such as closed connections.
        seconds: float = sum(
            time.user + time.system + time.children_user + time.children_system for time in times
        )
        return self._server.cpu_seconds() + seconds


def measure_requests(writer: Writer) -> Iterator[tuple[str, Cost]]:
    """Yield the cost of each kind of request."""
    writer.reconnect()
    ids: list[str] = []

    def create() -> None:
        ids.extend(writer.send("POST", "/authors", {"name": "Ada"})["id"] for _ in range(REQUESTS))

    def update() -> None:
        for author_id in ids:
            writer.send("PATCH", f"/authors/{author_id}", {"name": "Grace"})

    def delete() -> None:
        for author_id in ids:
            writer.send("DELETE", f"/authors/{author_id}")

    author_id = writer.send("POST", "/authors", {"name": "Octavia"})["id"]
    batch = {"items": [{"title": f"Book {n}", "author_id": author_id} for n in range(BATCH_SIZE)]}

    def create_batches() -> None:
        for _ in range(BATCHES):
            writer.send("POST", "/books/batch", batch)

    yield "`POST /authors`", writer.measure(REQUESTS, create)
    yield "`PATCH /authors/{id}`", writer.measure(REQUESTS, update)
    yield "`DELETE /authors/{id}`", writer.measure(REQUESTS, delete)
    yield f"`POST /books/batch`, {BATCH_SIZE} books", writer.measure(BATCHES, create_batches)


def measure_import(writer: Writer, opened_bench: bench.Bench, file: Path) -> tuple[str, Cost]:
    """Return the cost of an import. The command is a process of its own, and counts only here."""
    name = f"`import books`, {IMPORTED_LINES:,} lines (CPU of Postgres)"
    import_file = partial(run_command, opened_bench.url, "import", "books", str(file))
    return name, writer.measure(1, import_file)


async def prepare(url: str, *, enabled: bool) -> None:
    """Delete all rows, and enable or disable the triggers."""
    connection = await asyncpg.connect(url)
    action = "ENABLE" if enabled else "DISABLE"
    for table in TABLES:
        for event in ("inserted", "updated", "deleted"):
            await connection.execute(f"ALTER TABLE {table} {action} TRIGGER record_{event}")
    await connection.execute(DELETE_ROWS)
    await connection.execute("VACUUM ANALYZE authors, books, changes")
    await connection.close()


async def find_postgres(url: str) -> psutil.Process:
    """Return the main process of the server of a database."""
    connection = await asyncpg.connect(url)
    pid = await connection.fetchval("SELECT pg_backend_pid()")
    main_process = psutil.Process(pid).parent()
    await connection.close()
    assert main_process is not None
    return main_process


def print_table(costs: dict[tuple[str, bool], list[Cost]]) -> None:
    """Print the medians, and how much more a write costs with the feed."""
    print("| write | CPU without | CPU with | more | duration without | duration with | more |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in dict.fromkeys(name for name, _ in costs):
        cells = [name]
        for index in range(2):
            off, on = (
                median(cost[index] for cost in costs[name, enabled]) * 1000
                for enabled in (False, True)
            )
            cells += [f"{off:.3f} ms", f"{on:.3f} ms", f"{100 * (on / off - 1):+.0f} %"]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Run the measurements, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.change_feed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="(%(default)s)")
    parser.add_argument("--imports", type=int, default=3, help="rounds with one (%(default)s)")
    options = parser.parse_args()
    costs: dict[tuple[str, bool], list[Cost]] = defaultdict(list)
    with bench.open_bench() as opened_bench, tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "books.csv"
        write_csv_file(file, IMPORTED_LINES)
        postgres = asyncio.run(find_postgres(opened_bench.url))
        writer = Writer(opened_bench.serve("service", SERVICE_MODULE), postgres)
        for number in range(options.rounds):
            # The second of two variants may find warmer caches, so they change places.
            for enabled in (number % 2 == 0, number % 2 == 1):
                asyncio.run(prepare(opened_bench.url, enabled=enabled))
                for name, cost in measure_requests(writer):
                    costs[name, enabled].append(cost)
                if number < options.imports:
                    name, cost = measure_import(writer, opened_bench, file)
                    costs[name, enabled].append(cost)
    print_table(costs)


if __name__ == "__main__":
    main()
