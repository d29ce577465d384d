"""Observers of a server during uploads: the latency of other requests, memory and disk usage."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from threading import Event
from time import perf_counter, sleep
from typing import Final

import psutil

from benchmarks.servers import Server

PROBE_INTERVAL_SECONDS: Final = 0.01
POLL_SECONDS: Final = 0.05


@contextmanager
def probing(server: Server, path: str) -> Iterator[list[float]]:
    """Send a GET request every PROBE_INTERVAL_SECONDS while the block runs.

    Yields the list to which the latencies in milliseconds are added.
    """
    stop = Event()
    latencies: list[float] = []
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def probe() -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            while not stop.wait(PROBE_INTERVAL_SECONDS):
                started_at = perf_counter()
                connection.sendall(request)
                response = HTTPResponse(connection)
                response.begin()
                response.read()
                latencies.append((perf_counter() - started_at) * 1e3)
                if response.status != 200:
                    raise RuntimeError(f"{path}: {response.status}")

    with ThreadPoolExecutor(1) as thread:
        probes = thread.submit(probe)
        # Ignore the first requests, which open connections and fill caches.
        sleep(0.1)
        latencies.clear()
        try:
            yield latencies
        finally:
            stop.set()
        probes.result()


@dataclass
class Footprint:
    """The memory and disk usage of a process.

    Args:
        idle: Resident memory before the load, in bytes.
        peak: Highest resident memory, in bytes.
        pss: Highest proportional set size, in bytes: memory that processes share is divided.
        written: Bytes written to disk.
        files: Highest number of temporary files that were open at the same time.
    """

    idle: int
    peak: int = 0
    pss: int = 0
    written: int = 0
    files: int = 0


@contextmanager
def watching(server: Server, temporary_directory: Path) -> Iterator[Footprint]:
    """Observe the process of a server that has just started, while the block runs (Linux only).

    The footprint that is yielded is complete after the block.
    """
    process = psutil.Process(server.pid)
    stop = Event()
    footprint = Footprint(server.memory_bytes())
    written_before = process.io_counters().write_bytes

    def watch() -> None:
        while not stop.wait(POLL_SECONDS):
            pss = _read_kilobytes(server.pid, "smaps_rollup", "Pss:")
            open_files = _count_open_files(server.pid, temporary_directory)
            footprint.pss = max(footprint.pss, pss)
            footprint.files = max(footprint.files, open_files)

    with ThreadPoolExecutor(1) as thread:
        watcher = thread.submit(watch)
        try:
            yield footprint
        finally:
            stop.set()
        watcher.result()
    footprint.peak = _read_kilobytes(server.pid, "status", "VmHWM:")
    footprint.written = process.io_counters().write_bytes - written_before


def _read_kilobytes(pid: int, file_name: str, field: str) -> int:
    """Return a field of a file in /proc that is in kilobytes, converted to bytes.

    Example of a line: `VmHWM:     5432 kB`.
    """
    text = Path(f"/proc/{pid}/{file_name}").read_text()
    kilobytes = text.partition(f"\n{field}")[2].split()[0]
    return int(kilobytes) * 1024


def _count_open_files(pid: int, directory: Path) -> int:
    """Return how many files in a directory a process has open, also files that were deleted."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        # The process may close the file at any time.
        with suppress(OSError):
            if str(descriptor.readlink()).startswith(str(directory)):
                count += 1
    return count
