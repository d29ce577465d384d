"""What a request's SQL statements took, and the spans of both where there is an OTLP endpoint."""

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
class Spent:
    """What a request has spent on statements so far; one that failed counts too."""

    traced: bool = False  # whether there is a span of it
    statements: int = 0
    seconds: float = 0.0

    def server_timing(self, total: float) -> str:
        """The header, of what the database took and of the seconds in all."""
        database = f'db;dur={self.seconds * 1000:.1f};desc="{self.statements}"'
        return f"{database}, total;dur={total * 1000:.1f}"


spending: ContextVar[Spent | None] = ContextVar("spending", default=None)


class StatementTimer:
    """Counts and times what is run in its block for the request that runs it; makes its span."""

    __slots__ = ("_span", "_spent", "_sql", "_start")

    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._span: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        self._spent = spending.get()
        if self._spent is not None and self._spent.traced:
            self._span = _span(self._sql)
            self._span.__enter__()
        self._start = perf_counter()

    def __exit__(self, *failure: Any) -> None:
        if self._spent is not None:
            self._spent.statements += 1
            self._spent.seconds += perf_counter() - self._start
        if self._span is not None:
            self._span.__exit__(*failure)


def observe_statements(engine: Engine) -> None:
    """Let `StatementTimer` know of each that SQLAlchemy runs."""
    # Of the dialect's events: to have one of the engine's costs each connection 20 µs.
    for name in ("do_execute", "do_executemany"):
        event.listen(engine, name, partial(_run, getattr(engine.dialect, name)))


def _run(
    execute: Callable[..., None], cursor: object, sql: str, parameters: object, context: object
) -> bool:
    """Do it in place of the dialect; true says that it is done."""
    with StatementTimer(sql):
        execute(cursor, sql, parameters, context)
    return True


@contextmanager
def _span(sql: str) -> Iterator[None]:
    """A statement's span within the request's; the text has no values."""
    attributes = {"db.system.name": "postgresql", "db.query.text": sql}
    kind, name = trace.SpanKind.CLIENT, sql.split(maxsplit=1)[0]
    with _tracer.start_as_current_span(
        name,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            # Neither message nor traceback: they quote values.
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(trace.StatusCode.ERROR)
            raise
