"""Measures all servers in several rounds. In each round every server gets the same requests."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from benchmarks import dataset, load
from benchmarks.contestants import Contestant, installed_contestants
from benchmarks.cores import CoreLayout, pin
from benchmarks.load import LoadJob, LoadResult
from benchmarks.operations import Operation
from benchmarks.results import Plan, Trial
from benchmarks.servers import CEILING_MODULE, Server, running_command, running_module

# The maximum duration of the load before a measurement, which fills pools and prepares statements.
WARM_UP_SECONDS: Final = 1.0
# The maximum time until a row is in the table. Some servers respond before they commit.
COMMIT_TIMEOUT_SECONDS: Final = 5.0


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


@dataclass(frozen=True)
class Experiment:
    """The running servers, which use the same database, and the load generator."""

    plan: Plan
    load_generator: LoadGenerator
    url: str
    data: dataset.Dataset
    servers: Sequence[tuple[Contestant, Server]]

    def run_trials(self, operation: Operation) -> Iterator[Trial]:
        """Warm up all servers, and yield a trial of each server in every round."""
        servers_with_requests = [
            (server, operation.requests(contestant, server, self.data))
            for contestant, server in self.servers
        ]
        connections = max(self.plan.concurrency)
        warm_up_seconds = min(WARM_UP_SECONDS, self.plan.seconds)
        for server, requests in servers_with_requests:
            self._restore_authors(operation)
            self.load_generator.run(
                LoadJob(server.port, requests, connections, warm_up_seconds, operation.send_once)
            )
        for concurrency in self.plan.concurrency:
            for _ in range(self.plan.rounds):
                for server, requests in servers_with_requests:
                    yield self._run_trial(operation, server, requests, concurrency)

    def _run_trial(
        self, operation: Operation, server: Server, requests: list[bytes], concurrency: int
    ) -> Trial:
        """Measure one operation of one server, and check that its writes were committed."""
        author_count = self._restore_authors(operation)
        cpu_before = server.cpu_seconds()
        load_result = self.load_generator.run(
            LoadJob(server.port, requests, concurrency, self.plan.seconds, operation.send_once)
        )
        cpu_seconds = server.cpu_seconds() - cpu_before
        response_count = len(load_result.latencies)
        failures = dict(load_result.failures)
        if operation.writes:
            author_count += operation.authors_added * response_count
            if not self._wait_for_author_count(author_count):
                failures["acknowledged, but not in the table"] = 1
        return Trial(
            operation=operation.name,
            server=server.name,
            concurrency=concurrency,
            rate=load_result.rate,
            p50=load_result.percentile(50) * 1e3,
            p99=load_result.percentile(99) * 1e3,
            longest=load_result.percentile(100) * 1e3,
            cpu=cpu_seconds / max(response_count, 1) * 1e6,
            busy=cpu_seconds / load_result.seconds * 100,
            memory=server.memory_bytes() / 2**20,
            failures=failures,
        )

    def _restore_authors(self, operation: Operation) -> int:
        """Undo the writes of earlier trials, and return the number of authors.

        Does nothing and returns 0 if the operation does not write.
        """
        if not operation.writes:
            return 0
        asyncio.run(dataset.restore_authors(self.url, operation.spare_authors))
        return dataset.AUTHOR_COUNT + operation.spare_authors

    def _wait_for_author_count(self, author_count: int) -> bool:
        """Wait until the table has `author_count` authors. Return False after a timeout."""
        deadline = monotonic() + COMMIT_TIMEOUT_SECONDS
        while asyncio.run(dataset.count_authors(self.url)) != author_count:
            if monotonic() > deadline:
                return False
            sleep(0.01)
        return True


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
def running_contestants(
    url: str, cores: CoreLayout, directory: Path
) -> Iterator[list[tuple[Contestant, Server]]]:
    """Run all installed servers with the same database, until the block ends."""
    with ExitStack() as stack:
        servers = []
        for contestant in installed_contestants():
            server = running_command(
                contestant.name,
                contestant.command,
                cores=cores.server,
                directory=directory,
                database_url=url,
            )
            servers.append((contestant, stack.enter_context(server)))
        yield servers


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
