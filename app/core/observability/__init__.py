"""Logging, metrics and tracing: instruments that every other package may use."""

from app.core.observability._logging import configure_logging, log_formatter, mark_logged
from app.core.observability._metrics import (
    JOB_RUNS,
    REQUESTS_IN_FLIGHT,
    UPLOADED,
    observe_pool,
    record_request,
)
from app.core.observability._metrics_server import serve_metrics
from app.core.observability._request_id import new_request_id, request_id
from app.core.observability._tracing import (
    RequestStats,
    StatementTimer,
    observe_statements,
    request_stats,
)

__all__ = [
    "JOB_RUNS",
    "REQUESTS_IN_FLIGHT",
    "UPLOADED",
    "RequestStats",
    "StatementTimer",
    "configure_logging",
    "log_formatter",
    "mark_logged",
    "new_request_id",
    "observe_pool",
    "observe_statements",
    "record_request",
    "request_id",
    "request_stats",
    "serve_metrics",
]
