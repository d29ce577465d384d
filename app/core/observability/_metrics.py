"""The metrics of this process. `_metrics_server.py` serves them to Prometheus.

The label values of each metric come from the code and never from clients, so that their number is
bounded. docs/operations/monitoring.md lists the metrics and the number of their time series.
"""

from collections.abc import Callable
from functools import cache
from platform import python_version
from typing import Final

from prometheus_client import disable_created_metrics

from app.core.observability._instruments import Counter, Gauge, Histogram, create_initial_values
from app.core.observability._sampled_gauges import export_value

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
_REQUESTS_IN_FLIGHT: Final = Gauge(
    "http_requests_in_flight", "HTTP requests in progress", multiprocess_mode="livesum"
)
UPLOADED_BYTES: Final = Counter(
    "upload_bytes", "Bytes received in file uploads, without direct uploads to the object store"
)
REPORT_DATA_AGE: Final = Gauge(
    "report_data_age_seconds",
    "Age of the data in the last report that was read, if the age is known",
    ("database",),
    multiprocess_mode="livemostrecent",
)
CHANGE_FEED_DELAY: Final = Gauge(
    "change_feed_delay_seconds",
    "Age of the oldest change that an open transaction kept out of the last read of the feed",
    multiprocess_mode="livemostrecent",
)
UPLOADS_IN_FLIGHT: Final = Gauge(
    "uploads_in_flight", "File uploads through the service", multiprocess_mode="livesum"
)
STREAMS_IN_FLIGHT: Final = Gauge(
    "streams_in_flight",
    "Downloads of whole lists, each of which occupies a database connection",
    multiprocess_mode="livesum",
)
PASSWORD_HASHES: Final = Gauge(
    "password_hashes",
    "Password hashes that run, or wait for a thread",
    ("state",),
    multiprocess_mode="livesum",
)
LOGIN_THROTTLES: Final = Counter(
    "login_throttles",
    "Passwords that were not checked (429), because of too many wrong ones before",
    ("limit",),
)
IDEMPOTENT_REPLAYS: Final = Counter(
    "idempotent_replays", "Responses that were repeated because of an Idempotency-Key"
)
_BACKEND_READY: Final = Gauge(
    "backend_ready",
    "1 if the last readiness check found that the backend service works, otherwise 0",
    ("backend",),
    multiprocess_mode="livemostrecent",
)
_SHUTTING_DOWN: Final = Gauge(
    "shutting_down", "Processes that have begun to shut down", multiprocess_mode="livesum"
)
_BUILD_INFO: Final = Gauge(
    "service_build_info",
    "Always 1. The labels name the release, and the newest schema revision that it requires",
    ("role", "version", "python", "schema"),
    multiprocess_mode="livemax",
)


def export_build_info(role: str, version: str, schema: str) -> None:
    """Export what runs in this process.

    Args:
        role: "server" or "worker".
        version: The version of the service.
        schema: The revision of the database schema that the code requires, for example "0016".
    """
    create_initial_values()
    _BUILD_INFO.labels(role, version, python_version(), schema).set(1)


def export_requests_in_flight(count_requests: Callable[[], int]) -> None:
    """Export the number of requests in progress, which `count_requests` returns."""
    export_value(_REQUESTS_IN_FLIGHT, count_requests)


def record_backend(backend: str, *, is_ready: bool) -> None:
    """Record whether a readiness check found that a backend, for example "database", works."""
    _BACKEND_READY.labels(backend).set(is_ready)


def record_shutdown() -> None:
    """Record that this process has begun to shut down."""
    _SHUTTING_DOWN.set(1)


def record_request(
    method: str, route: str, status: int, seconds: float, trace_id: str | None = None
) -> None:
    """Record the duration of a completed request in the metrics.

    Args:
        method: The method that the client sent.
        route: The template of the path, for example "/books/{id}".
        status: The status of the response.
        seconds: The duration.
        trace_id: The id of the request's trace, which becomes an exemplar, or None. Prometheus
            links the exemplar to the trace.
    """
    # Clients may send any word as the method, and each word would be a new time series.
    if method not in KNOWN_METHODS:
        method = "other"
    exemplar = None
    if trace_id is not None:
        exemplar = {"trace_id": trace_id}
    _request_histogram(method, route, status).observe(seconds, exemplar)


# Cached because looking up labels takes longer than recording a value. The cache needs no limit:
# prometheus_client keeps the same objects forever.
@cache
def _request_histogram(method: str, route: str, status: int) -> Histogram:
    """Return the histogram of request durations for these labels."""
    return _REQUEST_DURATION.labels(method, route, status)
