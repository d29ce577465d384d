"""The services and the ceiling as real processes, each one worker on one core."""

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

PROJECT_ROOT: Final = Path(__file__).parents[1]
START_TIMEOUT: Final = 30.0  # seconds
_PROCESS_CLOCK: Final = 2  # clock_getcpuclockid(3) makes a clock of this and a process id

# uvicorn picks uvloop and httptools by itself as both are installed; the peer's are spelled out.
BOOKSHELF_MODULE: Final = ("app", "serve")
TUTORIAL_MODULE: Final = (
    *("uvicorn", "benchmarks.tutorial:app", "--workers=1", "--loop=uvloop", "--http=httptools"),
    *("--no-access-log", "--log-level=warning", "--port={port}"),
)
CEILING_MODULE: Final = ("benchmarks.ceiling", "{port}")


class Server:
    """A running service on a local port."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.port = port
        self.pid = process.pid
        self._process = process
        self._usage = psutil.Process(process.pid)

    def cpu(self) -> float:
        """Seconds of processor time that it has used until now, the kernel's included."""
        if sys.platform != "linux":
            times = self._usage.cpu_times()
            return float(times.user + times.system)
        # To the nanosecond: what psutil reads goes by hundredths of a second.
        return clock_gettime(~self.pid << 3 | _PROCESS_CLOCK)

    def memory(self) -> int:
        """Resident bytes."""
        return int(self._usage.memory_info().rss)

    def ask(self, request: bytes) -> tuple[int, Any]:
        """Status and JSON of the answer to one request."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(request)
            answer = HTTPResponse(connection)
            answer.begin()
            return answer.status, json.loads(answer.read() or b"null")

    def wait(self) -> None:
        """Return when it listens."""
        deadline = monotonic() + START_TIMEOUT
        while True:
            if self._process.poll() is not None or monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start")
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            sleep(0.05)


@contextmanager
def running_module(
    name: str,
    module: tuple[str, ...],
    *,
    cores: Cores,
    directory: Path,
    database_url: str = "",
    also: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """The service `python -m module`, listening, until the block ends; `also` is environment."""
    command = (sys.executable, "-m", *module)
    with running_command(
        name, command, cores=cores, directory=directory, database_url=database_url, also=also
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
    also: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """The same of any command, in which `{port}` stands for a free one."""
    port = _free_port()
    with pinned(cores):
        # Elsewhere than in the sources, where a developer's .env would change what is measured.
        process = subprocess.Popen(
            [word.format(port=port) for word in command],
            cwd=directory,
            env={**_environment(port, database_url), **(also or {})},
            stdout=subprocess.DEVNULL,
        )
    try:
        server = Server(name, port, process)
        server.wait()
        yield server
    finally:
        process.terminate()
        process.wait()


def _environment(port: int, database_url: str) -> Mapping[str, str]:
    """All that the service knows of its surroundings."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PROJECT_ROOT),
        "APP_ENV": "test",
        "ANONYMOUS_ACCESS": "full",  # as in the tutorial's
        "DATABASE_URL": database_url,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "LOG_LEVEL": "WARNING",
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
