"""The metrics of this process. `_metrics_server.py` serves them to Prometheus."""

import os
from functools import cache
from typing import Any, Final, Protocol, cast

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from sqlalchemy import Engine, event

# Set by prometheus_client's convention if several processes are counted together: each of them
# writes its values to files in this directory.
DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
KNOWN_METHODS: Final = {"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"}

# Each counter and histogram would have one more series, with the time of its creation.
disable_created_metrics()
_REQUESTS: Final = Histogram(
    "http_request_duration_seconds",
    "Requests that are over, and how long they took",
    ("method", "route", "status"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
# "livesum" is the sum over all processes that are alive.
REQUESTS_IN_FLIGHT: Final = Gauge(
    "http_requests_in_flight", "Requests under way", multiprocess_mode="livesum"
)
_POOL_SIZE: Final = Gauge(
    "db_pool_size", "Connections at most", ("database",), multiprocess_mode="livesum"
)
_CHECKED_OUT: Final = Gauge(
    "db_pool_checked_out", "Connections in use", ("database",), multiprocess_mode="livesum"
)
UPLOADED_BYTES: Final = Counter(
    "upload_bytes", "Bytes of files received; direct uploads pass us by"
)
JOB_RUNS: Final = Counter("job_runs", "Runs of scheduled jobs", ("job", "outcome"))


def record_request(method: str, route: str, status: int, seconds: float) -> None:
    # A client can send any word as a method, and each would be a new series.
    known_method = method if method in KNOWN_METHODS else "other"
    _labeled_requests(known_method, route, status).observe(seconds)


# Looking up labels takes longer than observing. The registry keeps as many objects as this cache.
@cache
def _labeled_requests(method: str, route: str, status: int) -> Histogram:
    return _REQUESTS.labels(method, route, status)


class _QueuePool(Protocol):
    """The part of SQLAlchemy's class of this name that is used here."""

    def size(self) -> int: ...

    def checkedout(self) -> int: ...


def export_pool_metrics(database: str, engine: Engine) -> None:
    """Report the size of an engine's pool, and how many of its connections are in use."""
    pool = cast("_QueuePool", engine.pool)
    _POOL_SIZE.labels(database).set(pool.size())
    checked_out = _CHECKED_OUT.labels(database)
    if DIRECTORY_VARIABLE not in os.environ:
        # Asked for at each scrape, so that requests do no work for it.
        checked_out.set_function(pool.checkedout)
        return

    # Another process serves the metrics, so each change has to be written to the shared files.
    entries = set[object]()

    def record_checkout(_connection: object, entry: object, _proxy: object) -> None:
        entries.add(entry)
        checked_out.set(len(entries))

    def record_checkin(_connection: Any, entry: object) -> None:
        # A connection that could not be replaced is returned without having been checked out.
        entries.discard(entry)
        checked_out.set(len(entries))

    event.listen(engine, "checkout", record_checkout)
    event.listen(engine, "checkin", record_checkin)
