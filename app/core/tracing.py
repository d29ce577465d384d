"""What a request's SQL statements took, and the spans of both where there is an OTLP endpoint.

FastAPI makes those of requests, sends all, and flushes them when the application ends.
"""

import os
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
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


def label(scope: Scope, identifier: str) -> None:
    """Give the request's span, if there is one, its id, and hide what the query may hold."""
    if _TRACED in scope:
        span = trace.get_current_span()
        span.set_attribute("request.id", identifier)
        if scope["query_string"]:
            span.set_attribute("url.query", "REDACTED")


def observe(engine: Engine) -> None:
    """Count and time each statement for the request that runs it, and make its span."""
    if wanted():
        event.listen(engine, "before_cursor_execute", _begin_span)
    event.listen(engine, "before_cursor_execute", _begin)
    event.listen(engine, "after_cursor_execute", _end)
    event.listen(engine, "handle_error", _fail)


def _begin(_c: object, _cursor: object, _s: str, _p: object, context: Any, *_: object) -> None:
    context.began = perf_counter()


def _begin_span(
    _c: object, _cursor: object, sql: str, _p: object, context: Any, *_: object
) -> None:
    if trace.get_current_span().is_recording():
        # The text has no values: they are sent beside it.
        attributes = {"db.system.name": "postgresql", "db.query.text": sql}
        name = sql.split(maxsplit=1)[0]
        context.span = _tracer.start_span(name, kind=trace.SpanKind.CLIENT, attributes=attributes)


def _end(_c: object, _cursor: object, _s: str, _p: object, context: Any, *_: object) -> None:
    began = context.__dict__.pop("began", None)
    if began is not None and (spent := spending.get()) is not None:
        spent.statements += 1
        spent.seconds += perf_counter() - began
    if (span := context.__dict__.pop("span", None)) is not None:
        span.end()


def _fail(failure: ExceptionContext) -> None:
    if (context := failure.execution_context) is not None:
        if (span := context.__dict__.get("span")) is not None:
            span.set_attribute("error.type", type(failure.original_exception).__name__)
            span.set_status(trace.StatusCode.ERROR)
        _end(None, None, "", None, context)
