"""The load generator, and measurements of servers in several rounds."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from benchmarks import load
from benchmarks.cores import CoreLayout, pin
from benchmarks.load import LoadJob, LoadResult
from benchmarks.open_loop import OpenLoopJob, run_open_loop
from benchmarks.servers import CEILING_MODULE, Server, running_module

# The maximum duration of the load before a measurement, which fills pools and prepares statements.
WARM_UP_SECONDS: Final = 1.0


class LoadGenerator:
    """Sends requests to a server from another process, and measures the responses."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def run(self, job: LoadJob) -> LoadResult:
        """Run one job and return its result."""
        return self._pool.submit(load.run_load, job).result()

    def run_concurrently(self, *jobs: LoadJob) -> list[LoadResult]:
        """Run several jobs at the same time, and return their results in the same order."""
        return self._pool.submit(load.run_loads, jobs).result()

    def run_open_loop(self, job: OpenLoopJob) -> LoadResult:
        """Run one job whose requests arrive at a fixed rate, and return its result."""
        return self._pool.submit(run_open_loop, job).result()


def measure_in_rounds(
    load_generator: LoadGenerator,
    variants: Mapping[str, tuple[Server, list[bytes]]],
    rounds: int,
    seconds: float,
    connections: int = 16,
) -> dict[str, list[tuple[float, float]]]:
    """Measure all variants in each round. A variant is a server and the requests to send to it.

    Returns for each variant, round by round, the requests per second and the microseconds of CPU
    time of the server per request. Raises `AssertionError` if a response is not 2xx.
    """
    measurements: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for server, requests in variants.values():
        load_generator.run(LoadJob(server.port, requests, connections, WARM_UP_SECONDS))
    for _ in range(rounds):
        for name, (server, requests) in variants.items():
            cpu_before = server.cpu_seconds()
            load_result = load_generator.run(LoadJob(server.port, requests, connections, seconds))
            assert not load_result.failures, load_result.failures
            cpu_seconds = server.cpu_seconds() - cpu_before
            cpu_per_request = cpu_seconds / len(load_result.latencies) * 1e6
            measurements[name].append((load_result.rate, cpu_per_request))
    return measurements


@contextmanager
def running_load_generator(cores: CoreLayout) -> Iterator[LoadGenerator]:
    """Run the load generator in another process, pinned to its own core, until the block ends."""
    spawn_context = get_context("spawn")
    with ProcessPoolExecutor(1, spawn_context, initializer=pin, initargs=(cores.load,)) as pool:
        yield LoadGenerator(pool)


def measure_ceiling(
    load_generator: LoadGenerator, cores: CoreLayout, directory: Path, connections: int
) -> float:
    """Return the maximum number of requests per second of the load generator.

    The ceiling server always sends the same bytes, so the load generator is the bottleneck.
    """
    with running_module(
        "ceiling", CEILING_MODULE, cores=cores.server, directory=directory
    ) as server:
        return load_generator.run(
            LoadJob(server.port, [b"GET / HTTP/1.1\r\n\r\n"], connections, WARM_UP_SECONDS)
        ).rate
