"""Metrics of the calls to the object store."""

from contextlib import AbstractContextManager
from functools import cache
from typing import Final

from app.core.observability._instruments import Counter, Histogram

# The kinds of reasons for which calls fail, which are values of the label `reason`:
#   credentials    The store refuses the credentials, or they lack a permission.
#   configuration  The URL, the bucket, the region or another setting is wrong.
#   capacity       The store is full, or limits the size of objects.
#   refused        The store refuses the request for another reason.
#   unreachable    The store is not responding, or the network fails.
#   busy           The store is busy, or has an internal error.
#   other          Everything else.
STORE_FAILURE_REASONS: Final = (
    "credentials",
    "configuration",
    "capacity",
    "refused",
    "unreachable",
    "busy",
    "other",
)
_CALL_DURATION: Final = Histogram(
    "storage_call_duration_seconds",
    "Duration of calls to the object store with their retries, including those that failed",
    ("operation",),
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60),
)
_FAILURES: Final = Counter(
    "storage_failures", "Calls to the object store that failed", ("operation", "reason")
)


def measure_store_call(operation: str) -> AbstractContextManager[object]:
    """Return a context manager that measures a call to the object store, for example "put"."""
    return _call_histogram(operation).time()


def count_store_failure(operation: str, reason: str) -> None:
    """Count a call that failed. `reason` is one of `STORE_FAILURE_REASONS`."""
    _FAILURES.labels(operation, reason).inc()


@cache
def _call_histogram(operation: str) -> Histogram:
    """Return the histogram of the durations of an operation. Export 0 failures of it at first."""
    for reason in STORE_FAILURE_REASONS:
        _FAILURES.labels(operation, reason)
    return _CALL_DURATION.labels(operation)
