"""The load generator: a closed loop of keep-alive connections over raw sockets.

It parses no more of an answer than its status and its length, so that it is several times faster
than what it measures; `benchmarks.ceiling` checks that on every run.
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

GRACE_PERIOD_SECONDS: Final = 30.0  # seconds for answers that are still due at the end
_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class LoadJob:
    """What to send, to which local port, over how many connections, for how many seconds."""

    port: int
    requests: list[bytes]
    connections: int
    seconds: float
    once: bool = False  # each request only, and an end when there are no more


@dataclass(frozen=True)
class LoadResult:
    """What came of a job. Latencies in seconds, sorted; `failures` by status or reason."""

    seconds: float
    latencies: list[float]
    failures: Counter[str]

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        """Seconds within which that share of the answers arrived; not a number without any."""
        if not self.latencies:
            return nan
        index = int(len(self.latencies) * percent / 100)
        return self.latencies[min(index, len(self.latencies) - 1)]


def run_load(job: LoadJob) -> LoadResult:
    """Put the load on the server. To be called in a process of its own, off any event loop."""
    return run_loads([job])[0]


def run_loads(jobs: Sequence[LoadJob]) -> list[LoadResult]:
    """The same of several at once."""
    gc.disable()
    return uvloop.run(_run_concurrently(jobs))


async def _run_concurrently(jobs: Sequence[LoadJob]) -> list[LoadResult]:
    return await asyncio.gather(*(_run_job(job) for job in jobs))


@dataclass
class _LoadState:
    requests: Iterator[bytes]
    deadline: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)


async def _run_job(job: LoadJob) -> LoadResult:
    loop = asyncio.get_running_loop()
    run = _LoadState(iter(job.requests) if job.once else cycle(job.requests))
    clients = [
        (await loop.create_connection(lambda: _Connection(run), "127.0.0.1", job.port))[1]
        for _ in range(job.connections)
    ]
    started = perf_counter()
    run.deadline = started + job.seconds
    for client in clients:
        client.send()
    async with asyncio.timeout(job.seconds + GRACE_PERIOD_SECONDS):
        await asyncio.gather(*(client.done for client in clients))
    return LoadResult(perf_counter() - started, sorted(run.latencies), run.failures)


class _Connection(asyncio.Protocol):
    """One connection: sends a request, waits for its answer, sends the next."""

    def __init__(self, run: _LoadState) -> None:
        self.run = run
        self.done = asyncio.get_running_loop().create_future()
        self._answer, self._size = b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        self._sent = perf_counter()
        if self._sent < self.run.deadline and (request := next(self.run.requests, None)):
            self._transport.write(request)
        else:
            self.done.set_result(None)
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._size:
            self._size = _response_size(self._answer)
        if self._size and len(self._answer) >= self._size:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.run.failures[f"disconnected: {exc}"] += 1
            self.done.set_result(None)

    def _finish(self) -> None:
        self.run.latencies.append(perf_counter() - self._sent)
        status = self._answer[len("HTTP/1.1 ") :][:3]
        if not status.startswith(b"2"):
            self.run.failures[status.decode("latin-1")] += 1
        self._answer, self._size = b"", 0
        self.send()


def _response_size(answer: bytes) -> int:
    """Bytes of the whole answer, head included; 0 while its head is incomplete."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return 0
    length = _CONTENT_LENGTH.search(answer, 0, end)
    return end + 4 + (int(length[1]) if length else 0)
