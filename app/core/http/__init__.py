"""HTTP: routers, access, problems, conditional requests, idempotency, streams and OpenAPI."""

from app.core.http._authorization import CurrentPrincipal
from app.core.http._bodies import (
    JSON_MEDIA_TYPE,
    MAX_BATCH_BODY_SIZE,
    check_content_length,
    read_content_headers,
)
from app.core.http._browser_files import add_browser_files
from app.core.http._callers import CurrentCaller
from app.core.http._conditional import WritePrecondition, set_etag
from app.core.http._crud import CrudEndpoints
from app.core.http._docs import add_documentation
from app.core.http._error_handlers import install_error_handlers
from app.core.http._fast_router import FastRouter
from app.core.http._guard import (
    GuardedRoute,
    GuardedRouter,
    MissingPermission,
    RoutePermissionChecker,
    require_route_permissions,
)
from app.core.http._idempotency import IdentifyRequest
from app.core.http._openapi import get_openapi_document
from app.core.http._openapi_problems import openapi_problem_responses
from app.core.http._problems import (
    MAX_PATH_LENGTH,
    PROBLEM_MEDIA_TYPE,
    problem_body,
    problem_response,
)
from app.core.http._request_state import request_state
from app.core.http._resources import HttpResources
from app.core.http._responses import (
    DATA_TIME_RESPONSES,
    set_data_time,
    set_location,
    set_page_links,
)
from app.core.http._root_path import get_route_path, require_unused_root_path
from app.core.http._router import NO_STORE, REVALIDATE, Router, add_routers
from app.core.http._server_errors import OriginNotAllowed, RequestHeaderFieldsTooLarge, UriTooLong
from app.core.http._sessions import (
    ReportingSession,
    RequestSession,
    Transaction,
    read_session_dependency,
)
from app.core.http._stream_endpoints import StreamEndpoints
from app.core.http._stream_response import StreamCutOff
from app.core.http._welcome import router as welcome_router

__all__ = [
    "DATA_TIME_RESPONSES",
    "JSON_MEDIA_TYPE",
    "MAX_BATCH_BODY_SIZE",
    "MAX_PATH_LENGTH",
    "NO_STORE",
    "PROBLEM_MEDIA_TYPE",
    "REVALIDATE",
    "CrudEndpoints",
    "CurrentCaller",
    "CurrentPrincipal",
    "FastRouter",
    "GuardedRoute",
    "GuardedRouter",
    "HttpResources",
    "IdentifyRequest",
    "MissingPermission",
    "OriginNotAllowed",
    "ReportingSession",
    "RequestHeaderFieldsTooLarge",
    "RequestSession",
    "RoutePermissionChecker",
    "Router",
    "StreamCutOff",
    "StreamEndpoints",
    "Transaction",
    "UriTooLong",
    "WritePrecondition",
    "add_browser_files",
    "add_documentation",
    "add_routers",
    "check_content_length",
    "get_openapi_document",
    "get_route_path",
    "install_error_handlers",
    "openapi_problem_responses",
    "problem_body",
    "problem_response",
    "read_content_headers",
    "read_session_dependency",
    "request_state",
    "require_route_permissions",
    "require_unused_root_path",
    "set_data_time",
    "set_etag",
    "set_location",
    "set_page_links",
    "welcome_router",
]
