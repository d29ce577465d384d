"""The open loop of the benchmarks counts the time that requests wait before they are sent."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Final

import pytest

from benchmarks.load import LoadResult
from benchmarks.open_loop import OpenLoopJob, poisson_arrivals, run_open_loop

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
UNAVAILABLE: Final = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
REQUEST: Final = b"GET / HTTP/1.1\r\n\r\n"


@asynccontextmanager
async def running_server(seconds: float, response: bytes | None) -> AsyncIterator[int]:
    """Run a server that handles one request after the other, each in so many seconds.

    Without a response, it closes the connection instead.
    """
    lock = asyncio.Lock()

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        while await reader.readline():
            await reader.readline()
            async with lock:
                await asyncio.sleep(seconds)
            if response is None:
                break
            writer.write(response)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def run_job(port: int, **options: float) -> LoadResult:
    """Run a job in a thread, because the event loop is the server's."""
    job = OpenLoopJob(
        port,
        [REQUEST],
        rate=options["rate"],
        seconds=options["seconds"],
        connections=int(options["connections"]),
    )
    run: Callable[[OpenLoopJob], LoadResult] = run_open_loop
    return await asyncio.to_thread(run, job)


def test_requests_arrive_at_the_average_rate_and_irregularly() -> None:
    times = poisson_arrivals(1_000, 10, seed=1)
    assert 9_500 < len(times) < 10_500
    assert times == sorted(times)
    assert times[-1] < 10
    intervals = [later - earlier for earlier, later in pairwise(times)]
    assert min(intervals) < 0.0001
    assert max(intervals) > 0.005


def test_same_seed_gives_the_same_pattern_at_another_rate() -> None:
    slow = poisson_arrivals(10, 10, seed=1)
    fast = poisson_arrivals(100, 1, seed=1)
    assert fast == pytest.approx([time / 10 for time in slow])
    assert poisson_arrivals(10, 10, seed=2) != slow


@pytest.mark.parametrize("connections", [1, 64])
async def test_latency_includes_the_wait_for_a_server_that_does_not_keep_up(
    connections: int,
) -> None:
    arrivals = poisson_arrivals(100, 1, seed=0)
    async with running_server(0.02, OK) as port:
        load_result = await run_job(port, rate=100, seconds=1, connections=connections)
    assert len(load_result.latencies) == len(arrivals)
    # The last request is handled after all others, at least 20 ms each, and arrived before 1 s.
    assert load_result.percentile(100) > len(arrivals) * 0.02 - 1
    assert not load_result.failures


async def test_failed_requests_are_counted_by_status() -> None:
    async with running_server(0, UNAVAILABLE) as port:
        load_result = await run_job(port, rate=100, seconds=0.5, connections=4)
    assert load_result.failures == {"503": len(poisson_arrivals(100, 0.5, seed=0))}


async def test_job_ends_if_the_server_closes_all_connections() -> None:
    async with running_server(0, None) as port:
        load_result = await run_job(port, rate=100, seconds=0.5, connections=4)
    assert load_result.failures["disconnected"] == 4
    assert load_result.failures["no response"] == len(poisson_arrivals(100, 0.5, seed=0)) - 4
