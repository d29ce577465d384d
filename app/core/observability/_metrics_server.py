"""The HTTP server that exports metrics to Prometheus, on a separate port."""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
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
from app.core.observability._metrics import DIRECTORY_VARIABLE

SHARED_MEMORY_DIRECTORY: Final = "/dev/shm"  # noqa: S108 - a private directory is created in it


@contextmanager
def serve_metrics(host: str, port: int, process_count: int = 1) -> Iterator[None]:
    """Serve `/metrics` while the block lasts. Do nothing if the port is 0.

    If `process_count` is 1, these are the metrics of this process. Otherwise, they are the metrics
    of all processes that are started inside the block, added up.

    Raises `OSError` if the port is in use.
    """
    if port == 0:
        yield
        return
    with ExitStack() as stack:
        registry = REGISTRY
        if process_count > 1:
            directory = stack.enter_context(_metrics_directory())
            registry = CollectorRegistry()
            registry.register(_MultipleProcessCollector(directory))
        stack.enter_context(_run_http_server(host, port, registry))
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


@contextmanager
def _metrics_directory() -> Iterator[Path]:
    """Create the directory in which processes share their metrics while the block lasts.

    Child processes get its path in the environment variable `PROMETHEUS_MULTIPROC_DIR`.
    """
    # Shared memory is fast, and it exists in a container with a read-only file system too.
    parent = None
    if os.access(SHARED_MEMORY_DIRECTORY, os.W_OK):
        parent = SHARED_MEMORY_DIRECTORY
    with TemporaryDirectory(prefix=f"{NAME}-metrics-", dir=parent) as directory:
        os.environ[DIRECTORY_VARIABLE] = directory
        try:
            yield Path(directory)
        finally:
            del os.environ[DIRECTORY_VARIABLE]


class _MultipleProcessCollector(Collector):
    """Collects the metrics of several processes.

    Memory and CPU time are given for each process that is alive, with the label `pid`. All other
    metrics are added up.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterator[Metric]:
        """Return the current metrics. `prometheus_client` calls this method at each scrape."""
        pids = self._find_pids()
        for pid in pids:
            if not _is_alive(pid):
                # Delete the gauges of the process, so that they are no longer added up.
                mark_process_dead(pid, str(self._directory))
        yield from self._collect_process_metrics(pids)
        yield from MultiProcessCollector(None, str(self._directory)).collect()

    def _find_pids(self) -> set[int]:
        """Return the process ids in the names of files such as `gauge_livesum_1234.db`."""
        return {int(path.stem.rpartition("_")[2]) for path in self._directory.glob("*.db")}

    def _collect_process_metrics(self, pids: set[int]) -> Iterable[Metric]:
        """Return memory, CPU time and the like of the processes that are alive.

        Each metric, such as `process_cpu_seconds_total`, has a sample for each process.
        """
        metrics: dict[str, Metric] = {}
        for pid in pids:
            # The collector of a dead process returns no metrics.
            process_collector = ProcessCollector(pid=partial(str, pid), registry=None)
            for process_metric in process_collector.collect():
                name = process_metric.name
                if name not in metrics:
                    metrics[name] = Metric(name, process_metric.documentation, process_metric.type)
                for sample in process_metric.samples:
                    metrics[name].samples.append(sample._replace(labels={"pid": str(pid)}))
        return metrics.values()


def _is_alive(pid: int) -> bool:
    """Return whether a process with this id exists."""
    try:
        # Signal 0 has no effect, but raises an error if the process does not exist.
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
