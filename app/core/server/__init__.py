"""Everything around the routes: middleware, health endpoints and the HTTP protocol."""

from app.core.server._cors import CorsPreflightMiddleware, create_cors_policy
from app.core.server._cross_site import CrossSiteProtection
from app.core.server._early_response import EarlyResponseMiddleware
from app.core.server._forwarded_headers import UntrustedProxyWarning
from app.core.server._graceful_protocol import GracefulProtocol
from app.core.server._graceful_server import GracefulServer, exit_immediately
from app.core.server._health import router
from app.core.server._host_policy import HostPolicy
from app.core.server._inactivity_timeout import InactivityTimeoutMiddleware, get_progress_callback
from app.core.server._loopback_only import LoopbackOnlyMiddleware
from app.core.server._protocol import HttpProtocol
from app.core.server._readiness import Readiness
from app.core.server._request_context import RequestContextMiddleware
from app.core.server._request_limits import RequestLimitsMiddleware
from app.core.server._request_normalization import RequestNormalizationMiddleware
from app.core.server._resources import ServerResources
from app.core.server._root_path import RootPathMiddleware
from app.core.server._shutdown import Shutdown
from app.core.server._telemetry import telemetry_config

__all__ = [
    "CorsPreflightMiddleware",
    "CrossSiteProtection",
    "EarlyResponseMiddleware",
    "GracefulProtocol",
    "GracefulServer",
    "HostPolicy",
    "HttpProtocol",
    "InactivityTimeoutMiddleware",
    "LoopbackOnlyMiddleware",
    "Readiness",
    "RequestContextMiddleware",
    "RequestLimitsMiddleware",
    "RequestNormalizationMiddleware",
    "RootPathMiddleware",
    "ServerResources",
    "Shutdown",
    "UntrustedProxyWarning",
    "create_cors_policy",
    "exit_immediately",
    "get_progress_callback",
    "router",
    "telemetry_config",
]
