"""The experiment: all servers by turns, the same requests, several rounds."""

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

WARM_UP_SECONDS: Final = 1.0  # seconds at most; opens the pools, prepares the statements
COMMIT_TIMEOUT_SECONDS: Final = 5.0  # seconds until what was acknowledged has to be in the table


class LoadGenerator:
    """The load generator, in a process of its own."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def __call__(self, job: LoadJob) -> LoadResult:
        return self._pool.submit(load.run_load, job).result()

    def together(self, *jobs: LoadJob) -> list[LoadResult]:
        """Several loads at once."""
        return self._pool.submit(load.run_loads, jobs).result()


@dataclass(frozen=True)
class Experiment:
    """All services over the same tables, and who puts the load on them."""

    plan: Plan
    generate: LoadGenerator
    url: str
    data: dataset.Dataset
    servers: Sequence[tuple[Contestant, Server]]

    def trials(self, operation: Operation) -> Iterator[Trial]:
        """Warm all up, then measure them by turns."""
        asked = [operation.requests(who, server, self.data) for who, server in self.servers]
        for (_, server), requests in zip(self.servers, asked, strict=True):
            self._restore(operation)
            most, seconds = max(self.plan.concurrency), min(WARM_UP_SECONDS, self.plan.seconds)
            self.generate(LoadJob(server.port, requests, most, seconds, operation.once))
        for concurrency in self.plan.concurrency:
            for _ in range(self.plan.rounds):
                for (_, server), requests in zip(self.servers, asked, strict=True):
                    yield self._trial(operation, server, requests, concurrency)

    def _trial(
        self, operation: Operation, server: Server, requests: list[bytes], concurrency: int
    ) -> Trial:
        rows = self._restore(operation)
        before = server.cpu()
        done = self.generate(
            LoadJob(server.port, requests, concurrency, self.plan.seconds, operation.once)
        )
        used = server.cpu() - before
        count = len(done.latencies)
        kept = not operation.writes or self._kept(rows + operation.adds * count)
        lost = {} if kept else {"acknowledged, but not in the table": 1}
        return Trial(
            operation=operation.name,
            server=server.name,
            concurrency=concurrency,
            rate=done.rate,
            p50=done.percentile(50) * 1e3,
            p99=done.percentile(99) * 1e3,
            longest=done.percentile(100) * 1e3,
            cpu=used / max(count, 1) * 1e6,
            busy=used / done.seconds * 100,
            memory=server.memory() / 2**20,
            failures=dict(done.failures) | lost,
        )

    def _restore(self, operation: Operation) -> int:
        """The tables as every trial of the operation finds them; how many authors there are."""
        if not operation.writes:
            return 0
        asyncio.run(dataset.restore_authors(self.url, operation.spares))
        return dataset.AUTHOR_COUNT + operation.spares

    def _kept(self, rows: int) -> bool:
        """Whether there are so many authors: some commit only after they have answered."""
        deadline = monotonic() + COMMIT_TIMEOUT_SECONDS
        while asyncio.run(dataset.count_authors(self.url)) != rows:
            if monotonic() > deadline:
                return False
            sleep(0.01)
        return True


def measure_in_turns(
    generate: LoadGenerator,
    variants: Mapping[str, tuple[Server, list[bytes]]],
    rounds: int,
    seconds: float,
    connections: int = 16,
) -> dict[str, list[tuple[float, float]]]:
    """Requests per second and microseconds of the server's CPU per request, round by round."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for server, requests in variants.values():
        generate(LoadJob(server.port, requests, connections, WARM_UP_SECONDS))
    for _ in range(rounds):
        for name, (server, requests) in variants.items():
            before = server.cpu()
            done = generate(LoadJob(server.port, requests, connections, seconds))
            assert not done.failures, done.failures
            used = (server.cpu() - before) / len(done.latencies) * 1e6
            found[name].append((done.rate, used))
    return found


@contextmanager
def running_contestants(
    url: str, cores: CoreLayout, directory: Path
) -> Iterator[list[tuple[Contestant, Server]]]:
    """Every service that can be started here, over one database, ours first."""
    with ExitStack() as stack:
        yield [
            (
                who,
                stack.enter_context(
                    running_command(
                        *(who.name, who.command),
                        cores=cores.server,
                        directory=directory,
                        database_url=url,
                    )
                ),
            )
            for who in installed_contestants()
        ]


@contextmanager
def running_load_generator(cores: CoreLayout) -> Iterator[LoadGenerator]:
    """The load generator, in a process of its own."""
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=pin, initargs=(cores.load,)) as pool:
        yield LoadGenerator(pool)


def measure_ceiling(
    generate: LoadGenerator, cores: CoreLayout, directory: Path, connections: int
) -> float:
    """Requests per second that the load generator reaches against a server that does nothing."""
    with running_module(
        "ceiling", CEILING_MODULE, cores=cores.server, directory=directory
    ) as server:
        return generate(
            LoadJob(server.port, [b"GET / HTTP/1.1\r\n\r\n"], connections, WARM_UP_SECONDS)
        ).rate
