"""The metrics of this process. `_metrics_server.py` serves them to Prometheus."""

import os
from functools import cache
from typing import Final, Protocol, cast

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from sqlalchemy import Engine, event

# prometheus_client reads this variable. If it is set, the metrics of several processes are added
# up: each process writes its values to files in the directory that the variable names.
DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
KNOWN_METHODS: Final = {"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"}

# Each counter and histogram would have one more time series, with the time of its creation.
disable_created_metrics()
_REQUEST_DURATION: Final = Histogram(
    "http_request_duration_seconds",
    "Duration of completed HTTP requests",
    ("method", "route", "status"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
# "livesum" adds up the values of all processes that are alive.
REQUESTS_IN_FLIGHT: Final = Gauge(
    "http_requests_in_flight", "HTTP requests in progress", multiprocess_mode="livesum"
)
_POOL_SIZE: Final = Gauge(
    "db_pool_size",
    "Maximum number of connections in the pool",
    ("database",),
    multiprocess_mode="livesum",
)
_POOL_CHECKED_OUT: Final = Gauge(
    "db_pool_checked_out",
    "Connections checked out of the pool",
    ("database",),
    multiprocess_mode="livesum",
)
UPLOADED_BYTES: Final = Counter(
    "upload_bytes", "Bytes received in file uploads, without direct uploads to the object store"
)
JOB_RUNS: Final = Counter("job_runs", "Runs of scheduled jobs", ("job", "outcome"))
REPORT_DATA_AGE: Final = Gauge(
    "report_data_age_seconds",
    "Age of the data in the last report that was read, if the age is known",
    ("database",),
    multiprocess_mode="livemostrecent",
)
# The label keeps processes that have not counted the objects from exporting 0.
UNKNOWN_OBJECTS: Final = Gauge(
    "unknown_objects",
    "Objects in the object store without a row in the database, when the store was last audited",
    ("prefix",),
    multiprocess_mode="livemax",
)


def record_request(method: str, route: str, status: int, seconds: float) -> None:
    """Record the duration of a completed request in the metrics.

    `route` is the template of the path, for example "/books/{id}".
    """
    # Clients may send any word as the method, and each word would be a new time series.
    if method not in KNOWN_METHODS:
        method = "other"
    _request_histogram(method, route, status).observe(seconds)


# Cached because looking up labels takes longer than recording a value. The cache needs no limit:
# prometheus_client keeps the same objects forever.
@cache
def _request_histogram(method: str, route: str, status: int) -> Histogram:
    """Return the histogram of request durations for these labels."""
    return _REQUEST_DURATION.labels(method, route, status)


class _QueuePool(Protocol):
    """The methods of SQLAlchemy's `QueuePool` that are used here. `Engine.pool` has a base type."""

    def size(self) -> int: ...

    def checkedout(self) -> int: ...


def export_pool_metrics(database_name: str, engine: Engine) -> None:
    """Export metrics of an engine's connection pool: its size and the connections in use.

    `database_name` becomes the label `database` of the metrics.
    """
    pool = cast("_QueuePool", engine.pool)
    _POOL_SIZE.labels(database_name).set(pool.size())

    checked_out_gauge = _POOL_CHECKED_OUT.labels(database_name)
    metrics_are_served_by_another_process = DIRECTORY_VARIABLE in os.environ
    if metrics_are_served_by_another_process:
        _update_gauge_at_each_checkout(engine, checked_out_gauge)
    else:
        # Count the connections only when Prometheus asks for the metric. This is cheaper.
        checked_out_gauge.set_function(pool.checkedout)


def _update_gauge_at_each_checkout(engine: Engine, checked_out_gauge: Gauge) -> None:
    """Keep a gauge equal to the number of connections that are checked out of an engine's pool.

    The gauge writes each change to a file, which another process reads to serve the metric.
    """
    # SQLAlchemy has one connection record for each connection of the pool.
    checked_out_records = set[object]()

    def add_record(_connection: object, record: object, _proxy: object) -> None:
        checked_out_records.add(record)
        checked_out_gauge.set(len(checked_out_records))

    def discard_record(_connection: object, record: object) -> None:
        # SQLAlchemy also returns the record of a connection that it could not open. Such a record
        # is not in the set.
        checked_out_records.discard(record)
        checked_out_gauge.set(len(checked_out_records))

    event.listen(engine, "checkout", add_record)
    event.listen(engine, "checkin", discard_record)
