"""Tracing of requests: FastAPI creates and exports the spans if an OTLP endpoint is configured."""

import os
from typing import Final

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from starlette.types import Scope

from app import NAME

_ENDPOINT_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
# FastAPI sets this key in the scope of a request that has a span.
_TRACED: Final = "fastapi.telemetry"


def telemetry_config() -> TelemetryConfig:
    """Return FastAPI's configuration: traces if an endpoint is configured, and nothing else.

    Without an endpoint, FastAPI does not even import the OpenTelemetry SDK.
    """
    has_endpoint = any(os.environ.get(name) for name in _ENDPOINT_VARIABLES)
    if has_endpoint and "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", NAME)
    return {
        "tracing": has_endpoint,
        "auto_configure": True,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
    }


def is_traced(scope: Scope) -> bool:
    return _TRACED in scope


def annotate_span(scope: Scope, identifier: str, path: str) -> bool:
    """Add the request id to the request's span, and replace what its URL may reveal.

    Return whether the span is recorded: FastAPI's sampler may have left it out.
    """
    span = trace.get_current_span()
    span.set_attributes({"request.id": identifier, "url.path": path})
    if scope["query_string"]:
        span.set_attribute("url.query", "REDACTED")
    return span.is_recording()
