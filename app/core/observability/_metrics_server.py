"""The HTTP server that exports metrics to Prometheus, on a separate port."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Metric,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from app import NAME
from app.core.observability._instruments import DIRECTORY_VARIABLE, Counter

SHARED_MEMORY_DIRECTORY: Final = "/dev/shm"  # noqa: S108 - a private directory is created in it

# Only a process that supervises others has this metric, and it always writes it to a file.
_REPLACED_PROCESSES: Final = Counter(
    "server_processes_replaced", "Server processes that died and were replaced", registry=None
)


def count_replaced_process() -> None:
    """Count a server process that has died and is replaced."""
    _REPLACED_PROCESSES.inc()


@contextmanager
def serve_metrics(host: str, port: int) -> Iterator[None]:
    """Serve the metrics of this process to Prometheus, on `/metrics`, while the block lasts.

    Does nothing if the port is 0. Raises `OSError` if the port is in use.
    """
    if port == 0:
        yield
        return
    with _run_http_server(host, port, REGISTRY):
        yield


@contextmanager
def share_metrics() -> Iterator[Path]:
    """Have this process and those that it starts inside the block write their metrics to files.

    Yields the directory of the files for `serve_shared_metrics`, and deletes it after the block.
    """
    # None stands for the default directory for temporary files. Shared memory is faster, and it is
    # also writable in a container whose file system is read-only.
    parent_directory = None
    if os.access(SHARED_MEMORY_DIRECTORY, os.W_OK):
        parent_directory = SHARED_MEMORY_DIRECTORY
    with TemporaryDirectory(prefix=f"{NAME}-metrics-", dir=parent_directory) as directory:
        os.environ[DIRECTORY_VARIABLE] = directory
        # Prometheus computes the rate of a counter only from its first value.
        _REPLACED_PROCESSES.inc(0)
        try:
            yield Path(directory)
        finally:
            del os.environ[DIRECTORY_VARIABLE]


@contextmanager
def serve_shared_metrics(host: str, port: int, directory: Path) -> Iterator[None]:
    """Serve the sums of the metrics of several processes while the block lasts.

    `directory` is that of `share_metrics`. Raises `OSError` if the port is in use.
    """
    registry = CollectorRegistry()
    registry.register(_MultipleProcessCollector(directory))
    with _run_http_server(host, port, registry):
        yield


@contextmanager
def _run_http_server(host: str, port: int, registry: CollectorRegistry) -> Iterator[None]:
    """Serve the metrics of a registry in a thread while the block lasts."""
    server, thread = start_http_server(port, host, registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _MultipleProcessCollector(Collector):
    """Collects the metrics that several processes have written to files in a directory.

    Memory and CPU time are returned for each living process, with the process id as the label
    `pid`. All other metrics are sums over all processes.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterator[Metric]:
        """Return the current metrics. `prometheus_client` calls this for each scrape."""
        process_ids = self._find_process_ids()
        for process_id in process_ids:
            if not _process_exists(process_id):
                # Delete the gauges that the dead process has left, so that no sum includes them.
                mark_process_dead(process_id, str(self._directory))

        yield from _collect_memory_and_cpu_time(process_ids)
        yield from MultiProcessCollector.merge(self._find_files())

    def _find_files(self) -> list[str]:
        """Return the paths of the files that contain metrics.

        A process that is killed at the moment in which it creates a file leaves an empty one.
        """
        files = []
        for path in self._directory.glob("*.db"):
            # Another scrape may delete the file of a dead process at this moment.
            with suppress(FileNotFoundError):
                if path.stat().st_size > 0:
                    files.append(str(path))
        return files

    def _find_process_ids(self) -> set[int]:
        """Return the ids of all processes that have written metrics to the directory.

        The ids are in the names of the files, for example 1234 in `gauge_livesum_1234.db`.
        """
        return {int(path.stem.rpartition("_")[2]) for path in self._directory.glob("*.db")}


def _collect_memory_and_cpu_time(process_ids: set[int]) -> Iterable[Metric]:
    """Return metrics such as `process_cpu_seconds_total`, with one sample for each process.

    A sample has the process id as the label `pid`. Processes that no longer exist are left out.
    """
    metrics: dict[str, Metric] = {}
    for process_id in process_ids:
        # The collector returns nothing if the process does not exist. A registry is not needed,
        # because this function calls the collector itself.
        process_collector = ProcessCollector(pid=partial(str, process_id), registry=None)
        for process_metric in process_collector.collect():
            name = process_metric.name
            if name not in metrics:
                metrics[name] = Metric(name, process_metric.documentation, process_metric.type)
            for sample in process_metric.samples:
                labeled_sample = sample._replace(labels={"pid": str(process_id)})
                metrics[name].samples.append(labeled_sample)
    return metrics.values()


def _process_exists(process_id: int) -> bool:
    """Return whether a process with this id exists."""
    try:
        # Signal 0 does nothing, but sending it fails if the process does not exist.
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True
