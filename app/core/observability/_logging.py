"""Log lines on standard error, each with the id of the request that it belongs to."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from json import JSONEncoder
from typing import Any, Final

from opentelemetry.trace import format_trace_id, get_current_span

from app.core.observability._request_id import current_request_id

# Only these fields of a record's `extra` are logged: a library's may hold anything.
EXTRA_FIELDS: Final = ("method", "route", "path", "status", "duration_ms", "sql", "sql_ms")
# Their INFO records repeat the command line (startup) or the response (forms).
_QUIET_LIBRARIES: Final = ("alembic", "apscheduler", "botocore", "python_multipart", "uvicorn")
_CONTROL_CHARACTERS: Final = (*range(32), *range(127, 160), 0x2028, 0x2029)
# Example: a newline becomes the two characters "\n".
_ESCAPES: Final = {
    code: chr(code).encode("unicode_escape").decode() for code in _CONTROL_CHARACTERS
}
# `json.dumps` would create an encoder for each line.
_encode: Final = JSONEncoder(default=repr).encode

Event = dict[str, Any]


def configure_logging(level: str, form: str = "console") -> None:
    """Send the records of every logger to standard error, for people ("console") or as "json"."""
    handler = logging.StreamHandler()
    handler.setFormatter(create_log_formatter(form))
    # No line shows these, so do not collect them:
    # https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = False
    logging.logProcesses = False
    logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - the documented way not to look for the caller
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for library in _QUIET_LIBRARIES:
        logging.getLogger(library).setLevel(max(logging.WARNING, logging.root.level))
    logging.getLogger("uvicorn.error").addFilter(_is_not_logged_yet)


def create_log_formatter(form: str) -> logging.Formatter:
    """Return a formatter that writes one line per record; for people, a traceback has more lines.

    Control characters are escaped, so that nothing a client sends can forge or break a line.
    """
    return _EventFormatter(_format_json if form == "json" else _format_console)


def mark_logged(error: BaseException) -> None:
    """Keep uvicorn, to which the error is raised, from logging it a second time."""
    error.__dict__["is_logged"] = True


def _is_not_logged_yet(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return "is_logged" not in getattr(error, "__dict__", {})


class _EventFormatter(logging.Formatter):
    def __init__(self, format_event: Callable[[Event], str]) -> None:
        super().__init__()
        self._format_event = format_event

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC)
        event: Event = {
            "timestamp": time.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "request_id": current_request_id.get(),
        }
        span = get_current_span().get_span_context()
        if span.is_valid:
            event["trace_id"] = format_trace_id(span.trace_id)
        event["logger"] = record.name
        event["event"] = record.getMessage()
        for name in EXTRA_FIELDS:
            if name in record.__dict__:
                event[name] = record.__dict__[name]
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return self._format_event(event)


def _format_json(event: Event) -> str:
    # JSON escapes all other control characters.
    return _encode(event).replace("\x7f", "\\u007f")


def _format_console(event: Event) -> str:
    """Example: 2026-11-29T17:00:00.000+00:00 INFO [0199b2f4] request method=GET status=200."""
    time = event.pop("timestamp")
    level = event.pop("level")
    identifier = event.pop("request_id")
    message = event.pop("event")
    traceback = event.pop("exception", "").splitlines()
    del event["logger"]
    fields = "".join(f" {name}={value}" for name, value in event.items())
    lines = (f"{time} {level} [{identifier}] {message}{fields}", *traceback)
    return "\n    ".join(line.translate(_ESCAPES) for line in lines)
