"""Logging, metrics and tracing, which every other package may use."""

from app.core.observability._database_metrics import (
    ConnectionMetrics,
    QueueMetrics,
    export_pool_metrics,
    record_statement,
)
from app.core.observability._job_metrics import (
    CUT_SHORT,
    DONE,
    FAILED,
    UNKNOWN_OBJECTS,
    count_job_run,
    export_job,
    export_last_run,
)
from app.core.observability._logging import (
    configure_application_logging,
    configure_logging,
    create_log_formatter,
    mark_logged,
)
from app.core.observability._metrics import (
    CHANGE_FEED_DELAY,
    IDEMPOTENT_REPLAYS,
    LOGIN_THROTTLES,
    PASSWORD_HASHES,
    REPORT_DATA_AGE,
    STREAMS_IN_FLIGHT,
    UPLOADED_BYTES,
    UPLOADS_IN_FLIGHT,
    export_build_info,
    export_requests_in_flight,
    record_backend,
    record_request,
    record_shutdown,
)
from app.core.observability._metrics_server import (
    count_replaced_process,
    serve_metrics,
    serve_shared_metrics,
    share_metrics,
)
from app.core.observability._request_id import current_request_id, new_request_id
from app.core.observability._request_log import RequestFields, log_request, logs_requests
from app.core.observability._storage_metrics import count_store_failure, measure_store_call
from app.core.observability._tracing import (
    RequestStats,
    StatementTimer,
    count_shared_statement,
    current_request_stats,
    time_statements,
)

__all__ = [
    "CHANGE_FEED_DELAY",
    "CUT_SHORT",
    "DONE",
    "FAILED",
    "IDEMPOTENT_REPLAYS",
    "LOGIN_THROTTLES",
    "PASSWORD_HASHES",
    "REPORT_DATA_AGE",
    "STREAMS_IN_FLIGHT",
    "UNKNOWN_OBJECTS",
    "UPLOADED_BYTES",
    "UPLOADS_IN_FLIGHT",
    "ConnectionMetrics",
    "QueueMetrics",
    "RequestFields",
    "RequestStats",
    "StatementTimer",
    "configure_application_logging",
    "configure_logging",
    "count_job_run",
    "count_replaced_process",
    "count_shared_statement",
    "count_store_failure",
    "create_log_formatter",
    "current_request_id",
    "current_request_stats",
    "export_build_info",
    "export_job",
    "export_last_run",
    "export_pool_metrics",
    "export_requests_in_flight",
    "log_request",
    "logs_requests",
    "mark_logged",
    "measure_store_call",
    "new_request_id",
    "record_backend",
    "record_request",
    "record_shutdown",
    "record_statement",
    "serve_metrics",
    "serve_shared_metrics",
    "share_metrics",
    "time_statements",
]
