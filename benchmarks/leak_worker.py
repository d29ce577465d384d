"""A worker whose jobs are due every second. `benchmarks.leaks` measures it.

    python -m benchmarks.leak_worker PORT

It listens on the port, because the benchmarks wait until a process does so.
"""

import asyncio
import socket
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Final

from app.cli import runtime
from app.worker import JOBS, run_worker

INTERVAL: Final = timedelta(seconds=1)


def main() -> None:
    """Run all jobs of the service every second, until the process receives a stop signal."""
    jobs = tuple(replace(job, interval=INTERVAL) for job in JOBS)
    settings = runtime.load_settings()
    with (
        socket.create_server(("127.0.0.1", int(sys.argv[1]))),
        runtime.provide_object_store(settings) as complete_settings,
    ):
        asyncio.run(run_worker(complete_settings, jobs))


if __name__ == "__main__":
    main()
