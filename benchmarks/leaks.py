"""Check that requests, disconnects and ticks of jobs leave the memory of a process as it was.

    python -m benchmarks.leaks [--requests 100000] [--disconnects 10000] [--processes 1] [--worker]

Sends mixed requests to a server, and disconnects clients in the middle of others. After each of
several rounds, prints the memory and the open files of all processes of the server. With
`--worker`, runs a worker instead, whose jobs are due every second. The last lines have the slopes
in the second half of the rounds, because caches are still being filled in the first one.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import linear_regression
from time import sleep
from typing import Final

import asyncpg
import psutil

from app import embedded, schema
from benchmarks.cores import Cores
from benchmarks.dataset import insert_rows, sqlalchemy_url
from benchmarks.leak_load import disconnect, send_requests
from benchmarks.servers import SERVICE_MODULE, Server, running_module

ROUNDS: Final = 10
TICKS_PER_ROUND: Final = 30
# The time in which a server ends the requests of clients that have disconnected, and closes the
# connections that are idle.
IDLE_SECONDS: Final = 8
AUTHORS: Final = 1_000
BOOKS: Final = 20_000
_COUNT_CONNECTIONS: Final = """
SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
"""
# Prints its port like a server, so that it can be started like one.
WORKER_MODULE: Final = ("benchmarks.leak_worker", "{port}")


@dataclass(frozen=True)
class Sample:
    """Resources of the processes of a server, without those of the embedded object store."""

    rss_mib: float
    pss_mib: float
    files: int
    threads: int
    sockets: int
    database_connections: int


def take_sample(server: Server, url: str) -> Sample:
    """Measure the main process of a server and the Python processes that it has started."""
    main = psutil.Process(server.pid)
    children = main.children(recursive=True)
    processes = [main, *(child for child in children if "python" in child.name())]
    memory = [process.memory_full_info() for process in processes]
    return Sample(
        rss_mib=sum(usage.rss for usage in memory) / 2**20,
        pss_mib=sum(usage.pss for usage in memory) / 2**20,
        files=sum(process.num_fds() for process in processes),
        threads=sum(process.num_threads() for process in processes),
        sockets=sum(len(process.net_connections()) for process in processes),
        database_connections=asyncio.run(count_connections(url)),
    )


async def count_connections(url: str) -> int:
    """Return the number of connections to the database, except this one."""
    connection = await asyncpg.connect(url)
    count: int = await connection.fetchval(_COUNT_CONNECTIONS)
    await connection.close()
    return count - 1


async def fill_database(url: str) -> None:
    """Insert the books that requests read."""
    connection = await asyncpg.connect(url)
    await insert_rows(connection, AUTHORS, BOOKS)
    await connection.close()


def measure(server: Server, url: str, run_round: Callable[[], None]) -> None:
    """Run all rounds, and print a sample after each, and the slopes."""
    names = [field.name for field in fields(Sample)]
    print("| round | " + " | ".join(names) + " |")
    print("| ---: |" + " ---: |" * len(names))
    samples = []
    for number in range(ROUNDS + 1):
        if number > 0:
            run_round()
        sleep(IDLE_SECONDS)
        sample = take_sample(server, url)
        samples.append(astuple(sample))
        print(
            f"| {number} | " + " | ".join(f"{value:.4g}" for value in astuple(sample)) + " |",
            flush=True,
        )
    second_half = samples[ROUNDS // 2 :]
    for name, values in zip(names, zip(*second_half, strict=True), strict=True):
        slope = linear_regression(range(len(values)), values).slope
        print(f"{name}: {slope:+.3f} per round")


def main() -> None:
    """Parse the command line, and measure a server or a worker."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leaks", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="mixed requests")
    parser.add_argument("--disconnects", type=int, default=10_000, help="disconnected clients")
    parser.add_argument("--processes", type=int, default=1, help="processes of the server")
    parser.add_argument("--worker", action="store_true", help="measure a worker")
    options = parser.parse_args()
    module = WORKER_MODULE if options.worker else SERVICE_MODULE
    with (
        tempfile.TemporaryDirectory(prefix="bookshelf-leaks-") as directory,
        embedded.run_postgres(Path(directory), {"fsync": "off"}) as database,
    ):
        url = database.url()
        schema.upgrade(sqlalchemy_url(url))
        asyncio.run(fill_database(url))
        environment = {"WEB_CONCURRENCY": str(options.processes), "LOG_LEVEL": "ERROR"}
        with running_module(
            "service",
            module,
            cores=Cores(),
            directory=Path(directory),
            database_url=url,
            environment=environment,
        ) as server:

            def load_server() -> None:
                send_requests(server.port, options.requests // ROUNDS)
                disconnect(server.port, options.disconnects // ROUNDS)

            def wait_for_ticks() -> None:
                sleep(TICKS_PER_ROUND)

            measure(server, url, wait_for_ticks if options.worker else load_server)


if __name__ == "__main__":
    main()
