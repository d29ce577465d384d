"""Traces of requests: FastAPI creates and exports a span for each if an endpoint is configured."""

import os
from typing import Final

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from starlette.types import Scope

from app import NAME

_ENDPOINT_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
# FastAPI sets this key in the scope of each request for which it creates a span.
_TRACED_SCOPE_KEY: Final = "fastapi.telemetry"


def telemetry_config() -> TelemetryConfig:
    """Return FastAPI's telemetry configuration, which exports traces but no metrics or logs.

    Traces are exported only if an environment variable names an OTLP endpoint to send them to.
    Otherwise, FastAPI does not even import the OpenTelemetry SDK.

    Also sets OTEL_SERVICE_NAME, which the exporter reads, unless the environment names the service.
    """
    has_trace_endpoint = any(os.environ.get(name) for name in _ENDPOINT_VARIABLES)
    # OTEL_SERVICE_NAME would override a service name among the resource attributes.
    has_service_name = "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if has_trace_endpoint and not has_service_name:
        os.environ.setdefault("OTEL_SERVICE_NAME", NAME)
    return {
        "tracing": has_trace_endpoint,
        # Create an exporter from the standard OTEL_* environment variables.
        "auto_configure": True,
        "metrics": False,
        "logs": False,
        # Create one span for each request, without further spans for its dependencies.
        "operation_spans": False,
    }


def is_traced(scope: Scope) -> bool:
    """Return whether FastAPI has created a span for the request with this scope."""
    return _TRACED_SCOPE_KEY in scope


def annotate_span(scope: Scope, request_id: str, loggable_path: str) -> bool:
    """Add the request id to the span of a request, and remove secrets from its URL attributes.

    Returns whether the span is recorded. It is not if OpenTelemetry's sampler has dropped it.
    """
    span = trace.get_current_span()
    span.set_attributes({"request.id": request_id, "url.path": loggable_path})
    if scope["query_string"]:
        span.set_attribute("url.query", "REDACTED")
    return span.is_recording()


def current_trace_id() -> str:
    """Return the id of the current trace, with 32 hexadecimal digits."""
    return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)
