"""Everything around the routes: middleware, health endpoints and the HTTP protocol."""

from app.core.server._head_and_trailing_slash import HeadAndTrailingSlash
from app.core.server._health import router
from app.core.server._inactivity_timeout import InactivityTimeout, progress_callback
from app.core.server._protocol import HttpProtocol
from app.core.server._readiness import Readiness
from app.core.server._request_context import RequestContext
from app.core.server._request_limits import RequestLimits
from app.core.server._resources import ServerResources
from app.core.server._shutdown import Shutdown
from app.core.server._telemetry import telemetry_config

__all__ = [
    "HeadAndTrailingSlash",
    "HttpProtocol",
    "InactivityTimeout",
    "Readiness",
    "RequestContext",
    "RequestLimits",
    "ServerResources",
    "Shutdown",
    "progress_callback",
    "router",
    "telemetry_config",
]
