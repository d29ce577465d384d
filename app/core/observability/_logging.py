"""Log lines on standard error, each with the id of the request that it belongs to."""

import logging
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from json import JSONEncoder
from typing import Any, Final

from opentelemetry.trace import format_trace_id, get_current_span

request_id: ContextVar[str] = ContextVar("request_id", default="-")
# What a record may carry as `extra`: any other is a library's, of which nobody knows what it holds.
EXTRA: Final[Sequence[str]] = (
    *("method", "route", "path", "status"),
    *("duration_ms", "sql", "sql_ms"),
)
_CONTROLS: Final = {
    code: chr(code).encode("unicode_escape").decode()
    for code in (*range(32), *range(127, 160), 0x2028, 0x2029)
}


def configure_logging(level: str, form: str = "console") -> None:
    """Send every logger's records to standard error, as lines for people or, `json`, programs."""
    handler = logging.StreamHandler()
    handler.setFormatter(log_formatter(form))
    # No line has them. https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - nor who said it
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # What they say of starting up the command line says; what a form lacks the answer says.
    for library in ("alembic", "apscheduler", "botocore", "python_multipart", "uvicorn"):
        logging.getLogger(library).setLevel(max(logging.WARNING, logging.root.level))
    logging.getLogger("uvicorn.error").addFilter(_is_news)


def log_formatter(form: str) -> logging.Formatter:
    """One line a record, for people also those of its traceback: nothing sent can begin another."""
    return _Lines(_json if form == "json" else _readable)


class _Lines(logging.Formatter):
    def __init__(self, write: Callable[[dict[str, Any]], str]) -> None:
        super().__init__()
        self._write = write

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        about = {"timestamp": time, "level": record.levelname, "request_id": request_id.get()}
        if (span := get_current_span().get_span_context()).is_valid:
            about["trace_id"] = format_trace_id(span.trace_id)
        said = {"logger": record.name, "event": record.getMessage()}
        extra = {key: record.__dict__[key] for key in EXTRA if key in record.__dict__}
        failure = {"exception": self.formatException(record.exc_info)} if record.exc_info else {}
        return self._write({**about, **said, **extra, **failure})


def told(error: BaseException) -> None:
    """Note that a line has this failure: the server, to which it is raised, is not to repeat it."""
    error.__dict__["told"] = True


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.exc_info and "told" in getattr(record.exc_info[1], "__dict__", {}))


# `dumps` would make an encoder for each line.
_encode: Final = JSONEncoder(default=repr).encode


def _json(event: dict[str, Any]) -> str:
    return _encode(event).replace("\x7f", "\\u007f")


def _readable(event: dict[str, Any]) -> str:
    failure = event.pop("exception", "").splitlines()
    time, level, request, _logger, said = (
        event.pop(key) for key in ("timestamp", "level", "request_id", "logger", "event")
    )
    more = "".join(f" {key}={value}" for key, value in event.items())
    lines = (f"{time} {level} [{request}] {said}{more}", *failure)
    return "\n    ".join(line.translate(_CONTROLS) for line in lines)
