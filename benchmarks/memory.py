"""Measure the memory of a server with one, two and four processes.

    python -m benchmarks.memory [--processes 1 2 4] [--requests 20000] [--before DIRECTORY]

The memory is the PSS, in which memory that several processes share is divided among them, so that
the sum over all processes of a server is what they occupy together. It is measured when the server
has started, and again after many mixed requests, because each process copies the memory that it
writes to.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import sleep
from typing import Final

import psutil

from app import embedded, schema
from benchmarks.cores import Cores
from benchmarks.dataset import sqlalchemy_url
from benchmarks.leak_load import send_requests
from benchmarks.leaks import fill_database
from benchmarks.servers import (
    SERVICE_MODULE,
    Server,
    environment_of_checkout,
    find_free_port,
    running_module,
)

MIB: Final = 2**20
# A server has started when it has used no CPU time for as long.
QUIET_SECONDS: Final = 1.0


def main() -> None:
    """Run the measurements, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], metavar="N")
    parser.add_argument("--requests", type=int, default=20_000, help="per process (%(default)s)")
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    options = parser.parse_args()
    checkouts: dict[str, Mapping[str, str]] = {"now": {}}
    if options.before:
        checkouts = {"before": environment_of_checkout(options.before), **checkouts}
    print("| code | processes | PSS at start | after requests | processes after requests |")
    print("| --- | ---: | ---: | ---: | --- |")
    with (
        tempfile.TemporaryDirectory() as directory,
        embedded.run_postgres(Path(directory), {"fsync": "off"}) as database,
    ):
        url = database.url()
        schema.upgrade(sqlalchemy_url(url))
        asyncio.run(fill_database(url))
        for name, environment in checkouts.items():
            for process_count in options.processes:
                variables = {
                    **environment,
                    "WEB_CONCURRENCY": str(process_count),
                    "METRICS_PORT": str(find_free_port()),
                }
                with running_module(
                    "service",
                    SERVICE_MODULE,
                    cores=Cores(),
                    directory=Path(directory),
                    database_url=url,
                    environment=variables,
                ) as server:
                    row = _measure(server, options.requests * process_count)
                print(f"| {name} | {process_count} | {row}", flush=True)


def _measure(server: Server, request_count: int) -> str:
    """Measure a server before and after requests, and return the rest of a row of the table."""
    _wait_until_quiet(server)
    memory_at_start = sum(read_memory(server.pid))
    send_requests(server.port, request_count)
    memory = read_memory(server.pid)
    parts = " + ".join(f"{part:.0f}" for part in memory)
    return f"{memory_at_start:.0f} MiB | {sum(memory):.0f} MiB | {parts} |"


def _wait_until_quiet(server: Server) -> None:
    """Wait until all processes of a server have started."""
    used_seconds = server.cpu_seconds()
    while True:
        sleep(QUIET_SECONDS)
        if server.cpu_seconds() - used_seconds < 0.01:
            return
        used_seconds = server.cpu_seconds()


def read_memory(process_id: int) -> list[float]:
    """Return the PSS in MiB of a process and of the Python processes that it has started."""
    main = psutil.Process(process_id)
    children = main.children(recursive=True)
    processes = [main, *(child for child in children if "python" in child.name())]
    return [float(process.memory_full_info().pss) / MIB for process in processes]


if __name__ == "__main__":
    main()
