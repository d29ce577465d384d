"""The load generator: connections that each send a request when the last response is complete.

It parses only the status and the length of a response, so that it is several times faster than the
servers. Each run measures this with `benchmarks.ceiling`.
"""

import asyncio
import gc
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from math import nan
from time import perf_counter
from typing import Final, cast

import uvloop

# The time for responses that are not complete when a job ends.
GRACE_PERIOD_SECONDS: Final = 30.0
_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class LoadJob:
    """The requests to send to a local port, and for how long.

    The requests are repeated until the time is over. With `send_once` each is sent once, and the
    job ends early if none is left.
    """

    port: int
    requests: list[bytes]
    connections: int
    seconds: float
    send_once: bool = False


@dataclass(frozen=True)
class LoadResult:
    """The result of a job: sorted latencies in seconds, and the number of failures by reason.

    Example of failures: `Counter({"503": 2, "disconnected: None": 1})`.
    """

    seconds: float
    latencies: list[float]
    failures: Counter[str]

    @property
    def rate(self) -> float:
        """The number of responses per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        """Return a percentile of the latencies in seconds, or not-a-number without responses."""
        if not self.latencies:
            return nan
        index = int(len(self.latencies) * percent / 100)
        return self.latencies[min(index, len(self.latencies) - 1)]


def run_load(job: LoadJob) -> LoadResult:
    """Run one job. See `run_loads`."""
    return run_loads([job])[0]


def run_loads(jobs: Sequence[LoadJob]) -> list[LoadResult]:
    """Run several jobs at the same time.

    Call it in a separate process without an event loop: it disables garbage collection.
    """
    gc.disable()
    return uvloop.run(_run_concurrently(jobs))


async def _run_concurrently(jobs: Sequence[LoadJob]) -> list[LoadResult]:
    return await asyncio.gather(*(_run_job(job) for job in jobs))


@dataclass
class _LoadState:
    """The state that the connections of a job share."""

    requests: Iterator[bytes]
    deadline: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)


async def _run_job(job: LoadJob) -> LoadResult:
    """Open the connections of a job, and send requests until the job ends."""
    loop = asyncio.get_running_loop()
    requests: Iterator[bytes] = cycle(job.requests)
    if job.send_once:
        requests = iter(job.requests)
    state = _LoadState(requests)
    connections = []
    for _ in range(job.connections):
        _transport, connection = await loop.create_connection(
            lambda: _Connection(state), "127.0.0.1", job.port
        )
        connections.append(connection)
    started = perf_counter()
    state.deadline = started + job.seconds
    for connection in connections:
        connection.send()
    async with asyncio.timeout(job.seconds + GRACE_PERIOD_SECONDS):
        await asyncio.gather(*(connection.done for connection in connections))
    return LoadResult(perf_counter() - started, sorted(state.latencies), state.failures)


class _Connection(asyncio.Protocol):
    """A connection that sends a request, waits for the response, and sends the next request."""

    def __init__(self, state: _LoadState) -> None:
        self._state = state
        self.done = asyncio.get_running_loop().create_future()
        self._response = b""
        self._response_size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        """Send the next request, or close the connection if the job has ended."""
        self._sent_at = perf_counter()
        request = None
        if self._sent_at < self._state.deadline:
            request = next(self._state.requests, None)
        if request is None:
            self.done.set_result(None)
            self._transport.close()
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._response += data
        if not self._response_size:
            self._response_size = response_size(self._response)
        if self._response_size and len(self._response) >= self._response_size:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._state.failures[f"disconnected: {exc}"] += 1
            self.done.set_result(None)

    def _finish(self) -> None:
        """Record a complete response, and send the next request."""
        self._state.latencies.append(perf_counter() - self._sent_at)
        status_position = len("HTTP/1.1 ")
        status = self._response[status_position : status_position + 3]
        if not status.startswith(b"2"):
            self._state.failures[status.decode("latin-1")] += 1
        self._response = b""
        self._response_size = 0
        self.send()


def response_size(response: bytes) -> int:
    """Return the number of bytes of a response, or 0 if its head is incomplete.

    `response` is the part of the response that has been received.
    """
    blank_line = response.find(b"\r\n\r\n")
    if blank_line < 0:
        return 0
    head_size = blank_line + 4
    content_length = _CONTENT_LENGTH.search(response, 0, blank_line)
    if content_length is None:
        return head_size
    return head_size + int(content_length[1])
