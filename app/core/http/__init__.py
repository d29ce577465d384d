"""HTTP: routing, access, problems, conditional requests, idempotency, streams and OpenAPI."""

from app.core.http._authorization import principal, requires
from app.core.http._conditional import (
    CACHE,
    IfMatch,
    json_response,
    page_response,
    resource_response,
)
from app.core.http._dependencies import ReadSession, ReportingSession, Transaction, WriteSession
from app.core.http._docs import OPENAPI_PATH, install_docs
from app.core.http._idempotency import identify_callback
from app.core.http._openapi import openapi_document
from app.core.http._problems import (
    MAX_PATH,
    MEDIA_TYPE,
    install_error_handlers,
    render,
    responses,
    standalone,
)
from app.core.http._routing import JSON, Route
from app.core.http._scope import HEAD
from app.core.http._streams import preferred_stream_type, stream_list, stream_responses

__all__ = [
    "CACHE",
    "HEAD",
    "JSON",
    "MAX_PATH",
    "MEDIA_TYPE",
    "OPENAPI_PATH",
    "IfMatch",
    "ReadSession",
    "ReportingSession",
    "Route",
    "Transaction",
    "WriteSession",
    "identify_callback",
    "install_docs",
    "install_error_handlers",
    "json_response",
    "openapi_document",
    "page_response",
    "preferred_stream_type",
    "principal",
    "render",
    "requires",
    "resource_response",
    "responses",
    "standalone",
    "stream_list",
    "stream_responses",
]
