"""Programs and processes of a drill."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from app.embedded.processes import get_exit_with_parent_prefix, start_process


def find_program(name: str) -> str | None:
    """Return the path of a program, or None if it is not installed."""
    # Debian installs HAProxy in a directory that is not in the PATH of every user.
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def find_free_port() -> int:
    """Return a TCP port on which no process is listening."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def running_process(
    command: list[str], log_file: Path, environment: dict[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process until the block ends. It also ends with this process."""
    process = start_process([*get_exit_with_parent_prefix(), *command], log_file, environment)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def kill_processes(processes: Sequence[psutil.Process]) -> None:
    """Kill the processes of a server, as if its machine had failed."""
    for process in processes:
        # The end of Postgres's main process ends its children.
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes)
