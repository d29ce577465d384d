"""The SQL statements of a request: their number, their time and their spans."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Final

from opentelemetry import trace
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExecutionContext

from app.core.observability._database_metrics import record_statement

# Returns the name of a statement from its SQL and its execution options.
FindStatementName = Callable[[str, Mapping[str, Any]], str]
_tracer: Final = trace.get_tracer("app.sql")


@dataclass(slots=True)
class RequestStats:
    """Number and total duration of the SQL statements that one request has executed.

    Statements that failed are included.
    """

    # True if the request has a span that is recorded. Its statements then get spans, too.
    has_span: bool = False
    statement_count: int = 0
    statement_seconds: float = 0.0

    def format_server_timing(self, total_seconds: float) -> str:
        """Return the value of the `Server-Timing` header, which developer tools of browsers show.

        For example, `db;dur=1.2;desc="1", total;dur=3.4` means that the request took 3.4 ms. It
        executed one SQL statement, which took 1.2 ms.
        """
        statement_ms = self.statement_seconds * 1000
        total_ms = total_seconds * 1000
        return f'db;dur={statement_ms:.1f};desc="{self.statement_count}", total;dur={total_ms:.1f}'


# None outside of a request, for example in a job.
current_request_stats: Final[ContextVar[RequestStats | None]] = ContextVar(
    "request_stats", default=None
)


def count_shared_statement(seconds: float) -> None:
    """Count a statement that was executed for several requests as one of the current request.

    `seconds` is the time that the request has waited for it.
    """
    stats = current_request_stats.get()
    if stats is not None:
        stats.statement_count += 1
        stats.statement_seconds += seconds


class StatementTimer:
    """Context manager that measures a SQL statement for the metrics and for the current request.

    If the request has a span, the statement gets a child span. Outside of a request, for example in
    a scheduled job, only the metrics contain the statement.
    """

    __slots__ = ("_name", "_span", "_sql", "_started_at", "_stats")

    def __init__(self, sql: str, name: str) -> None:
        """Create a timer. `name` is a label of the metrics, for example "books.select_page"."""
        self._sql = sql
        self._name = name
        self._span: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        self._stats = current_request_stats.get()
        if self._stats is not None and self._stats.has_span:
            self._span = _statement_span(self._sql)
            self._span.__enter__()
        self._started_at = perf_counter()

    def __exit__(self, *exception: Any) -> None:
        seconds = perf_counter() - self._started_at
        record_statement(self._name, seconds)
        if self._stats is not None:
            self._stats.statement_count += 1
            self._stats.statement_seconds += seconds
        if self._span is not None:
            self._span.__exit__(*exception)


def time_statements(engine: Engine, find_name: FindStatementName) -> None:
    """Measure every statement that SQLAlchemy executes on this engine with a `StatementTimer`.

    `find_name` returns the name of a statement.
    """
    # SQLAlchemy calls listeners for these two events instead of the dialect's methods of the same
    # names. Listeners before and after each statement would cost 20 microseconds per connection.
    for method_name in ("do_execute", "do_executemany"):
        dialect_method = getattr(engine.dialect, method_name)
        event.listen(engine, method_name, partial(_execute_with_timer, dialect_method, find_name))


def _execute_with_timer(
    dialect_method: Callable[..., None],
    find_name: FindStatementName,
    cursor: object,
    sql: str,
    parameters: object,
    context: ExecutionContext,
) -> bool:
    """Execute a statement with a method of SQLAlchemy's dialect, and measure its duration.

    Returns True, which tells SQLAlchemy that it need not execute the statement itself.
    """
    with StatementTimer(sql, find_name(sql, context.execution_options)):
        dialect_method(cursor, sql, parameters, context)
    return True


@contextmanager
def _statement_span(sql: str) -> Iterator[None]:
    """Record a trace span for a SQL statement, which is executed inside the block.

    The span is named after the first word of the statement, for example "SELECT". It contains the
    text of the statement but not the values of its parameters, which may be confidential.
    """
    span_name = sql.split(maxsplit=1)[0]
    with _tracer.start_as_current_span(
        span_name,
        kind=trace.SpanKind.CLIENT,
        attributes={"db.system.name": "postgresql", "db.query.text": sql},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            # Do not export the message and the traceback, because they quote parameter values.
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(trace.StatusCode.ERROR)
            raise
