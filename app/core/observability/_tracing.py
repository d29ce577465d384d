"""The SQL statements of a request: how many there were, their time, and their spans."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Final

from opentelemetry import trace
from sqlalchemy import Engine, event

_tracer: Final = trace.get_tracer("app.sql")


@dataclass(slots=True)
class RequestStats:
    """Statements that a request has run so far, including those that failed."""

    has_span: bool = False
    statement_count: int = 0
    statement_seconds: float = 0.0

    def format_server_timing(self, total_seconds: float) -> str:
        """Return the value of `Server-Timing`, such as 'db;dur=1.2;desc="1", total;dur=3.4'."""
        database = f'db;dur={self.statement_seconds * 1000:.1f};desc="{self.statement_count}"'
        return f"{database}, total;dur={total_seconds * 1000:.1f}"


current_request_stats: Final[ContextVar[RequestStats | None]] = ContextVar(
    "request_stats", default=None
)


class StatementTimer:
    """Context manager that counts and times a statement for the current request, if there is one.

    If the request has a span, the statement gets one too.
    """

    __slots__ = ("_span", "_sql", "_start", "_stats")

    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._span: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        self._stats = current_request_stats.get()
        if self._stats is not None and self._stats.has_span:
            self._span = _statement_span(self._sql)
            self._span.__enter__()
        self._start = perf_counter()

    def __exit__(self, *failure: Any) -> None:
        if self._stats is not None:
            self._stats.statement_count += 1
            self._stats.statement_seconds += perf_counter() - self._start
        if self._span is not None:
            self._span.__exit__(*failure)


def time_statements(engine: Engine) -> None:
    """Run every statement of SQLAlchemy's within a `StatementTimer`."""
    # These are events of the dialect. An event of the engine would cost each connection 20 us.
    for name in ("do_execute", "do_executemany"):
        execute = getattr(engine.dialect, name)
        event.listen(engine, name, partial(_execute_with_timer, execute))


def _execute_with_timer(
    execute: Callable[..., None], cursor: object, sql: str, parameters: object, context: object
) -> bool:
    """Execute a statement in place of the dialect. Returning True tells SQLAlchemy so."""
    with StatementTimer(sql):
        execute(cursor, sql, parameters, context)
    return True


@contextmanager
def _statement_span(sql: str) -> Iterator[None]:
    """Open a span named after the first word of the SQL text, which contains no values."""
    with _tracer.start_as_current_span(
        sql.split(maxsplit=1)[0],
        kind=trace.SpanKind.CLIENT,
        attributes={"db.system.name": "postgresql", "db.query.text": sql},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            # Neither the message nor the traceback: they quote values.
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(trace.StatusCode.ERROR)
            raise
