"""What a request's SQL statements took, and the spans of both where there is an OTLP endpoint.

FastAPI makes those of requests, sends all, and flushes them when the application ends.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Final

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from sqlalchemy import Engine, event
from starlette.types import Scope

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_TRACED: Final = "fastapi.telemetry"  # in the scope of a request that FastAPI makes a span of
_tracer: Final = trace.get_tracer("app.sql")


@dataclass(slots=True)
class Spent:
    """What a request has spent on statements so far; one that failed counts too."""

    statements: int = 0
    seconds: float = 0.0

    def server_timing(self, total: float) -> str:
        """The header, of what the database took and of the seconds in all."""
        database = f'db;dur={self.seconds * 1000:.1f};desc="{self.statements}"'
        return f"{database}, total;dur={total * 1000:.1f}"


spending: ContextVar[Spent | None] = ContextVar("spending", default=None)


def telemetry() -> TelemetryConfig:
    """What FastAPI is to do: nothing, not even look for providers, where no endpoint is named."""
    if wanted() and "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", "bookshelf")
    only: TelemetryConfig = {"metrics": False, "logs": False, "operation_spans": False}
    return {"tracing": wanted(), "auto_configure": True, **only}


def wanted() -> bool:
    return any(os.environ.get(name) for name in _ENDPOINTS)


def label(scope: Scope, identifier: str, path: str) -> None:
    """Give the request's span, if there is one, its id, and hide what its URL may hold."""
    if _TRACED in scope:
        span = trace.get_current_span()
        span.set_attributes({"request.id": identifier, "url.path": path})
        if scope["query_string"]:
            span.set_attribute("url.query", "REDACTED")


def observe(engine: Engine) -> None:
    """Count and time each statement for the request that runs it, and make its span."""
    # Of the dialect's events: to have one of the engine's costs each connection 20 µs.
    for name in ("do_execute", "do_executemany"):
        around = _span if wanted() else nullcontext
        event.listen(engine, name, partial(_run, getattr(engine.dialect, name), around))


def _run(
    execute: Callable[..., None],
    around: Callable[[str], AbstractContextManager[object]],
    cursor: object,
    sql: str,
    parameters: object,
    context: object,
) -> bool:
    """Do it in place of the dialect; true says that it is done."""
    start = perf_counter()
    try:
        with around(sql):
            execute(cursor, sql, parameters, context)
    finally:
        if (spent := spending.get()) is not None:
            spent.statements += 1
            spent.seconds += perf_counter() - start
    return True


@contextmanager
def _span(sql: str) -> Iterator[None]:
    """A statement's span within one that is there; the text has no values."""
    if not trace.get_current_span().is_recording():
        yield
        return
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
