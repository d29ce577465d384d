"""The proxy of the benchmarks delays messages, and changes nothing else."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import Popen
from threading import Thread
from time import perf_counter
from typing import Final

import pytest

from benchmarks.servers import find_free_port
from tests.support.processes import PROJECT_ROOT

# The delay of each direction in seconds, longer than in the benchmarks, so that a busy machine does
# not hide it.
DELAY: Final = 0.02
# The end of the process takes as long as it has to, so only a broken proxy runs into this timeout.
TIMEOUT: Final = 60.0


def serve_echo(listener: socket.socket) -> None:
    """Send back what each connection sends, until the listening socket is closed."""
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            Thread(target=echo, args=(connection,), daemon=True).start()


def echo(connection: socket.socket) -> None:
    """Send back what a connection sends, and close it when the other side ends or sends "bye"."""
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)
            if data == b"bye":
                return


@contextmanager
def running_proxy(directory: Path, delay: float) -> Iterator[int]:
    """Run a server that echoes, and the proxy in front of it. Yield the port of the proxy."""
    target = directory / "socket"
    port = find_free_port()
    command = [sys.executable, "-m", "benchmarks.delay_proxy", str(port), str(target), str(delay)]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(target))
        listener.listen()
        Thread(target=serve_echo, args=(listener,), daemon=True).start()
        process = Popen(command, cwd=PROJECT_ROOT)
        try:
            yield port
        finally:
            process.terminate()
            process.wait()


def connect(port: int) -> socket.socket:
    """Connect to the proxy as soon as it listens."""
    deadline = perf_counter() + TIMEOUT
    while perf_counter() < deadline:
        with suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    raise TimeoutError


def receive(connection: socket.socket, size: int) -> bytes:
    """Receive so many bytes."""
    received = bytearray()
    while len(received) < size:
        received += connection.recv(65536)
    return bytes(received)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The port of a proxy in front of a server that echoes."""
    with running_proxy(tmp_path, DELAY) as proxy_port:
        yield proxy_port


def test_each_direction_of_a_round_trip_is_delayed(port: int) -> None:
    with connect(port) as connection:
        for _ in range(5):
            started_at = perf_counter()
            connection.sendall(b"ping")
            assert receive(connection, 4) == b"ping"
            assert perf_counter() - started_at >= 2 * DELAY


def test_delays_shorter_than_a_millisecond_are_possible(tmp_path: Path) -> None:
    durations = []
    with running_proxy(tmp_path, 0.0005) as fast_port, connect(fast_port) as connection:
        for _ in range(200):
            started_at = perf_counter()
            connection.sendall(b"ping")
            receive(connection, 4)
            durations.append(perf_counter() - started_at)
    assert min(durations) >= 0.001
    # Timers that count milliseconds would need at least one for each direction.
    assert min(durations) < 0.002


def test_messages_are_delayed_independently(port: int) -> None:
    connections = [connect(port) for _ in range(20)]
    started_at = perf_counter()
    for connection in connections:
        connection.sendall(b"ping")
    for connection in connections:
        assert receive(connection, 4) == b"ping"
        connection.close()
    # One after the other, they would need all of this time.
    assert perf_counter() - started_at < len(connections) * 2 * DELAY


def test_large_transfers_arrive_unchanged(port: int) -> None:
    data = os.urandom(8_000_000)
    with connect(port) as connection:
        sender = Thread(target=connection.sendall, args=(data,))
        sender.start()
        assert receive(connection, len(data)) == data
        sender.join()


def test_connection_that_the_server_closes_ends_after_its_last_bytes(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(b"bye")
        assert receive(connection, 3) == b"bye"
        assert connection.recv(1) == b""
