"""A load generator whose requests arrive at random times, whatever became of earlier ones.

The arrivals are a Poisson process, as of many clients that do not know of each other. Latency is
counted from the time at which a request was meant to be sent. A request that waits because all
connections are busy is therefore as late as its client would see it: a closed loop would send it
later, and not count the wait (coordinated omission).
"""

import gc
import socket
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, cycle, takewhile
from random import Random
from selectors import EVENT_READ, DefaultSelector
from time import perf_counter
from typing import Final

from benchmarks.load import LoadResult, response_size
from benchmarks.precise_wait import wait_for_events

# The time after the last arrival in which responses still count.
_GRACE_PERIOD_SECONDS: Final = 10.0


@dataclass(frozen=True)
class OpenLoopJob:
    """The requests to send to a local port, at an average rate per second, and for how long.

    With the same seed, the requests of two jobs arrive in the same pattern, which is stretched or
    compressed to the rate.
    """

    port: int
    requests: Sequence[bytes]
    rate: float
    seconds: float
    connections: int
    seed: int = 0


def run_open_loop(job: OpenLoopJob) -> LoadResult:
    """Run a job in this process, which should do nothing else, and return the latencies.

    Call it in a separate process: it disables garbage collection.
    """
    gc.disable()
    with DefaultSelector() as selector:
        load = _OpenLoop(job, selector)
        try:
            return load.run()
        finally:
            load.close()


def poisson_arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Return the times in seconds at which requests arrive, at an average rate per second."""
    random = Random(seed)
    intervals = (random.expovariate(1.0) / rate for _ in cycle([None]))
    return list(takewhile(lambda time: time < seconds, accumulate(intervals)))


@dataclass(eq=False)
class _Connection:
    """A connection to the server, and the request that it waits for, if any.

    `due` is the time at which the request was meant to be sent.
    """

    socket: socket.socket
    due: float = 0.0
    response: bytes = b""
    response_size: int = 0


class _OpenLoop:
    """The state of a job that is running."""

    def __init__(self, job: OpenLoopJob, selector: DefaultSelector) -> None:
        self._job = job
        self._selector = selector
        self._requests: Iterator[bytes] = cycle(job.requests)
        self._latencies: list[float] = []
        self._failures: Counter[str] = Counter()
        self._busy_connections: set[_Connection] = set()
        # Used in turns, so that all processes of the server get requests.
        self._idle_connections: deque[_Connection] = deque()
        for _ in range(job.connections):
            connection = _Connection(socket.create_connection(("127.0.0.1", job.port)))
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(connection.socket, EVENT_READ, connection)
            self._idle_connections.append(connection)

    def run(self) -> LoadResult:
        """Send all requests at their times, and wait for the responses."""
        started_at = perf_counter()
        arrivals = deque(
            started_at + time
            for time in poisson_arrivals(self._job.rate, self._job.seconds, self._job.seed)
        )
        deadline = started_at + self._job.seconds + _GRACE_PERIOD_SECONDS
        while arrivals or self._busy_connections:
            now = perf_counter()
            if now > deadline or not (self._busy_connections or self._idle_connections):
                self._failures["no response"] += len(arrivals) + len(self._busy_connections)
                break
            self._send_due_requests(arrivals, now)
            next_time = deadline
            if arrivals and self._idle_connections:
                next_time = arrivals[0]
            for key, _ in wait_for_events(self._selector, next_time - perf_counter()):
                self._receive(key.data)
        return LoadResult(perf_counter() - started_at, sorted(self._latencies), self._failures)

    def close(self) -> None:
        """Close all connections."""
        for key in list(self._selector.get_map().values()):
            key.data.socket.close()

    def _send_due_requests(self, arrivals: deque[float], now: float) -> None:
        """Send the requests whose time has come, as long as connections are idle."""
        while arrivals and arrivals[0] <= now and self._idle_connections:
            connection = self._idle_connections.popleft()
            connection.due = arrivals.popleft()
            self._busy_connections.add(connection)
            connection.socket.sendall(next(self._requests))

    def _receive(self, connection: _Connection) -> None:
        """Read a part of a response, and record the response when it is complete."""
        try:
            data = connection.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        connection.response += data
        if not connection.response_size:
            connection.response_size = response_size(connection.response)
        if connection.response_size and len(connection.response) >= connection.response_size:
            self._finish(connection)

    def _finish(self, connection: _Connection) -> None:
        """Record a complete response. Its connection can be used again."""
        self._latencies.append(perf_counter() - connection.due)
        status = connection.response[9:12]
        if not status.startswith(b"2"):
            self._failures[status.decode("latin-1")] += 1
        connection.response = b""
        connection.response_size = 0
        self._busy_connections.remove(connection)
        self._idle_connections.append(connection)

    def _drop(self, connection: _Connection) -> None:
        """Stop to use a connection that the server has closed."""
        self._selector.unregister(connection.socket)
        connection.socket.close()
        if connection in self._busy_connections:
            self._busy_connections.remove(connection)
            self._failures["disconnected"] += 1
        else:
            self._idle_connections.remove(connection)
