"""Logging, metrics and tracing, which every other package may use."""

from app.core.observability._logging import configure_logging, create_log_formatter, mark_logged
from app.core.observability._metrics import (
    JOB_RUNS,
    REPORT_DATA_AGE,
    REQUESTS_IN_FLIGHT,
    UNKNOWN_OBJECTS,
    UPLOADED_BYTES,
    export_pool_metrics,
    record_request,
)
from app.core.observability._metrics_server import serve_metrics
from app.core.observability._request_id import current_request_id, new_request_id
from app.core.observability._tracing import (
    RequestStats,
    StatementTimer,
    current_request_stats,
    time_statements,
)

__all__ = [
    "JOB_RUNS",
    "REPORT_DATA_AGE",
    "REQUESTS_IN_FLIGHT",
    "UNKNOWN_OBJECTS",
    "UPLOADED_BYTES",
    "RequestStats",
    "StatementTimer",
    "configure_logging",
    "create_log_formatter",
    "current_request_id",
    "current_request_stats",
    "export_pool_metrics",
    "mark_logged",
    "new_request_id",
    "record_request",
    "serve_metrics",
    "time_statements",
]
