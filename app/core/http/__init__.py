"""HTTP: routers, access, problems, conditional requests, idempotency, streams and OpenAPI."""

from app.core.http._authorization import CurrentPrincipal
from app.core.http._bodies import JSON
from app.core.http._conditional import IfMatch, set_etag
from app.core.http._crud import CrudEndpoints
from app.core.http._docs import add_documentation
from app.core.http._guard import (
    ForeignRouter,
    GuardedRoute,
    MissingPermission,
    RequirePermissions,
    require_permissions,
)
from app.core.http._idempotency import IdentifyRequest
from app.core.http._openapi import openapi_document
from app.core.http._problems import (
    MAX_PATH,
    MEDIA_TYPE,
    install_error_handlers,
    render,
    responses,
    standalone,
)
from app.core.http._request_state import request_state
from app.core.http._resources import HttpResources
from app.core.http._responses import set_location, set_page_links
from app.core.http._router import NO_STORE, REVALIDATE, Router, add_routers
from app.core.http._sessions import ReportingSession, RequestSession, Transaction, reading
from app.core.http._streams import preferred_stream_type, stream_list, stream_responses

__all__ = [
    "JSON",
    "MAX_PATH",
    "MEDIA_TYPE",
    "NO_STORE",
    "REVALIDATE",
    "CrudEndpoints",
    "CurrentPrincipal",
    "ForeignRouter",
    "GuardedRoute",
    "HttpResources",
    "IdentifyRequest",
    "IfMatch",
    "MissingPermission",
    "ReportingSession",
    "RequestSession",
    "RequirePermissions",
    "Router",
    "Transaction",
    "add_documentation",
    "add_routers",
    "install_error_handlers",
    "openapi_document",
    "preferred_stream_type",
    "reading",
    "render",
    "request_state",
    "require_permissions",
    "responses",
    "set_etag",
    "set_location",
    "set_page_links",
    "standalone",
    "stream_list",
    "stream_responses",
]
