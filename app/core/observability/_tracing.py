"""The SQL statements of a request: their number, their time and their spans."""

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
    """Counts and times the SQL statements that a request has run, including those that failed."""

    # Whether the request has a span that is recorded, so that its statements get spans too.
    has_span: bool = False
    statement_count: int = 0
    statement_seconds: float = 0.0

    def format_server_timing(self, total_seconds: float) -> str:
        """Return the value of the `Server-Timing` header.

        Example for one statement that took 1.2 ms of 3.4 ms: `db;dur=1.2;desc="1", total;dur=3.4`.
        """
        statement_ms = self.statement_seconds * 1000
        total_ms = total_seconds * 1000
        return f'db;dur={statement_ms:.1f};desc="{self.statement_count}", total;dur={total_ms:.1f}'


# None outside of a request, for example in a job.
current_request_stats: Final[ContextVar[RequestStats | None]] = ContextVar(
    "request_stats", default=None
)


class StatementTimer:
    """Context manager that adds a SQL statement to the statistics of the current request.

    If the request has a span, the statement gets one too. Outside of a request, nothing happens.
    """

    __slots__ = ("_span", "_sql", "_started_at", "_stats")

    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._span: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        self._stats = current_request_stats.get()
        if self._stats is not None and self._stats.has_span:
            self._span = _statement_span(self._sql)
            self._span.__enter__()
        self._started_at = perf_counter()

    def __exit__(self, *exception: Any) -> None:
        if self._stats is not None:
            self._stats.statement_count += 1
            self._stats.statement_seconds += perf_counter() - self._started_at
        if self._span is not None:
            self._span.__exit__(*exception)


def time_statements(engine: Engine) -> None:
    """Run every statement that SQLAlchemy executes on this engine within a `StatementTimer`."""
    # These events of the dialect replace its methods of the same names. Listening to events of the
    # engine instead would cost 20 microseconds per connection.
    for method_name in ("do_execute", "do_executemany"):
        execute = getattr(engine.dialect, method_name)
        event.listen(engine, method_name, partial(_execute_with_timer, execute))


def _execute_with_timer(
    execute: Callable[..., None], cursor: object, sql: str, parameters: object, context: object
) -> bool:
    """Execute a statement with a method of SQLAlchemy's dialect, and time it.

    Returns True, which tells SQLAlchemy that the statement has been executed.
    """
    with StatementTimer(sql):
        execute(cursor, sql, parameters, context)
    return True


@contextmanager
def _statement_span(sql: str) -> Iterator[None]:
    """Record a span for a SQL statement while the block lasts.

    Its name is the first word of the statement, for example "SELECT". The text of the statement is
    safe to export because it has placeholders instead of values.
    """
    first_word = sql.split(maxsplit=1)[0]
    with _tracer.start_as_current_span(
        first_word,
        kind=trace.SpanKind.CLIENT,
        attributes={"db.system.name": "postgresql", "db.query.text": sql},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            # The message and the traceback of the error are not exported: they quote values.
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(trace.StatusCode.ERROR)
            raise
