"""What Prometheus is told, on a port of its own: of one process, or of several together."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from sqlalchemy import Engine, QueuePool, event

DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
SHARED: Final = "/dev/shm"  # noqa: S108 - a directory of our own is made in it
METHODS: Final = {"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"}
disable_created_metrics()  # a series more for each, which nobody asks for
_REQUESTS: Final = Histogram(
    "http_request_duration_seconds",
    "Requests that are over, and how long they took",
    ("method", "route", "status"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
# Of all live processes together.
REQUESTS_IN_FLIGHT: Final = Gauge(
    "http_requests_in_flight", "Requests under way", multiprocess_mode="livesum"
)
_POOL_SIZE: Final = Gauge(
    "db_pool_size", "Connections at most", ("database",), multiprocess_mode="livesum"
)
_CHECKED_OUT: Final = Gauge(
    "db_pool_checked_out", "Connections in use", ("database",), multiprocess_mode="livesum"
)
UPLOADED: Final = Counter("upload_bytes", "Bytes of files received; direct uploads pass us by")
JOB_RUNS: Final = Counter("job_runs", "Runs of scheduled jobs", ("job", "outcome"))


def record_request(method: str, route: str, status: int, seconds: float) -> None:
    _requests(method if method in METHODS else "other", route, status).observe(seconds)


@cache  # of as many as the registry keeps
def _requests(method: str, route: str, status: int) -> Histogram:
    return _REQUESTS.labels(method, route, status)


def observe_pool(database: str, engine: Engine) -> None:
    """Tell how many connections of a pool there may be, and how many are in use."""
    pool = engine.pool
    assert isinstance(pool, QueuePool)  # noqa: S101 - all of ours are
    _POOL_SIZE.labels(database).set(pool.size())
    used, out = _CHECKED_OUT.labels(database), set[object]()
    if DIRECTORY not in os.environ:  # each that is noted is work for a request
        used.set_function(pool.checkedout)
        return

    def note(change: Callable[[object], None], entry: object) -> None:
        change(entry)
        used.set(len(out))

    event.listen(engine, "checkout", lambda _connection, entry, _: note(out.add, entry))
    # It happens without a checkout as well: to what cannot be connected again.
    event.listen(engine, "checkin", lambda _connection, entry: note(out.discard, entry))


@contextmanager
def serve_metrics(host: str, port: int, processes: int = 1) -> Iterator[None]:
    """Serve /metrics while the block lasts, unless the port is 0; OSError when it is taken.

    With one process, of this one; with more, of those that are spawned inside the block: where they
    keep their numbers is in the environment that they inherit.
    """
    with ExitStack() as stack:
        if port:
            together = _together(stack) if processes > 1 else REGISTRY
            server, thread = start_http_server(port, host, together)
            for end in (thread.join, server.server_close, server.shutdown):
                stack.callback(end)
        yield


def _together(stack: ExitStack) -> CollectorRegistry:
    # Memory, and there also where a container's file system is read-only and has no /tmp.
    place = SHARED if os.access(SHARED, os.W_OK) else None
    directory = stack.enter_context(TemporaryDirectory(prefix="bookshelf-metrics-", dir=place))
    os.environ[DIRECTORY] = directory
    stack.callback(os.environ.pop, DIRECTORY)
    registry = CollectorRegistry()
    registry.register(_Processes(Path(directory)))
    return registry


class _Processes(Collector):
    """What all have counted, and what the system says of each that lives."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for number in {path.stem.rpartition("_")[2] for path in self._directory.glob("*.db")}:
            if not _lives(int(number)):
                mark_process_dead(number, str(self._directory))
            for metric in ProcessCollector(pid=partial(str, number), registry=None).collect():
                family = families.setdefault(metric.name, metric)
                samples = [s._replace(labels={"pid": number}) for s in metric.samples]
                family.samples = samples if family is metric else family.samples + samples
        yield from families.values()
        yield from MultiProcessCollector(None, str(self._directory)).collect()


def _lives(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True
