"""The server of /metrics, on a port of its own: for this process, or for several together."""

import os
from collections.abc import Iterator
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

SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - a private directory is created in it


@contextmanager
def serve_metrics(host: str, port: int, processes: int = 1) -> Iterator[None]:
    """Serve /metrics while the block lasts, unless the port is 0.

    With one process, these are the metrics of this process; with more, those of all processes that
    are spawned inside the block. Raises `OSError` if the port is taken.
    """
    if port == 0:
        yield
        return
    with ExitStack() as stack:
        registry = REGISTRY
        if processes > 1:
            directory = stack.enter_context(_shared_directory())
            registry = CollectorRegistry()
            registry.register(_ProcessesCollector(directory))
        stack.enter_context(_serve(host, port, registry))
        yield


@contextmanager
def _serve(host: str, port: int, registry: CollectorRegistry) -> Iterator[None]:
    server, thread = start_http_server(port, host, registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _shared_directory() -> Iterator[Path]:
    """Create a directory for the metrics of several processes, and name it in the environment."""
    # Shared memory is fast, and a container with a read-only file system and no /tmp has it too.
    parent = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix=f"{NAME}-metrics-", dir=parent) as directory:
        os.environ[DIRECTORY_VARIABLE] = directory
        try:
            yield Path(directory)
        finally:
            del os.environ[DIRECTORY_VARIABLE]


class _ProcessesCollector(Collector):
    """Sums of the metrics of all processes, and memory and CPU time of each that is alive."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for pid in self._pids():
            if not _is_alive(pid):
                mark_process_dead(pid, str(self._directory))
            # A dead process has no metrics here.
            for metric in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                samples = [sample._replace(labels={"pid": str(pid)}) for sample in metric.samples]
                family = families.setdefault(
                    metric.name, Metric(metric.name, metric.documentation, metric.type)
                )
                family.samples += samples
        yield from families.values()
        yield from MultiProcessCollector(None, str(self._directory)).collect()

    def _pids(self) -> set[int]:
        """Process ids in the names of files such as `gauge_livesum_1234.db`."""
        return {int(path.stem.rpartition("_")[2]) for path in self._directory.glob("*.db")}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
