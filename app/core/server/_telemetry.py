"""Spans of requests. FastAPI creates and exports them where an OTLP endpoint is configured."""

import os
from typing import Final

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from starlette.types import Scope

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_TRACED: Final = "fastapi.telemetry"  # in the scope of a request that FastAPI makes a span of


def telemetry() -> TelemetryConfig:
    """What FastAPI is to do: nothing, not even look for providers, where no endpoint is named."""
    if wanted() and "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", "bookshelf")
    only: TelemetryConfig = {"metrics": False, "logs": False, "operation_spans": False}
    return {"tracing": wanted(), "auto_configure": True, **only}


def wanted() -> bool:
    return any(os.environ.get(name) for name in _ENDPOINTS)


def label_span(scope: Scope, identifier: str, path: str) -> bool:
    """Give the request's span its id, and hide what its URL may hold; whether it is recorded."""
    if _TRACED not in scope:
        return False
    span = trace.get_current_span()
    span.set_attributes({"request.id": identifier, "url.path": path})
    if scope["query_string"]:
        span.set_attribute("url.query", "REDACTED")
    return span.is_recording()
