"""The log line of each request.

Such a line takes `logging` a long time: it creates a record, calls the handlers of three loggers,
and encodes a dict of fields. In production, all lines are equal except for a few values, so a line
is created from a template instead, and given directly to the handler. Its bytes are the same, which
`tests/core/test_request_log.py` verifies.

This shortcut is taken only if it makes no difference: the line has no error, the format is JSON,
and the only handler that `logging` would call is ours, has no filters, and raises no errors. With
another configuration, for example that of a program that embeds this service, the line goes through
`logging`. Only a tool that replaces methods of `logging.Logger` does not see the line.
"""

import logging
from json.encoder import encode_basestring_ascii as encode_string
from time import time
from typing import Final, NotRequired, TypedDict

from app.core.observability._line_handler import LineHandler
from app.core.observability._logging import (
    JSON_FORMATTER,
    find_trace_id,
    format_timestamp,
    mark_logged,
)
from app.core.observability._request_id import current_request_id

_log: Final = logging.getLogger("app.access")


class RequestFields(TypedDict):
    """The fields of the log line of a request.

    `route` is the template of the path, for example "/books/{id}". `path` is the path without
    secrets. `sql` is the number of SQL statements, and `sql_ms` their duration. `cut_off` is the
    reason why the response is incomplete.
    """

    method: str
    route: str
    path: str
    status: int
    duration_ms: float
    sql: int
    sql_ms: float
    cut_off: NotRequired[str]


def logs_requests(level: int) -> bool:
    """Return whether requests are logged at this level."""
    return _log.isEnabledFor(level)


def log_request(level: int, fields: RequestFields, error: Exception | None = None) -> None:
    """Log a request and its response, with the traceback if there was an unhandled error."""
    handler = None
    if level == logging.INFO and error is None:
        handler = _find_direct_handler()
    if handler is not None:
        handler.write_line(format_request_line(fields, created_at=time()))
        return

    _log.log(level, "request", exc_info=error, extra=fields)
    if error is not None:
        # Otherwise, uvicorn would log the same error again.
        mark_logged(error)


def _find_direct_handler() -> LineHandler | None:
    """Return the handler to which a line can be given directly.

    Returns None if the line has to go through `logging`. The configuration is examined for each
    line, because it may change at any time. This takes half a microsecond.
    """
    handler = _find_only_handler()
    if (
        isinstance(handler, LineHandler)
        and handler.has_descriptor
        and handler.formatter is JSON_FORMATTER
        and handler.level <= logging.INFO
        and not handler.filters
        and not _log.filters
        and logging.getLogRecordFactory() is logging.LogRecord
    ):
        return handler
    return None


def _find_only_handler() -> logging.Handler | None:
    """Return the only handler of the logger and of its parents, or None if there are several."""
    only_handler: logging.Handler | None = None
    logger: logging.Logger | None = _log
    while logger is not None:
        for handler in logger.handlers:
            if only_handler is not None:
                return None
            only_handler = handler
        if not logger.propagate:
            break
        logger = logger.parent
    return only_handler


def format_request_line(fields: RequestFields, created_at: float) -> str:
    """Return the JSON line of a request at level INFO, as the formatter for JSON would.

    `created_at` is the time of the line in seconds since 1970.
    """
    trace_field = ""
    trace_id = find_trace_id()
    if trace_id is not None:
        trace_field = f' "trace_id": "{trace_id}",'
    line = (
        f'{{"timestamp": "{format_timestamp(created_at)}", "level": "INFO",'
        f' "request_id": {encode_string(current_request_id.get())},{trace_field}'
        f' "logger": "app.access", "event": "request",'
        f' "method": {encode_string(fields["method"])},'
        f' "route": {encode_string(fields["route"])},'
        f' "path": {encode_string(fields["path"])},'
        f' "status": {fields["status"]},'
        f' "duration_ms": {fields["duration_ms"]!r},'
        f' "sql": {fields["sql"]},'
        f' "sql_ms": {fields["sql_ms"]!r}}}'
    )
    # The encoder escapes all control characters except for DEL.
    return line.replace("\x7f", "\\u007f")
