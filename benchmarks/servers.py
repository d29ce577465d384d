"""Runs the servers of a benchmark in processes of their own."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from time import clock_gettime, monotonic, sleep
from typing import Any, Final

import psutil

from benchmarks.cores import Cores, pinned
from benchmarks.forms import PLAIN
from benchmarks.log_reader import LogReader
from benchmarks.process_memory import shared_memory_bytes

PROJECT_ROOT: Final = Path(__file__).parents[1]
START_TIMEOUT: Final = 120.0  # seconds
# clock_getcpuclockid(3) combines this constant and a process id into the id of the CPU clock.
_PROCESS_CLOCK: Final = 2

# The arguments of `python -m` for each server. `{port}` is replaced by a free port. This
# service uses uvloop and httptools too, which uvicorn chooses if they are installed.
SERVICE_MODULE: Final = ("app", "serve")
TUTORIAL_MODULE: Final = (
    *("uvicorn", "benchmarks.tutorial:app", "--workers=1", "--loop=uvloop", "--http=httptools"),
    *("--no-access-log", "--log-level=warning", "--port={port}"),
)
CEILING_MODULE: Final = ("benchmarks.ceiling", "{port}")


class Server:
    """A running service on a local port.

    `log` reads its log lines, and `token` is the access token for its requests, if they are set.
    """

    def __init__(
        self,
        name: str,
        port: int,
        process: subprocess.Popen[bytes],
        log: LogReader | None = None,
        token: str = "",
    ) -> None:
        self.name = name
        self.port = port
        self.pid = process.pid
        self.log = log
        self.token = token
        self._process = process
        self._usage = psutil.Process(process.pid)

    def cpu_seconds(self) -> float:
        """Return the CPU time that the process and its child processes have used.

        Includes time in the kernel.
        """
        return sum(_cpu_seconds_of(process) for process in self._processes())

    def memory_bytes(self) -> int:
        """Return the resident memory of the process."""
        return int(self._usage.memory_info().rss)

    def shared_memory_bytes(self) -> int:
        """Return the PSS of the process and its child processes."""
        return shared_memory_bytes(self._processes())

    def send(self, request: bytes) -> tuple[int, Any]:
        """Send one request, and return the status and the JSON of the response."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(request)
            response = HTTPResponse(connection)
            response.begin()
            return response.status, json.loads(response.read() or b"null")

    def wait_until_listening(self) -> None:
        """Return when the server accepts connections.

        Raises `RuntimeError` if the process ends or START_TIMEOUT is over.
        """
        deadline = monotonic() + START_TIMEOUT
        while True:
            if self._process.poll() is not None or monotonic() > deadline:
                reason = self.log.last_lines if self.log else ""
                raise RuntimeError(f"{self.name} did not start. {reason}".strip())
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            sleep(0.05)

    def _processes(self) -> list[psutil.Process]:
        return [self._usage, *self._usage.children(recursive=True)]


def _cpu_seconds_of(process: psutil.Process) -> float:
    """Return the CPU time of one process."""
    if sys.platform != "linux":
        times = process.cpu_times()
        return float(times.user + times.system)
    # The clock counts nanoseconds. psutil reads hundredths of a second.
    return clock_gettime(~process.pid << 3 | _PROCESS_CLOCK)


@contextmanager
def running_module(
    name: str,
    module: tuple[str, ...],
    *,
    cores: Cores,
    directory: Path,
    database_url: str = "",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run `python -m` with the words of `module`. See `running_command`."""
    command = (sys.executable, "-m", *module)
    with running_command(
        name,
        command,
        cores=cores,
        directory=directory,
        database_url=database_url,
        environment=environment,
    ) as server:
        yield server


@contextmanager
def running_command(
    name: str,
    command: Sequence[str],
    *,
    cores: Cores,
    directory: Path,
    database_url: str = "",
    environment: Mapping[str, str] | None = None,
    log: LogReader | None = None,
    token: str = "",
) -> Iterator[Server]:
    """Run a server until the block ends, and yield it when it accepts connections.

    Args:
        name: The name of the server in the results.
        command: The words of the command. `{port}` is replaced by a free port.
        cores: The cores that the process may use.
        directory: The working directory.
        database_url: The value of DATABASE_URL.
        environment: Other environment variables.
        log: Receives what the server prints. Without it, standard output is discarded.
        token: The access token for its requests.
    """
    port = find_free_port()
    with pinned(cores):
        # The working directory has no .env file, which would change the settings of the service.
        process = subprocess.Popen(
            [word.format(port=port) for word in command],
            cwd=directory,
            env={**_common_environment(port, database_url), **(environment or {})},
            stdout=log.write_end if log else subprocess.DEVNULL,
            stderr=log.write_end if log else None,
        )
    try:
        server = Server(name, port, process, log, token)
        server.wait_until_listening()
        yield server
    finally:
        process.terminate()
        process.wait()


def environment_of_checkout(directory: Path) -> dict[str, str]:
    """Return the environment variables with which a server runs the code of another checkout.

    It has its own embedded S3 server, because another version may not be able to share one.
    """
    return {"PYTHONPATH": str(directory.resolve()), "DATA_DIR": ".data-of-other-checkout"}


def _common_environment(port: int, database_url: str) -> Mapping[str, str]:
    """Return the environment variables of every server."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PROJECT_ROOT),
        "APP_ENV": "test",
        # The tutorial does not authenticate requests either.
        "ANONYMOUS_ACCESS": "full",
        "DATABASE_URL": database_url,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "LOG_LEVEL": "WARNING",
        **PLAIN.environment(metrics_port=0),
    }


def find_free_port() -> int:
    """Return the number of a TCP port on which no process is listening."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
