"""Log lines on standard error, each with the id of the request that it belongs to."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from json import JSONEncoder
from typing import Any, Final

from opentelemetry.trace import format_trace_id, get_current_span

from app.core.observability._line_handler import LineHandler
from app.core.observability._request_id import current_request_id

# Other attributes of a log record are not logged, because libraries may put anything there.
EXTRA_FIELDS: Final = (
    "method",
    "route",
    "path",
    "status",
    "cut_off",
    "duration_ms",
    "sql",
    "sql_ms",
)
# The INFO records of these libraries are not logged. They only repeat the startup messages of this
# service, or the response to a malformed form.
_QUIET_LIBRARIES: Final = (
    "alembic",
    "apscheduler",
    "botocore",
    "python_multipart",
    "uvicorn",
    "watchfiles",
)
_CONTROL_CHARACTERS: Final = (*range(32), *range(127, 160), 0x2028, 0x2029)
# A table for `str.translate`. A newline, for example, becomes the two characters "\n".
_ESCAPES: Final = {
    code: chr(code).encode("unicode_escape").decode() for code in _CONTROL_CHARACTERS
}
# One encoder for all lines, because `json.dumps` would create one for each line.
_encode_json: Final = JSONEncoder(default=repr).encode

# The fields of a log line by their names, for example {"level": "INFO", "event": "request"}.
LogFields = dict[str, Any]


def configure_logging(level: str, log_format: str = "console") -> None:
    """Set up logging to standard error for this process and its libraries.

    `level` is the lowest level that is logged, for example "INFO". `log_format` is "console" for
    lines that people read, or "json" for one JSON object per line.
    """
    handler = LineHandler()
    handler.setFormatter(create_log_formatter(log_format))

    # Do not look up the thread, the process and the caller of each record, because the log lines do
    # not contain them: https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = False
    logging.logProcesses = False
    logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - the documented way to skip the caller

    logging.basicConfig(level=level, handlers=[handler], force=True)
    for library in _QUIET_LIBRARIES:
        logging.getLogger(library).setLevel(max(logging.WARNING, logging.root.level))
    # uvicorn logs unhandled errors that have already been logged with their requests.
    logging.getLogger("uvicorn.error").addFilter(_is_not_logged_yet)


def configure_application_logging(level: str, log_format: str) -> None:
    """Set up logging for this application inside of a process that another server configures.

    The log of the server stays as it is, except that this application logs each request, without
    the secrets that its URL may contain, so uvicorn does not. The arguments are those of
    `configure_logging`.
    """
    application_log = logging.getLogger("app")
    if not application_log.handlers:
        handler = LineHandler()
        handler.setFormatter(create_log_formatter(log_format))
        application_log.addHandler(handler)
        application_log.setLevel(level)
        application_log.propagate = False
    # uvicorn asks for each connection whether this log has a handler.
    access_log = logging.getLogger("uvicorn.access")
    access_log.handlers.clear()
    access_log.propagate = False
    logging.getLogger("uvicorn.error").addFilter(_is_not_logged_yet)


def create_log_formatter(log_format: str) -> logging.Formatter:
    """Return a formatter for the log format "console" or "json".

    The formatter turns each record into one line. In the console format, the lines of a traceback
    follow. Control characters are escaped, so that clients cannot forge log lines.
    """
    if log_format == "json":
        return JSON_FORMATTER
    return _CONSOLE_FORMATTER


def mark_logged(error: BaseException) -> None:
    """Mark an error as logged, so that uvicorn does not log it again when it receives the error."""
    error.__dict__["is_logged"] = True


def format_timestamp(seconds: float) -> str:
    """Return a time in seconds since 1970 as text: "2026-11-29T17:00:00.000+00:00"."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def find_trace_id() -> str | None:
    """Return the id of the current trace, with 32 hexadecimal digits, or None without a trace."""
    span_context = get_current_span().get_span_context()
    if span_context.is_valid:
        return format_trace_id(span_context.trace_id)
    return None


def _is_not_logged_yet(record: logging.LogRecord) -> bool:
    """Return False for the record of an error that `mark_logged` has marked."""
    if not record.exc_info:
        return True
    _, error, _ = record.exc_info
    return "is_logged" not in getattr(error, "__dict__", {})


class _LogFormatter(logging.Formatter):
    """Formats log records as lines that also contain the ids of the current request and trace.

    `format_line` determines the format of a line, for example JSON. It gets the fields of the line,
    for example `{"level": "INFO", "request_id": "0199b2f4", "event": "request", "status": 200}`.
    """

    def __init__(self, format_line: Callable[[LogFields], str]) -> None:
        super().__init__()
        self._format_line = format_line

    def format(self, record: logging.LogRecord) -> str:
        """Return the log line of a record, with the ids of the current request and trace."""
        log_fields: LogFields = {
            "timestamp": format_timestamp(record.created),
            "level": record.levelname,
            "request_id": current_request_id.get(),
        }
        trace_id = find_trace_id()
        if trace_id is not None:
            log_fields["trace_id"] = trace_id
        log_fields["logger"] = record.name
        log_fields["event"] = record.getMessage()
        # The `extra` argument of a log call sets attributes of the record.
        for field_name in EXTRA_FIELDS:
            if field_name in record.__dict__:
                log_fields[field_name] = record.__dict__[field_name]
        if record.exc_info:
            log_fields["exception"] = self.formatException(record.exc_info)
        return self._format_line(log_fields)


def _format_json_line(log_fields: LogFields) -> str:
    """Return the fields of a log line as one line of JSON, without control characters."""
    # The JSON encoder escapes all control characters except for DEL.
    return _encode_json(log_fields).replace("\x7f", "\\u007f")


def _format_console_line(log_fields: LogFields) -> str:
    """Return a log line that people can read, followed by the lines of a traceback.

    Example: `2026-11-29T17:00:00.000+00:00 INFO [0199b2f4] request method=GET status=200`.
    """
    other_fields = dict(log_fields)
    timestamp = other_fields.pop("timestamp")
    level = other_fields.pop("level")
    request_id = other_fields.pop("request_id")
    message = other_fields.pop("event")
    traceback_lines = other_fields.pop("exception", "").splitlines()
    # Lines for people do not show the name of the logger, only JSON does.
    del other_fields["logger"]

    suffix = "".join(f" {name}={value}" for name, value in other_fields.items())
    first_line = f"{timestamp} {level} [{request_id}] {message}{suffix}"
    escaped_lines = [line.translate(_ESCAPES) for line in (first_line, *traceback_lines)]
    return "\n    ".join(escaped_lines)


JSON_FORMATTER: Final = _LogFormatter(_format_json_line)
_CONSOLE_FORMATTER: Final = _LogFormatter(_format_console_line)
