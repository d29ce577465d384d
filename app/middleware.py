"""The middleware of the application, and the order in which requests pass through it."""

from starlette.middleware import Middleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import hosting
from app.core.http import FastRouter, RoutePermissionChecker
from app.core.server import (
    CorsPreflightMiddleware,
    CrossSiteProtection,
    EarlyResponseMiddleware,
    HostPolicy,
    InactivityTimeoutMiddleware,
    LoopbackOnlyMiddleware,
    RequestContextMiddleware,
    RequestLimitsMiddleware,
    RequestNormalizationMiddleware,
    RootPathMiddleware,
    Shutdown,
    create_cors_policy,
)
from app.settings import Settings


def create_middleware(
    settings: Settings, shutdown: Shutdown, *, is_hosted: bool
) -> list[Middleware]:
    """Return the middleware, in the order in which requests pass through it.

    With `is_hosted`, another server than that of `python -m app serve` runs the application.
    """
    is_development = settings.app_env == "development"
    has_metrics = settings.metrics_port > 0
    cors_policy = create_cors_policy(settings.cors_origins)
    middleware = _create_server_middleware(settings, is_hosted=is_hosted)
    middleware.append(
        Middleware(
            RequestContextMiddleware,
            cors_policy=cors_policy,
            server_timing_enabled=is_development,
            metrics_enabled=has_metrics,
        )
    )
    if is_hosted and hosting.serves_only_this_machine(settings):
        middleware.append(Middleware(LoopbackOnlyMiddleware))
    middleware += [
        Middleware(
            RequestLimitsMiddleware,
            host_policy=HostPolicy(
                settings.allowed_hosts,
                is_loopback_only_by_default=settings.anonymous_access_level == "full",
            ),
            cross_site_protection=CrossSiteProtection(settings.cors_origins),
        ),
        Middleware(
            InactivityTimeoutMiddleware, settings.request_timeout, settings.min_body_rate, shutdown
        ),
    ]
    if cors_policy is not None:
        middleware.append(Middleware(CorsPreflightMiddleware, cors_policy))
    middleware += [Middleware(RequestNormalizationMiddleware), Middleware(RoutePermissionChecker)]
    if settings.http_fast_path:
        middleware.append(Middleware(FastRouter))
    return middleware


def _create_server_middleware(settings: Settings, *, is_hosted: bool) -> list[Middleware]:
    """Return the middleware that adapts the application to the server and the proxies before it."""
    middleware = []
    if is_hosted:
        middleware.append(Middleware(EarlyResponseMiddleware))
    if settings.trusted_proxies:
        proxies = [str(proxy) for proxy in settings.trusted_proxies]
        middleware.append(Middleware(ProxyHeadersMiddleware, trusted_hosts=proxies))
    if settings.root_path:
        middleware.append(Middleware(RootPathMiddleware, settings.root_path))
    return middleware
