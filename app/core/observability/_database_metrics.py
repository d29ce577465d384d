"""Metrics of the databases: connections, the queues for them, statements and errors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from time import perf_counter
from typing import Final, Protocol, cast

from sqlalchemy import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.observability._instruments import Counter, Gauge, Histogram
from app.core.observability._sampled_gauges import export_value

# The SQLSTATEs that are exported as they are, because each has its own cause and remedy. Others are
# exported as their class, for example "22xxx", so that the number of time series is bounded.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
KNOWN_SQLSTATES: Final = (
    "0A000",
    "23001",
    "23502",
    "23503",
    "23505",
    "23514",
    "23P01",
    "25006",
    "28000",
    "28P01",
    "3D000",
    "40001",
    "40P01",
    "42501",
    "53100",
    "53200",
    "53300",
    "53400",
    "55000",
    "55P03",
    "57014",
    "57P01",
    "57P02",
    "57P03",
)
_KNOWN_CLASS: Final = re.compile("0[8A]|2[1-58D]|3[48BDF]|4[0-4]|5[3-578]|F0|HV|P0|XX")
# The label of an error that does not come from the database server, for example a lost connection.
NO_SQLSTATE: Final = "none"

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
_WAIT: Final = Histogram(
    "db_connection_wait_seconds",
    "Time that statements waited for a connection, of those that could not get one immediately",
    ("database", "queue"),
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5),
)
_REJECTIONS: Final = Counter(
    "db_connection_rejections",
    "Statements that got no connection, because the queue was full or the wait took too long",
    ("database", "queue", "reason"),
)
_OPENED: Final = Counter("db_connections_opened", "Connections opened", ("database",))
_FAILED: Final = Counter(
    "db_connection_failures", "Connections that could not be opened", ("database",)
)
_LOST: Final = Counter(
    "db_connections_lost", "Open connections that failed or were closed", ("database",)
)
_ERRORS: Final = Counter(
    "db_errors",
    "Errors of statements and of opening connections, by SQLSTATE",
    ("database", "sqlstate"),
)
_STATEMENT_DURATION: Final = Histogram(
    "db_statement_duration_seconds",
    "Duration of SQL statements, including those that failed",
    ("statement",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 5),
)


class ConnectionMetrics:
    """The metrics of the connections to one database."""

    def __init__(self, database_name: str) -> None:
        """Create the metrics. `database_name` is their label `database`."""
        self._database_name = database_name
        self._opened = _OPENED.labels(database_name)
        self._failed = _FAILED.labels(database_name)
        self._lost = _LOST.labels(database_name)
        # Prometheus does not see the first error of a counter that begins with 1 as an increase.
        for sqlstate in KNOWN_SQLSTATES:
            _ERRORS.labels(database_name, sqlstate)

    def record_opening(self) -> None:
        """Count a connection that was opened."""
        self._opened.inc()

    def record_failed_opening(self, sqlstate: str) -> None:
        """Count a connection that could not be opened. See `record_error` for `sqlstate`."""
        self._failed.inc()
        self.record_error(sqlstate)

    def record_loss(self) -> None:
        """Count a connection that was open and is lost."""
        self._lost.inc()

    def record_error(self, sqlstate: str) -> None:
        """Count an error. `sqlstate` is empty if it does not come from the database server."""
        _ERRORS.labels(self._database_name, _sqlstate_label(sqlstate)).inc()


class QueueMetrics:
    """The metrics of a queue for the connections of one database."""

    def __init__(self, database_name: str, queue: str) -> None:
        """Create the metrics.

        Args:
            database_name: The name of the database, for example "default".
            queue: "connections", or "writes" for the share of the connections that writes get.
        """
        self._wait = _WAIT.labels(database_name, queue)
        self._timeouts = _REJECTIONS.labels(database_name, queue, "timeout")
        self._full = _REJECTIONS.labels(database_name, queue, "queue_full")

    @contextmanager
    def record_wait(self) -> Iterator[None]:
        """Measure the block, which waits for a connection and may raise `PoolTimeout`."""
        started_at = perf_counter()
        try:
            yield
        except PoolTimeout:
            self._timeouts.inc()
            raise
        finally:
            self._wait.observe(perf_counter() - started_at)

    def record_full_queue(self) -> None:
        """Count a statement that was refused because the queue is full."""
        self._full.inc()


def record_statement(name: str, seconds: float) -> None:
    """Record the duration of a SQL statement, for example of "books.select_page"."""
    _statement_histogram(name).observe(seconds)


# Cached because looking up labels takes longer than recording a value. The names are bounded: see
# `core/db/_statement_names.py`.
@cache
def _statement_histogram(name: str) -> Histogram:
    """Return the histogram of the durations of one statement."""
    return _STATEMENT_DURATION.labels(name)


def _sqlstate_label(sqlstate: str) -> str:
    """Return the label of an error, for example "40P01", or "22xxx" for all errors of class 22."""
    if sqlstate in KNOWN_SQLSTATES:
        return sqlstate
    sqlstate_class = sqlstate[:2]
    if _KNOWN_CLASS.fullmatch(sqlstate_class):
        return f"{sqlstate_class}xxx"
    if sqlstate:
        return "other"
    return NO_SQLSTATE


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
    export_value(_POOL_CHECKED_OUT.labels(database_name), pool.checkedout)
