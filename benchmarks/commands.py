"""Runs a command of the service in a process of its own, and measures the process."""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks.servers import PROJECT_ROOT


@dataclass(frozen=True)
class CommandRun:
    """The measurements of one command, whether it succeeded, and the last line of its output."""

    seconds: float
    # The CPU time of the command, without that of Postgres.
    cpu_seconds: float
    peak_memory_mib: float
    has_succeeded: bool
    last_line: str


def run_command(url: str, *command: str, checkout: Path = PROJECT_ROOT) -> CommandRun:
    """Run a command such as `import books.csv` on the database at this URL.

    `checkout` is the directory that contains the code of the service.
    """
    with tempfile.TemporaryFile("w+") as output:
        started_at = perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "app", *command],
            cwd=checkout,
            env={
                **os.environ,
                "PYTHONPATH": str(checkout.resolve()),
                "DATABASE_URL": url,
                "LOG_LEVEL": "ERROR",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        # Unlike `subprocess`, this returns the peak memory of this one process.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = perf_counter() - started_at
        output.seek(0)
        *_, last_line = output.read().strip().split("\n")
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return CommandRun(seconds, cpu_seconds, usage.ru_maxrss / 1024, status == 0, last_line)
