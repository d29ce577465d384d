"""Log lines on standard error, each with the id of the request that it belongs to."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from json import JSONEncoder
from typing import Any, Final

from opentelemetry.trace import format_trace_id, get_current_span

from app.core.observability._request_id import current_request_id

# Other attributes of a log record are not logged, because libraries may put anything there.
EXTRA_FIELDS: Final = ("method", "route", "path", "status", "duration_ms", "sql", "sql_ms")
# INFO records of these libraries repeat what is known: the startup messages, or the response to a
# malformed form.
_QUIET_LIBRARIES: Final = ("alembic", "apscheduler", "botocore", "python_multipart", "uvicorn")
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
    """Write the records of all loggers to standard error.

    `log_format` is "console" for lines that people read, or "json" for one JSON object per line.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(create_log_formatter(log_format))
    # The log lines do not contain these facts, so do not collect them:
    # https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = False
    logging.logProcesses = False
    logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - the documented way to skip looking up the caller
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for library in _QUIET_LIBRARIES:
        logging.getLogger(library).setLevel(max(logging.WARNING, logging.root.level))
    logging.getLogger("uvicorn.error").addFilter(_is_not_logged_yet)


def create_log_formatter(log_format: str) -> logging.Formatter:
    """Return a formatter for the log format "console" or "json".

    Each record becomes one line, but in the console format a traceback follows on further lines.
    Control characters are escaped so that input from clients cannot forge or break a line.
    """
    if log_format == "json":
        return _LogFormatter(_format_json)
    return _LogFormatter(_format_console)


def mark_logged(error: BaseException) -> None:
    """Mark an error as logged, so that uvicorn does not log it again when it receives the error."""
    error.__dict__["is_logged"] = True


def _is_not_logged_yet(record: logging.LogRecord) -> bool:
    """Return False for the record of an error that `mark_logged` has marked."""
    if not record.exc_info:
        return True
    _, error, _ = record.exc_info
    return "is_logged" not in getattr(error, "__dict__", {})


class _LogFormatter(logging.Formatter):
    """Collects the fields of a log record and formats them with a function."""

    def __init__(self, format_fields: Callable[[LogFields], str]) -> None:
        super().__init__()
        self._format_fields = format_fields

    def format(self, record: logging.LogRecord) -> str:
        """Return the log line of a record, with the ids of the current request and trace."""
        created_at = datetime.fromtimestamp(record.created, UTC)
        fields: LogFields = {
            "timestamp": created_at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "request_id": current_request_id.get(),
        }
        span_context = get_current_span().get_span_context()
        if span_context.is_valid:
            fields["trace_id"] = format_trace_id(span_context.trace_id)
        fields["logger"] = record.name
        fields["event"] = record.getMessage()
        for name in EXTRA_FIELDS:
            if name in record.__dict__:
                fields[name] = record.__dict__[name]
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return self._format_fields(fields)


def _format_json(fields: LogFields) -> str:
    """Return the fields as one line of JSON, without control characters."""
    # The JSON encoder escapes all control characters except for DEL.
    return _encode_json(fields).replace("\x7f", "\\u007f")


def _format_console(fields: LogFields) -> str:
    """Return the fields as a line that people can read, followed by the lines of a traceback.

    Example: `2026-11-29T17:00:00.000+00:00 INFO [0199b2f4] request method=GET status=200`.
    """
    timestamp = fields.pop("timestamp")
    level = fields.pop("level")
    request_id = fields.pop("request_id")
    message = fields.pop("event")
    traceback_lines = fields.pop("exception", "").splitlines()
    del fields["logger"]
    extra_fields = "".join(f" {name}={value}" for name, value in fields.items())
    first_line = f"{timestamp} {level} [{request_id}] {message}{extra_fields}"
    lines = [line.translate(_ESCAPES) for line in (first_line, *traceback_lines)]
    return "\n    ".join(lines)
