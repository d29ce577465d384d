"""Logging, metrics and tracing: instruments that every other package may use."""

from app.core.observability._logging import configure_logging, log_formatter, request_id, told
from app.core.observability._metrics import (
    JOB_RUNS,
    REQUESTS_IN_FLIGHT,
    UPLOADED,
    observe_pool,
    record_request,
    serve_metrics,
)
from app.core.observability._tracing import Spent, StatementTimer, observe_statements, spending

__all__ = [
    "JOB_RUNS",
    "REQUESTS_IN_FLIGHT",
    "UPLOADED",
    "Spent",
    "StatementTimer",
    "configure_logging",
    "log_formatter",
    "observe_pool",
    "observe_statements",
    "record_request",
    "request_id",
    "serve_metrics",
    "spending",
    "told",
]
