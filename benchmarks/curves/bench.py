"""Runs servers and sends requests to them, for all curves."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cores import CoreLayout, Cores
from benchmarks.curves.databases import SizedDatabase
from benchmarks.load import LoadJob, LoadResult
from benchmarks.servers import SERVICE_MODULE, Server, running_module
from benchmarks.trials import WARM_UP_SECONDS, LoadGenerator


@dataclass(frozen=True)
class CurveBench:
    """The databases and the load generator, and how much is measured.

    Args:
        layout: The cores of the processes.
        directory: The working directory of the servers.
        databases: A database for each number of books.
        load_generator: Sends the requests.
        rounds: How often each point of a curve is measured.
        seconds: The duration of one measurement.
    """

    layout: CoreLayout
    directory: Path
    databases: Sequence[SizedDatabase]
    load_generator: LoadGenerator
    rounds: int
    seconds: float

    @property
    def usual_database(self) -> SizedDatabase:
        """The database for the curves that do not vary the number of books: up to a million."""
        small_databases = [item for item in self.databases if item.books <= 1_000_000]
        return max(small_databases, key=lambda item: item.books)

    @contextmanager
    def server(
        self,
        database: SizedDatabase,
        cores: Cores | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[Server]:
        """Run the service with a database, on its own core unless `cores` names others."""
        with running_module(
            f"service with {database.books} books",
            SERVICE_MODULE,
            cores=self.layout.server if cores is None else cores,
            directory=self.directory,
            database_url=database.url,
            environment=environment,
        ) as server:
            yield server

    def warm_up(self, server: Server, requests: list[bytes], connections: int = 1) -> None:
        """Send requests that are not measured."""
        self.load_generator.run(LoadJob(server.port, requests, connections, WARM_UP_SECONDS / 4))

    def measure(self, server: Server, requests: list[bytes], connections: int = 1) -> LoadResult:
        """Send requests one after the other on each connection.

        Raises `RuntimeError` if a response is neither 2xx nor 503, with which the service rejects
        requests while too many others wait.
        """
        result = self.load_generator.run(LoadJob(server.port, requests, connections, self.seconds))
        if result.failures.keys() - {"503"}:
            raise RuntimeError(f"{requests[0]!r}: {result.failures}")
        return result
