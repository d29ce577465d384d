"""The experiment: both servers by turns, the same requests, several rounds."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final
from uuid import UUID

from benchmarks import dataset, load
from benchmarks.cores import Layout, pin
from benchmarks.load import Job, Load
from benchmarks.operations import Operation
from benchmarks.servers import CEILING, OURS, TUTORIAL, Server, running

WARM_UP: Final = 1.0  # seconds; opens the pools, prepares the statements
Generator = Callable[[Job], Load]


@dataclass(frozen=True)
class Plan:
    """How much to measure: `seconds` is of one trial, `concurrency` its connections."""

    rounds: int
    seconds: float
    concurrency: int


@dataclass(frozen=True)
class Trial:
    """One server under one operation for a few seconds."""

    operation: str
    server: str
    rate: float  # requests per second
    p50: float  # milliseconds
    p99: float  # milliseconds
    cpu: float  # microseconds of the server's processor time per request
    busy: float  # percent of one core that the server used; below 100 something else was slower
    memory: float  # MiB, resident
    failures: Counter[str]


class Experiment:
    """Both services over the same tables, and who puts the load on them."""

    def __init__(
        self,
        plan: Plan,
        generate: Generator,
        url: str,
        books: Sequence[UUID],
        servers: list[Server],
    ) -> None:
        self.plan = plan
        self.servers = servers
        self._generate = generate
        self._url = url
        self._books = books

    def trials(self, operation: Operation) -> Iterator[Trial]:
        """Warm both up, then measure them by turns."""
        requests = operation.requests(self._books)
        for server in self.servers:
            self._load(server, requests, WARM_UP)
        for _ in range(self.plan.rounds):
            for server in self.servers:
                yield self._trial(operation, server, requests)
        self._restore(operation)

    def check(self, operation: Operation) -> None:
        """Raise unless the peer's answer is part of ours: both do the same work."""
        request = operation.requests(self._books)[0]
        (status, ours), *others = (server.ask(request) for server in self.servers)
        self._restore(operation)
        for other_status, theirs in others:
            same = (
                theirs.keys() <= ours.keys() if operation.writes else theirs.items() <= ours.items()
            )
            if other_status != status or not same:
                raise RuntimeError(f"{operation.name}: {status} {ours} is not {theirs}")

    def _trial(self, operation: Operation, server: Server, requests: list[bytes]) -> Trial:
        self._restore(operation)
        before = server.cpu()
        done = self._load(server, requests, self.plan.seconds)
        used = server.cpu() - before
        return Trial(
            operation=operation.name,
            server=server.name,
            rate=done.rate,
            p50=done.percentile(50) * 1e3,
            p99=done.percentile(99) * 1e3,
            cpu=used / max(len(done.latencies), 1) * 1e6,
            busy=used / done.seconds * 100,
            memory=server.memory() / 2**20,
            failures=done.failures,
        )

    def _load(self, server: Server, requests: list[bytes], seconds: float) -> Load:
        return self._generate(Job(server.port, requests, self.plan.concurrency, seconds))

    def _restore(self, operation: Operation) -> None:
        if operation.writes:
            asyncio.run(dataset.restore(self._url))


@contextmanager
def both(url: str, cores: Layout, directory: Path) -> Iterator[list[Server]]:
    """Our service and the tutorial's over one database, ours first."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                running(name, module, cores=cores.server, directory=directory, database_url=url)
            )
            for name, module in (("bookshelf", OURS), ("tutorial", TUTORIAL))
        ]


@contextmanager
def generator(cores: Layout) -> Iterator[Generator]:
    """The load generator, in a process of its own."""
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=pin, initargs=(cores.load,)) as pool:
        yield lambda job: pool.submit(load.run, job).result()


def ceiling(generate: Generator, cores: Layout, directory: Path, connections: int) -> float:
    """Requests per second that the load generator reaches against a server that does nothing."""
    with running("ceiling", CEILING, cores=cores.server, directory=directory) as server:
        return generate(Job(server.port, [b"GET / HTTP/1.1\r\n\r\n"], connections, WARM_UP)).rate
